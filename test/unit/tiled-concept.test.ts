import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { OpenedImage } from "../../lib/image/opened-image.js";
import type { ConceptResult } from "../../lib/index.js";
import { loadEngine } from "../../lib/load-engine.js";
import { Mask } from "../../lib/masks/mask.js";
import { countsFromBitmap } from "../../lib/masks/rle.js";
import type {
  NativeBatchOptions,
  NativeConceptItem,
  NativeImageItem,
  NativeObject,
  NativePixels,
} from "../../lib/native/addon.js";
import type { CallProgress } from "../../lib/progress.js";
import { Sam3 } from "../../lib/sam3.js";
import { type FakeState, fakeAddon, nativeError } from "./fake-addon.js";
import { writeFakeBundle } from "./fake-bundle.js";

let model: string;
beforeAll(async () => {
  model = await writeFakeBundle();
});

const width = 400;
const height = 260;
const SQUARES = [
  [10, 10, 30],
  [150, 100, 80],
  [360, 220, 20],
] as const;
const isInside = (x: number, y: number) =>
  SQUARES.some(([left, top, side]) => x >= left && x < left + side && y >= top && y < top + side);

/** White squares on black. */
const picture = {
  data: Uint8Array.from({ length: width * height * 3 }, (_, i) => {
    const at = Math.floor(i / 3);
    return isInside(at % width, Math.floor(at / width)) ? 255 : 0;
  }),
  width,
  height,
  channels: 3 as const,
};

/** An addon that finds every white rectangle of a tile, and in the whole picture, made small, only what is large. */
function seeing(changes: Partial<FakeState> = {}) {
  const shown = new WeakMap<object, NativePixels>();
  const { addon, state } = fakeAddon({
    found: ({ features, semantic }) => {
      const pixels = shown.get(features) as NativePixels;
      const all = rectangles(pixels);
      const objects = pixels.width === width ? all.filter(({ area }) => area > 5000) : all;
      const bright = { counts: brightCounts(pixels), area: 0 };
      return { presence: objects.length > 0 ? 0.9 : 0.1, objects, semantic: semantic ? bright : null };
    },
    ...changes,
  });
  class Replica extends addon.Replica {
    override async encodeImages(items: readonly NativeImageItem[], options: NativeBatchOptions) {
      const batch = await super.encodeImages(items, options);
      batch.items.forEach((one, i) => {
        if ("value" in one) shown.set(one.value, (items[i] as NativeImageItem).pixels);
      });
      return batch;
    }
  }
  return { addon: { ...addon, Replica }, state };
}

async function open(changes: Partial<FakeState> = {}) {
  const { addon, state } = seeing(changes);
  const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
  return { sam: Sam3.over(await loadEngine({ model, logger }, {}, () => addon)), state };
}

function bright({ data, width: w, height: h }: NativePixels): Uint8Array {
  return Uint8Array.from({ length: w * h }, (_, at) => ((data[at * 3] as number) > 127 ? 1 : 0));
}

function brightCounts(pixels: NativePixels): Uint32Array {
  return countsFromBitmap(bright(pixels), pixels.width, pixels.height);
}

function rectangles(pixels: NativePixels): NativeObject[] {
  const { width: w, height: h } = pixels;
  const bitmap = bright(pixels);
  return Mask.fromBitmap(bitmap, w, h)
    .toPolygons()
    .map(({ outer }): NativeObject => {
      const xs = outer.map(([x]) => x);
      const ys = outer.map(([, y]) => y);
      const [x1, y1, x2, y2] = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
      const one = bitmap.map((value, at) => {
        const [x, y] = [at % w, Math.floor(at / w)];
        return x >= x1 && x < x2 && y >= y1 && y < y2 ? value : 0;
      });
      return {
        score: 0.8,
        box: Float64Array.of(x1, y1, x2, y2),
        counts: countsFromBitmap(one, w, h),
        area: one.reduce((sum, value) => sum + value, 0),
      };
    });
}

const tiles = { size: 120, overlap: 30 };
const boxes = (result: ConceptResult) =>
  result.objects.map(({ mask }) => mask.box).sort((a, b) => a[0] - b[0]);
const EXPECTED = SQUARES.map(([left, top, side]) => [left, top, left + side, top + side]);

