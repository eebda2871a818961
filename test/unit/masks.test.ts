import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { Mask } from "../../lib/masks/mask.js";
import { type MaskPolygon, type Ring, ringArea } from "../../lib/masks/polygons.js";
import { decodeCounts, encodeCounts } from "../../lib/masks/rle.js";
import { seeded } from "./random.js";

/** Pictures of many kinds: noise of any density, blobs, stripes, chequers, frames, empty, full, one pixel wide. */
function* bitmaps(
  count: number,
): Generator<{ name: string; width: number; height: number; data: Uint8Array }> {
  for (let seed = 0; seed < count; seed++) {
    const random = seeded(seed);
    const width = 1 + Math.floor(random() * (seed % 7 === 0 ? 2 : 24));
    const height = 1 + Math.floor(random() * (seed % 5 === 0 ? 2 : 24));
    const density = random();
    const kind = seed % 6;
    const cx = random() * width;
    const cy = random() * height;
    const radius = random() * Math.max(width, height);
    const data = Uint8Array.from({ length: width * height }, (_, i) => {
      const x = i % width;
      const y = Math.floor(i / width);
      if (kind === 0) return random() < density ? 1 : 0;
      if (kind === 1) return (x - cx) ** 2 + (y - cy) ** 2 < radius ** 2 ? 1 : 0;
      if (kind === 2) return (x + y) % 2;
      if (kind === 3) return Math.min(x, y, width - 1 - x, height - 1 - y) % 2 === 0 ? 1 : 0;
      if (kind === 4) return seed % 12 === 4 ? 0 : 1;
      return (x - cx) ** 2 + (y - cy) ** 2 < radius ** 2 && random() < 0.9 ? 1 : 0;
    });
    yield { name: `seed ${seed}, ${width}×${height}`, width, height, data };
  }
}

/** Fills polygons by asking of every pixel centre how many ring edges lie to its right (even–odd). */
function fill(polygons: readonly MaskPolygon[], width: number, height: number): Uint8Array {
  const out = new Uint8Array(width * height);
  const rings: Ring[] = polygons.flatMap(({ outer, holes }) => [outer, ...holes]);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let crossings = 0;
      for (const ring of rings) {
        ring.forEach(([x1, y1], i) => {
          const [x2, y2] = ring[(i + 1) % ring.length] as [number, number];
          if (x1 === x2 && x1 > x + 0.5 && y + 0.5 > Math.min(y1, y2) && y + 0.5 < Math.max(y1, y2))
            crossings++;
        });
      }
      out[y * width + x] = crossings % 2;
    }
  }
  return out;
}

/** Pieces that hang together through sides, counted by flooding. */
function countPieces(data: Uint8Array, width: number, height: number): number {
  const left = Uint8Array.from(data);
  let pieces = 0;
  for (let start = 0; start < left.length; start++) {
    if (!left[start]) continue;
    pieces++;
    const stack = [start];
    left[start] = 0;
    for (let i = stack.pop(); i !== undefined; i = stack.pop()) {
      const x = i % width;
      const next = [x > 0 ? i - 1 : -1, x < width - 1 ? i + 1 : -1, i - width, i + width];
      for (const n of next) {
        if (n >= 0 && n < width * height && left[n]) {
          left[n] = 0;
          stack.push(n);
        }
      }
    }
  }
  return pieces;
}

