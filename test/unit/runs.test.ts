import { describe, expect, it } from "vitest";
import { Mask } from "../../lib/masks/mask.js";
import { countsFromBitmap } from "../../lib/masks/rle.js";
import { areaOf, crop, overlapOf, place, unite } from "../../lib/masks/runs.js";
import { seeded } from "./random.js";

const random = seeded(11);
const whole = (low: number, high: number) => low + Math.floor(random() * (high - low + 1));

/** A random picture of zeros and ones, from nearly empty to nearly full, some of them exactly so. */
function bitmap(width: number, height: number): Uint8Array {
  const density = [0, 0.1, 0.5, 0.9, 1][whole(0, 4)] as number;
  return Uint8Array.from({ length: width * height }, () => (random() < density ? 1 : 0));
}

describe("run-length arithmetic equals the same on pixels", () => {
  const cases = Array.from({ length: 300 }, (_, i) => i);

  it("union, overlap and area", () => {
    for (const _ of cases) {
      const [width, height] = [whole(1, 9), whole(1, 9)];
      const [a, b] = [bitmap(width, height), bitmap(width, height)];
      const [runsA, runsB] = [countsFromBitmap(a, width, height), countsFromBitmap(b, width, height)];
      const either = a.map((value, i) => value | (b[i] as number));
      expect(unite(runsA, runsB)).toEqual(countsFromBitmap(either, width, height));
      expect(areaOf(runsA)).toBe(a.reduce((sum, value) => sum + value, 0));
      expect(overlapOf(runsA, runsB)).toBe(a.reduce((sum, value, i) => sum + (value & (b[i] as number)), 0));
    }
  });

  it("cutting a rectangle out and putting it back", () => {
    for (const _ of cases) {
      const [width, height] = [whole(1, 12), whole(1, 12)];
      const pixels = bitmap(width, height);
      const [x1, y1] = [whole(0, width - 1), whole(0, height - 1)];
      const rect = { x1, y1, x2: whole(x1 + 1, width), y2: whole(y1 + 1, height) };
      const inside: number[] = [];
      const kept = pixels.map((value, i) => {
        const [x, y] = [i % width, Math.floor(i / width)];
        const isInside = x >= rect.x1 && x < rect.x2 && y >= rect.y1 && y < rect.y2;
        if (isInside) inside.push(value);
        return isInside ? value : 0;
      });
      const cut = crop(countsFromBitmap(pixels, width, height), height, rect);
      expect(cut).toEqual(countsFromBitmap(inside, rect.x2 - rect.x1, rect.y2 - rect.y1));
      expect(place(cut, rect, { width, height })).toEqual(countsFromBitmap(kept, width, height));
    }
  });

  it("through Mask, with boxes that are apart, touch and overlap", () => {
    for (const _ of cases) {
      const [width, height] = [whole(1, 10), whole(1, 10)];
      const [a, b] = [bitmap(width, height), bitmap(width, height)].map((pixels, i) =>
        // One in the left part, one in the right: often apart.
        Mask.fromBitmap(
          pixels.map((value, at) =>
            ((at % width) * 2 < width ? i === 0 : i === 1) ? value : random() < 0.02 ? 1 : 0,
          ),
          width,
          height,
        ),
      ) as [Mask, Mask];
      const [pixelsA, pixelsB] = [a.toBitmap(), b.toBitmap()];
      expect(a.overlap(b)).toBe(pixelsA.reduce((sum, value, i) => sum + (value & (pixelsB[i] as number)), 0));
      expect(a.union(b).toBitmap()).toEqual(pixelsA.map((value, i) => value | (pixelsB[i] as number)));
      expect(a.union(b).area).toBe(a.area + b.area - a.overlap(b));
    }
  });

  it("refuses masks of different pictures", () => {
    const [a, b] = [Mask.fromBitmap([1, 0], 2, 1), Mask.fromBitmap([1, 0], 1, 2)];
    for (const work of [() => a.union(b), () => a.overlap(b), () => a.iou(b)]) {
      expect(work).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    }
  });
});
