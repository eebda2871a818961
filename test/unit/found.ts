import type { FoundObject, FoundPicture } from "../../lib/formats/found-picture.js";
import { Mask } from "../../lib/masks/mask.js";
import { seeded } from "./random.js";

/** A mask drawn as text: `#` inside, anything else outside, one line a row. */
export function drawn(picture: string): Mask {
  const rows = picture
    .trim()
    .split("\n")
    .map((row) => row.trim());
  const bitmap = rows.flatMap((row) => [...row].map((c) => (c === "#" ? 1 : 0)));
  return Mask.fromBitmap(bitmap, rows[0]?.length as number, rows.length);
}

export function found(mask: Mask, text = "thing", score = 0.5): FoundObject {
  return { text, score, box: mask.box, mask };
}

export function pictureOf(objects: readonly FoundObject[], facts: Partial<FoundPicture> = {}): FoundPicture {
  const { width, height } = objects[0]?.mask ?? { width: 4, height: 4 };
  return { image: { width, height }, objects, ...facts };
}

/** Blobs, noise, rings and stripes of many sizes: holes in holes, pieces that touch at corners, full and empty ones. */
export function variedMasks(seed: number, count: number): Mask[] {
  const random = seeded(seed);
  return Array.from({ length: count }, (_, i) => {
    const [width, height] = [2 + Math.floor(random() * 30), 2 + Math.floor(random() * 30)];
    const [cx, cy, r] = [random() * width, random() * height, (random() * Math.max(width, height)) / 1.5];
    const density = random();
    const inside = (x: number, y: number) => {
      const d = Math.hypot(x - cx, y - cy);
      if (i % 4 === 0) return random() < density;
      if (i % 4 === 1) return d < r;
      if (i % 4 === 2) return d < r && Math.floor(d) % 3 !== 1;
      return (x + 2 * y) % 5 < 3 && d < r * 1.5;
    };
    const bitmap = Array.from({ length: width * height }, (_, at) =>
      inside(at % width, Math.floor(at / width)) ? 1 : 0,
    );
    return Mask.fromBitmap(bitmap, width, height);
  });
}
