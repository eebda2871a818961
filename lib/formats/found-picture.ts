import type { Box, Mask } from "../masks/mask.js";

/** One object as every format writes it. */
export interface FoundObject {
  /** What it was found for; the category or class of formats that have one. */
  readonly text: string;
  /** 0–1. */
  readonly score: number;
  /** `[x1, y1, x2, y2]` in pixels. */
  readonly box: Box;
  readonly mask: Mask;
}

/** What was found in one picture: a result of this package, or anything of its shape. */
export interface FoundPicture {
  /** The picture's file; made up (`image-1`, `image-2`, …) where there is none. */
  readonly fileName?: string | undefined;
  /** The same for results of the same picture, which then share an entry; left out, every result is a picture. */
  readonly contentHash?: string | undefined;
  /** Size in pixels. */
  readonly image: { readonly width: number; readonly height: number };
  readonly objects: readonly FoundObject[];
}

/** One picture with a name that no other one has, and everything found in it. */
export interface NamedPicture {
  readonly fileName: string;
  readonly image: { readonly width: number; readonly height: number };
  readonly objects: readonly FoundObject[];
}

/** Puts results of the same picture together, in order of first appearance. */
export function groupByPicture(found: readonly FoundPicture[]): NamedPicture[] {
  const pictures = new Map<
    string,
    { fileName: string; image: NamedPicture["image"]; objects: FoundObject[] }
  >();
  found.forEach(({ fileName, contentHash, image, objects }, i) => {
    const id = JSON.stringify([fileName, contentHash ?? i]);
    const known = pictures.get(id);
    if (known) known.objects.push(...objects);
    else {
      const { width, height } = image;
      const name = fileName ?? `image-${pictures.size + 1}`;
      pictures.set(id, { fileName: name, image: { width, height }, objects: [...objects] });
    }
  });
  return [...pictures.values()];
}
