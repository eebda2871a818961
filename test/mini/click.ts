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
  // Only what encloses it is looked at: corrections are small in large pictures.
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!bits[y * width + x]) continue;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < top) top = y;
      bottom = y;
    }
  }
  const across = right - left + 1;
  const down = bottom - top + 1;
  if (right < 0) return undefined;
  const depth = new Int32Array(across * down);
  const at = (x: number, y: number) =>
    x < 0 || y < 0 || x >= across || y >= down ? 0 : (depth[y * across + x] as number);
  for (let y = 0; y < down; y++) {
    for (let x = 0; x < across; x++) {
      if (bits[(top + y) * width + left + x])
        depth[y * across + x] = 1 + Math.min(at(x - 1, y), at(x, y - 1));
    }
  }
  let best: { x: number; y: number; depth: number } | undefined;
  for (let y = down - 1; y >= 0; y--) {
    for (let x = across - 1; x >= 0; x--) {
      const here = Math.min(at(x, y), at(x + 1, y) + 1, at(x, y + 1) + 1);
      depth[y * across + x] = here;
      if (here > (best?.depth ?? 0)) best = { x: left + x, y: top + y, depth: here };
    }
  }
  return best;
}

/** Where a person would click to correct `found`: deep inside the thickest wrong part; undefined where nothing is wrong. */
export function correction(found: Region, gold: Region): ObjectPoint | undefined {
  const only = (a: Region, b: Region) => {
    const bits = new Uint8Array(a.bits.length);
    for (let i = 0; i < bits.length; i++) bits[i] = a.bits[i] && !b.bits[i] ? 1 : 0;
    return { ...a, bits };
  };
  const missed = deepest(only(gold, found));
  const extra = deepest(only(found, gold));
  const wrong = (extra?.depth ?? 0) > (missed?.depth ?? 0) ? extra : missed;
  return wrong && { x: wrong.x, y: wrong.y, label: wrong === extra ? "negative" : "positive" };
}