describe("a tiled call", () => {
  it("finds what the whole picture is too small for, each once, in the picture's pixels", async () => {
    const { sam, state } = await open();
    const plain = await sam.image.segmentConcept(picture, { text: "square" });
    expect(boxes(plain)).toEqual([EXPECTED[1]]);
    const start = performance.now();
    const steps: unknown[] = [];
    const onProgress = (progress: unknown) => steps.push(progress);
    const tiled = await sam.image.segmentConcept(picture, { text: "square" }, { tiles, onProgress });
    const tookMs = performance.now() - start;
    expect(steps).toEqual(Array.from({ length: 16 }, (_, i) => ({ done: i + 1, total: 16 })));
    expect(boxes(tiled)).toEqual(EXPECTED);
    expect(tiled.objects.map(({ area, mask }) => [area, mask.width, mask.height])).toEqual(
      expect.arrayContaining([
        [900, width, height],
        [6400, width, height],
        [400, width, height],
      ]),
    );
    expect(tiled.objects.map(({ box }) => box)).toEqual(expect.arrayContaining(EXPECTED));
    expect(tiled.prompts[0]).toMatchObject({ text: "square", presence: 0.9 });
    expect(tiled.image).toEqual({ width, height });
    // The whole picture was in the cache, 5 × 3 tiles were not.
    expect(state.pixels).toHaveLength(1 + 15);
    expect(tiled.cache).toBe("miss");
    const { decodeMs, encodeMs, segmentMs } = tiled.timings;
    expect(Math.min(decodeMs, encodeMs, segmentMs)).toBeGreaterThan(0);
    expect(decodeMs + encodeMs + segmentMs).toBeLessThan(tookMs + 1);
    for (const { data, ...size } of state.pixels.slice(1)) {
      expect(size).toEqual(expect.objectContaining({ width: 120, height: 120 }));
      expect(data).toHaveLength(120 * 120 * 3);
    }
    const again = await sam.image.segmentConcept(picture, { text: "square" }, { tiles });
    expect([again.cache, state.pixels.length, boxes(again)]).toEqual(["hit", 16, EXPECTED]);
    await sam.close();
    expect(state.liveFeatures).toBe(0);
  });

  it("answers several texts, their semantic maps, and without duplicates when asked to", async () => {
    const { sam } = await open();
    const result = await sam.image.segmentConcept(
      picture,
      { text: ["square", "box"] },
      { tiles, semantic: true, suppressDuplicates: 0.9 },
    );
    expect(result.objects.map(({ text }) => text)).toEqual(["square", "square", "square"]);
    expect(result.prompts.map(({ suppressed }) => suppressed)).toEqual([0, 3]);
    for (const { semantic } of result.prompts) {
      expect(semantic?.area).toBe(900 + 6400 + 400);
      expect(semantic?.toBitmap()).toEqual(
        Uint8Array.from({ length: width * height }, (_, at) =>
          isInside(at % width, Math.floor(at / width)) ? 1 : 0,
        ),
      );
    }
  });

  it("of a picture no larger than a tile is a plain one", async () => {
    const { sam, state } = await open();
    const result = await sam.image.segmentConcept(picture, { text: "square" }, { tiles: { size: 400 } });
    expect(boxes(result)).toEqual([EXPECTED[1]]);
    expect(state.pixels).toHaveLength(1);
  });

  it("refuses exemplars and tiles that cannot be, before the encoder runs", async () => {
    const { sam, state } = await open();
    const bad = [
      [{ text: "a", exemplars: [{ box: [0, 0, 9, 9] }] }, tiles, "INVALID_PROMPT"],
      [{ text: "" }, tiles, "INVALID_PROMPT"],
      [{ text: "a" }, { size: 5 }, "INVALID_ARGUMENT"],
      [{ text: "a" }, { size: 100, overlap: 90 }, "INVALID_ARGUMENT"],
      [{ text: "a" }, true, "INVALID_ARGUMENT"],
    ] as const;
    for (const [prompt, options, code] of bad) {
      await expect(
        sam.image.segmentConcept(picture, prompt as never, { tiles: options as never }),
      ).rejects.toMatchObject({ code });
    }
    await using encoded = await sam.image.encode(picture);
    await expect(encoded.segmentConcept({ text: "a" }, { tiles } as never)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    expect(state.pixels).toHaveLength(1);
  });

  it("that fails or is stopped in the middle gives everything up", async () => {
    const failing = await open({
      failures: {
        segmentConcepts: ({ item }: { item: unknown }) =>
          (item as NativeConceptItem).features.width === 120 ? nativeError("MODEL_FAILED") : undefined,
      },
    });
    await expect(failing.sam.image.segmentConcept(picture, { text: "a" }, { tiles })).rejects.toMatchObject({
      code: "MODEL_FAILED",
    });
    await failing.sam.close();
    const { sam, state } = await open({ delayMs: 5 });
    const controller = new AbortController();
    const running = sam.image.segmentConcept(picture, { text: "a" }, { tiles, signal: controller.signal });
    setTimeout(() => controller.abort("enough"), 30);
    await expect(running).rejects.toBe("enough");
    await expect(sam.image.segmentConcept(picture, { text: "a" }, { tiles })).resolves.toBeDefined();
    await sam.close();
    await vi.waitFor(() => expect([failing.state.liveFeatures, state.liveFeatures]).toEqual([0, 0]));
  });

  it("holds few large pictures at a time, however many are asked for", async () => {
    const { addon } = fakeAddon();
    const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
    const sam = Sam3.over(await loadEngine({ model, logger }, {}, () => addon));
    const side = 5000;
    const path = join(await mkdtemp(join(tmpdir(), "sam3-tiled-")), "large.png");
    await sharp({ create: { width: side, height: side, channels: 3, background: "red" } })
      .png({ compressionLevel: 1 })
      .toFile(path);
    const decoded = { data: new Uint8Array(side * side * 3), width: side, height: side, decodeMs: 1 };
    const pixels = vi.spyOn(OpenedImage.prototype, "pixels");
    let held = 0;
    let most = 0;
    pixels.mockImplementation(async () => {
      most = Math.max(most, ++held);
      return decoded;
    });
    // Needed no more once the last tile was asked.
    const onProgress = ({ done, total }: CallProgress) => {
      if (done === total) held--;
    };
    const calls = Array.from({ length: 6 }, (_, i) =>
      sam.image.segmentConcept(path, { text: "a" }, { tiles: { size: 2600 + i }, onProgress }),
    );
    await Promise.all(calls);
    expect(pixels).toHaveBeenCalledTimes(6);
    pixels.mockRestore();
    // Of 75 MB each: the fourth goes beyond the 256 MB.
    expect(most).toBe(4);
    await sam.close();
  });
});