describe("Mask against a pixel-by-pixel reading", () => {
  it("keeps every pixel through run lengths, string, bitmap and polygons", () => {
    for (const { name, width, height, data } of bitmaps(600)) {
      const mask = Mask.fromBitmap(data, width, height);
      const area = data.reduce((sum, v) => sum + v, 0);
      expect(mask.area, name).toBe(area);
      expect(mask.toBitmap(), name).toEqual(data);
      expect(Mask.fromRle(mask.toRle()).toBitmap(), name).toEqual(data);
      expect(Mask.fromRle({ size: [height, width], counts: mask.toCounts() }).toRle(), name).toEqual(
        mask.toRle(),
      );

      const polygons = mask.toPolygons();
      expect(fill(polygons, width, height), name).toEqual(data);
      expect(polygons.length, name).toBe(countPieces(data, width, height));
      const enclosed = polygons
        .flatMap(({ outer, holes }) => [outer, ...holes])
        .reduce((sum, r) => sum + ringArea(r), 0);
      expect(enclosed, name).toBe(area);
      for (const { outer, holes } of polygons) {
        expect(ringArea(outer), name).toBeGreaterThan(0);
        for (const hole of holes) expect(ringArea(hole), name).toBeLessThan(0);
      }
    }
  });

  it("finds the tight box", () => {
    for (const { name, width, height, data } of bitmaps(300)) {
      const xs: number[] = [];
      const ys: number[] = [];
      data.forEach((v, i) => {
        if (v) {
          xs.push(i % width);
          ys.push(Math.floor(i / width));
        }
      });
      const expected =
        xs.length === 0
          ? [0, 0, 0, 0]
          : [Math.min(...xs), Math.min(...ys), Math.max(...xs) + 1, Math.max(...ys) + 1];
      expect(Mask.fromBitmap(data, width, height).box, name).toEqual(expected);
    }
  });

  it("answers contains for every pixel and for points beside the picture", () => {
    for (const { name, width, height, data } of bitmaps(60)) {
      const mask = Mask.fromBitmap(data, width, height);
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++)
          expect(mask.contains(x + 0.7, y + 0.2), name).toBe(data[y * width + x] === 1);
      }
      for (const [x, y] of [
        [-0.1, 0],
        [0, -1],
        [width, 0],
        [0, height],
        [Number.NaN, 0],
      ] as const) {
        expect(mask.contains(x, y), name).toBe(false);
      }
    }
  });

  it("measures IoU", () => {
    const all = [...bitmaps(200)];
    for (const a of all) {
      const other = Uint8Array.from(a.data, (v, i) => (i % 3 === 0 ? 1 - v : v));
      const both = a.data.reduce((sum, v, i) => sum + (v & (other[i] as number)), 0);
      const either = a.data.reduce((sum, v, i) => sum + (v | (other[i] as number)), 0);
      const iou = Mask.fromBitmap(a.data, a.width, a.height).iou(Mask.fromBitmap(other, a.width, a.height));
      expect(iou, a.name).toBe(either === 0 ? 0 : both / either);
    }
  });

  it("writes a PNG with one channel of 0 and 255", async () => {
    for (const { name, width, height, data } of bitmaps(30)) {
      const png = await Mask.fromBitmap(data, width, height).toPng();
      expect((await sharp(png).metadata()).channels, name).toBe(1);
      const back = await sharp(png).toColourspace("b-w").raw().toBuffer();
      expect(new Uint8Array(back), name).toEqual(data.map((v) => v * 255));
    }
  });
});

describe("Mask.toPolygons with tolerance", () => {
  it("moves no outline further than the tolerance and needs fewer corners", () => {
    const size = 200;
    const data = Uint8Array.from({ length: size * size }, (_, i) =>
      ((i % size) - 100) ** 2 + (Math.floor(i / size) - 100) ** 2 < 80 ** 2 ? 1 : 0,
    );
    const mask = Mask.fromBitmap(data, size, size);
    const [exact] = mask.toPolygons();
    const [smooth] = mask.toPolygons({ tolerance: 1 });
    expect(smooth?.outer.length).toBeLessThan((exact?.outer.length ?? 0) / 4);
    for (const [x, y] of smooth?.outer ?? []) {
      expect(Math.abs(Math.hypot(x - 100.5, y - 100.5) - 80)).toBeLessThan(1.5);
    }
    expect(Math.abs(ringArea(smooth?.outer ?? []) - mask.area) / mask.area).toBeLessThan(0.02);
  });

  it("drops specks that vanish", () => {
    const data = new Uint8Array(100);
    data[55] = 1;
    expect(Mask.fromBitmap(data, 10, 10).toPolygons({ tolerance: 3 })).toEqual([]);
  });

  it("refuses a tolerance that is none", () => {
    const mask = Mask.fromBitmap([1], 1, 1);
    for (const tolerance of [-1, Number.NaN, "1" as never]) {
      expect(() => mask.toPolygons({ tolerance })).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT" }),
      );
    }
  });

  it("takes time by the outline, not by the pixels", () => {
    // 100 million pixels inside, four corners: a walk over pixels would take seconds.
    const mask = Mask.fromRle({ size: [10_000, 10_000], counts: [0, 100_000_000] });
    const start = performance.now();
    expect(mask.toPolygons()).toEqual([
      {
        outer: expect.arrayContaining([
          [0, 0],
          [10_000, 0],
          [10_000, 10_000],
          [0, 10_000],
        ]),
        holes: [],
      },
    ]);
    expect(performance.now() - start).toBeLessThan(500);
  });
});

