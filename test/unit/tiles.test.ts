import { describe, expect, it } from "vitest";
import { mergeTiles } from "../../lib/image/merge-tiles.js";
import { layOutTiles, readTileOptions } from "../../lib/image/tile-layout.js";
import { Mask } from "../../lib/masks/mask.js";
import { countsFromBitmap } from "../../lib/masks/rle.js";
import { areaOf, crop, type Rect } from "../../lib/masks/runs.js";
import type { NativeObject } from "../../lib/native/addon.js";
import { seeded } from "./random.js";

const { signal } = new AbortController();
const picture = { width: 300, height: 220 };
const code = (value: string, words = "") =>
  expect.objectContaining({ code: value, message: expect.stringContaining(words) });

type Shape = (x: number, y: number) => boolean;
const disc =
  (cx: number, cy: number, r: number): Shape =>
  (x, y) =>
    Math.hypot(x + 0.5 - cx, y + 0.5 - cy) < r;
const bar =
  (x1: number, y1: number, x2: number, y2: number): Shape =>
  (x, y) =>
    x >= x1 && x < x2 && y >= y1 && y < y2;

function drawn(shape: Shape): Uint32Array {
  const { width, height } = picture;
  const bitmap = Uint8Array.from({ length: width * height }, (_, at) =>
    shape(at % width, Math.floor(at / width)) ? 1 : 0,
  );
  return countsFromBitmap(bitmap, width, height);
}

/** What a perfect model sees of a shape in a tile. */
function seen(shape: Shape, tile: Rect, score = 0.9): NativeObject[] {
  const counts = crop(drawn(shape), picture.height, tile);
  const area = areaOf(counts);
  const size = { width: tile.x2 - tile.x1, height: tile.y2 - tile.y1 };
  return area === 0 ? [] : [{ score, box: boxOf(counts, size), counts, area }];
}

function whole(shape: Shape, score = 0.5): NativeObject {
  const counts = drawn(shape);
  return { score, box: boxOf(counts, picture), counts, area: areaOf(counts) };
}

function boxOf(counts: Uint32Array, { width, height }: { width: number; height: number }): Float64Array {
  return Float64Array.from(Mask.fromRle({ size: [height, width], counts }).box);
}

const tiles = layOutTiles(picture, { size: 100, overlap: 25 });
const findings = (...shapes: Shape[]) =>
  tiles.map((tile) => ({ tile, objects: shapes.flatMap((shape) => seen(shape, tile)) }));
const sameAs = (shape: Shape) => expect.objectContaining({ counts: drawn(shape), area: whole(shape).area });

describe("a layout of tiles", () => {
  it("covers every pixel with tiles of one size that overlap enough", () => {
    const random = seeded(2);
    for (let i = 0; i < 300; i++) {
      const size = 64 + Math.floor(random() * 200);
      const overlap = 1 + Math.floor((random() * size) / 2);
      const width = 1 + Math.floor(random() * 800);
      const height = 1 + Math.floor(random() * 800);
      const rects = layOutTiles({ width, height }, { size, overlap });
      if (width <= size && height <= size) {
        expect(rects).toEqual([]);
        continue;
      }
      for (const [low, high, length] of [
        ["x1", "x2", width],
        ["y1", "y2", height],
      ] as const) {
        const spans = [...new Map(rects.map((rect) => [rect[low], rect[high]]))].sort((a, b) => a[0] - b[0]);
        expect(spans[0]?.[0]).toBe(0);
        expect(spans.at(-1)?.[1]).toBe(length);
        spans.forEach(([from, to], at) => {
          expect(to - from).toBe(Math.min(size, length));
          const next = spans[at + 1]?.[0];
          if (next !== undefined) expect(to - next).toBeGreaterThanOrEqual(overlap);
        });
        expect(rects.length % spans.length).toBe(0);
      }
    }
  });

  it("has limits, and says them", () => {
    expect(() => layOutTiles({ width: 20_000, height: 20_000 }, { size: 100, overlap: 25 })).toThrow(
      code("INVALID_ARGUMENT", "1024 is the limit"),
    );
    expect(readTileOptions({}, 288)).toEqual({ size: 288, overlap: 72 });
    for (const options of [
      { size: 31 },
      { size: 100.5 },
      { size: 100, overlap: 0 },
      { size: 100, overlap: 51 },
      { side: 100 },
      5,
      null,
    ]) {
      expect(() => readTileOptions(options as never, 288)).toThrow(code("INVALID_ARGUMENT"));
    }
  });
});

