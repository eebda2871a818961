import type { ObjectPoint } from "../../lib/index.js";

/** A yes or no for every pixel, row by row. */
export interface Region {
  readonly width: number;
  readonly height: number;
  readonly bits: Uint8Array;
}

/** The pixel farthest inside a region, in steps to its edge, and how many steps; undefined where the region is empty. */
export function deepest({
  width,
  height,
  bits,
}: Region): { x: number; y: number; depth: number } | undefined {
  const far = width + height;
  const depth = Int32Array.from(bits, (bit) => (bit ? far : 0));
  const at = (x: number, y: number) =>
    x < 0 || y < 0 || x >= width || y >= height ? 0 : (depth[y * width + x] as number);
  const lower = (x: number, y: number, a: number, b: number) => {
    const i = y * width + x;
    depth[i] = Math.min(depth[i] as number, a + 1, b + 1);
  };
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) lower(x, y, at(x - 1, y), at(x, y - 1));
  let best: { x: number; y: number; depth: number } | undefined;
  for (let y = height - 1; y >= 0; y--) {
    for (let x = width - 1; x >= 0; x--) {
      lower(x, y, at(x + 1, y), at(x, y + 1));
      const here = at(x, y);
      if (here > (best?.depth ?? 0)) best = { x, y, depth: here };
    }
  }
  return best;
}

/** Where a person would click to correct `found`: deep inside the thickest wrong part; undefined where nothing is wrong. */
export function correction(found: Region, gold: Region): ObjectPoint | undefined {
  const only = (a: Region, b: Region) => ({
    ...a,
    bits: a.bits.map((bit, i) => (bit && !b.bits[i] ? 1 : 0)),
  });
  const missed = deepest(only(gold, found));
  const extra = deepest(only(found, gold));
  const wrong = (extra?.depth ?? 0) > (missed?.depth ?? 0) ? extra : missed;
  return wrong && { x: wrong.x, y: wrong.y, label: wrong === extra ? "negative" : "positive" };
}