describe("run lengths", () => {
  it("come back unchanged through the string, also where they are large", () => {
    for (let seed = 0; seed < 300; seed++) {
      const random = seeded(seed);
      const counts = Array.from(
        { length: 1 + Math.floor(random() * 20) },
        (_, i) => (i === 0 ? 0 : 1) + Math.floor(random() ** 8 * 60_000_000),
      );
      const pixels = counts.reduce((sum, run) => sum + run, 0);
      expect([...decodeCounts(encodeCounts(counts), pixels)]).toEqual(counts);
    }
  });

  it("refuses what is not run lengths of that size, with a code", () => {
    const good = Mask.fromBitmap([0, 1, 1, 0, 0, 1], 3, 2).toRle();
    const bad: unknown[] = [
      null,
      "string",
      {},
      { size: [2], counts: good.counts },
      { size: [0, 3], counts: good.counts },
      { size: [2.5, 3], counts: good.counts },
      { size: [100_000, 100_000], counts: [0] },
      { size: [3, 3], counts: good.counts },
      { size: [1, 3], counts: good.counts },
      { size: [2, 3], counts: `${good.counts}z` },
      { size: [2, 3], counts: "\u00e9" },
      { size: [2, 3], counts: " " },
      { size: [2, 3], counts: "oooooooooo" },
      { size: [2, 3], counts: "O" },
      { size: [2, 3], counts: [3, -1, 4] },
      { size: [2, 3], counts: [1.5, 4.5] },
      { size: [2, 3], counts: [Number.NaN] },
      { size: [2, 3], counts: 5 },
    ];
    for (const rle of bad) {
      expect(() => Mask.fromRle(rle as never), JSON.stringify(rle)).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT" }),
      );
    }
  });

  it("joins runs that empty runs split", () => {
    const split = Mask.fromRle({ size: [1, 6], counts: [0, 0, 1, 2, 0, 1, 2, 0, 0] });
    expect([...split.toCounts()]).toEqual([1, 3, 2]);
    expect([...split.toBitmap()]).toEqual([0, 1, 1, 1, 0, 0]);
  });
});

describe("Mask", () => {
  it("prints as one line and writes COCO run lengths as JSON", async () => {
    const { inspect } = await import("node:util");
    const mask = Mask.fromBitmap([0, 1, 1, 0], 2, 2);
    expect(inspect(mask)).toBe("Mask { 2×2, 2 px, box [0, 0, 2, 2] }");
    expect(JSON.parse(JSON.stringify({ mask }))).toEqual({
      mask: { size: [2, 2], counts: mask.toRle().counts },
    });
  });

  it("gives copies: changing them changes nothing", () => {
    const mask = Mask.fromBitmap([0, 1, 1, 0], 2, 2);
    mask.box[0] = 99;
    mask.toCounts().fill(0);
    expect(mask.box).toEqual([0, 0, 2, 2]);
    expect([...mask.toBitmap()]).toEqual([0, 1, 1, 0]);
  });

  it("refuses to compare masks of different pictures and bitmaps of the wrong length", () => {
    const a = Mask.fromBitmap([0, 1], 2, 1);
    expect(() => a.iou(Mask.fromBitmap([0, 1], 1, 2))).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
    expect(() => Mask.fromBitmap([0, 1], 2, 2)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });
});