describe("merging what tiles saw", () => {
  it("puts an object together that no tile saw whole, pixel for pixel", async () => {
    for (const shape of [bar(10, 40, 290, 60), bar(140, 5, 150, 215), disc(150, 110, 90)]) {
      const merged = await mergeTiles(findings(shape), [], picture, signal);
      expect(merged).toEqual([sameAs(shape)]);
    }
  });

  it("sees an object in several tiles once, and keeps neighbours apart", async () => {
    const shapes = [disc(85, 85, 6), disc(99, 85, 6), disc(40, 150, 20), bar(75, 180, 100, 190)];
    const merged = await mergeTiles(findings(...shapes), [], picture, signal);
    expect(merged).toHaveLength(shapes.length);
    for (const shape of shapes) expect(merged).toContainEqual(sameAs(shape));
  });

  it("gives boxes in the picture and the best score of the pieces", async () => {
    const shape = bar(80, 10, 95, 20);
    const found = findings(shape).map((tile, i) => ({
      ...tile,
      objects: tile.objects.map((object) => ({
        ...object,
        score: 0.5 + i / 100,
        box: Float64Array.of(80 - tile.tile.x1, 10 - tile.tile.y1, 95 - tile.tile.x1, 20 - tile.tile.y1),
      })),
    }));
    const [object] = await mergeTiles(found, [], picture, signal);
    expect([...(object?.box ?? [])]).toEqual([80, 10, 95, 20]);
    const scores = found.flatMap(({ objects }) => objects.map(({ score }) => score));
    expect(scores.length).toBeGreaterThan(1);
    expect(object?.score).toBe(Math.max(...scores));
  });

  it("prefers the tiles' mask where both saw an object whole, with the better score", async () => {
    const shape = disc(150, 110, 30);
    const coarse = whole(disc(151, 111, 31), 0.99);
    const merged = await mergeTiles(findings(shape), [coarse], picture, signal);
    expect(merged).toEqual([sameAs(shape)]);
    expect(merged[0]?.score).toBe(0.99);
  });

  it("knows a small object by its box where the whole picture saw its mask too coarsely", async () => {
    const shape = disc(40, 40, 10);
    // The box is right, the mask a blob that runs over it: an IoU of less than a half.
    const coarse = { ...whole(disc(40, 40, 17), 0.95), box: whole(shape).box };
    expect(coarse.area).toBeGreaterThan(2 * whole(shape).area);
    const merged = await mergeTiles(findings(shape), [coarse], picture, signal);
    expect(merged).toEqual([sameAs(shape)]);
    expect(merged[0]?.score).toBe(0.95);
    // Boxes alone make nothing the same: masks that do not meet are two objects.
    const ring = whole((x, y) => Math.hypot(x - 40, y - 40) > 11 && Math.hypot(x - 40, y - 40) < 13);
    expect(await mergeTiles(findings(shape), [ring], picture, signal)).toHaveLength(2);
  });

  it("takes the whole picture's object for pieces that no neighbour goes on with", async () => {
    // A model that finds only parts of a large object in two tiles that do not meet.
    const shape = bar(10, 10, 290, 210);
    const some = findings(shape).map((tile, i) => (i === 0 || i === 10 ? tile : { ...tile, objects: [] }));
    const merged = await mergeTiles(some, [whole(shape, 0.6)], picture, signal);
    expect(merged).toEqual([sameAs(shape)]);
    expect(merged[0]?.score).toBe(0.9);
    // Without the whole picture the pieces are all there is.
    expect(await mergeTiles(some, [], picture, signal)).toHaveLength(2);
  });

  it("drops what the whole picture blurred into one, and keeps what only it saw", async () => {
    const [a, b] = [disc(30, 30, 12), disc(56, 30, 12)];
    const blur = whole((x, y) => a(x, y) || b(x, y));
    const large = bar(100, 100, 290, 200);
    const merged = await mergeTiles(findings(a, b), [blur, whole(large)], picture, signal);
    expect(merged).toHaveLength(3);
    for (const shape of [a, b, large]) expect(merged).toContainEqual(sameAs(shape));
  });

  it("sorts by score, and has nothing for nothing", async () => {
    expect(await mergeTiles(findings(), [], picture, signal)).toEqual([]);
    const merged = await mergeTiles(
      findings(disc(30, 30, 10)),
      [whole(disc(200, 150, 15), 0.95), whole(disc(250, 40, 15), 0.2)],
      picture,
      signal,
    );
    expect(merged.map(({ score }) => score)).toEqual([0.95, 0.9, 0.2]);
  });
});
