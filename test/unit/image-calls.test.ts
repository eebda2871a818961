import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { inspect } from "node:util";
import sharp from "sharp";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { Engine } from "../../lib/devices/engine.js";
import { type ConceptResult, Mask, type Settled } from "../../lib/index.js";
import { loadEngine } from "../../lib/load-engine.js";
import type { LoadOptions } from "../../lib/options.js";
import { Sam3 } from "../../lib/sam3.js";
import { type FakeState, fakeAddon, nativeError } from "./fake-addon.js";
import { writeFakeBundle } from "./fake-bundle.js";

let trained: string;
let untrained: string;
beforeAll(async () => {
  trained = await writeFakeBundle((manifest) => ({
    ...manifest,
    tracker: { ...manifest.tracker, trained: true },
  }));
  untrained = await writeFakeBundle();
});

async function open(changes: Partial<FakeState> = {}, model = trained, options: LoadOptions = {}) {
  const { addon, state } = fakeAddon(changes);
  const lines: string[] = [];
  const write = (line: string) => void lines.push(line);
  const logger = { debug: write, info: write, warn: write, error: write };
  return { sam: Sam3.over(await loadEngine({ model, logger, ...options }, {}, () => addon)), state, lines };
}

/** A picture of its own for each number. */
const picture = (n = 0, width = 40, height = 20) => ({
  data: new Uint8Array(width * height * 3).fill(n),
  width,
  height,
  channels: 3 as const,
});
const click = { x: 5, y: 6, label: "positive" } as const;
const outcome = (one: Settled<unknown>) =>
  one.status === "fulfilled" ? "ok" : (one.reason as { code: string }).code;
const value = (one: Settled<ConceptResult> | undefined) => {
  if (one?.status !== "fulfilled") throw new Error(`not fulfilled: ${inspect(one)}`);
  return one.value;
};

describe("segmentObject", () => {
  it("hands points, box, mask and settings to the addon, and gives masks with quality", async () => {
    const { sam, state } = await open();
    await using encoded = await sam.image.encode(picture());
    const result = await encoded.segmentObject(
      { points: [click, { x: 1, y: 2, label: "negative" }], box: [0, 0, 20, 10], multimask: true },
      { maskThreshold: 0.5, maxHoleArea: 8, maxSprinkleArea: 4 },
    );
    expect(state.objects[0]).toMatchObject({
      points: Float32Array.of(5, 6, 1, 2, 0, 0, 20, 10),
      labels: Int32Array.of(1, 0, 2, 3),
      mask: null,
      multimask: true,
      maskThreshold: 0.5,
      maxHoleArea: 8,
      maxSprinkleArea: 4,
    });
    expect(result.masks.map(({ quality }) => quality)).toEqual([0.9, 0.8, 0.7]);
    expect(result.best).toBe(result.masks[0]);
    expect(result.objectScore).toBeCloseTo(1 / (1 + Math.exp(-5)), 12);
    expect(result.best).toMatchObject({ area: 800, box: [0, 0, 40, 20] });
    expect(result.best.logits).toHaveLength(48 * 48);
    expect(result).toMatchObject({ image: { width: 40, height: 20 }, cache: "miss" });
    expect(inspect(result)).toBe("ObjectResult { best of 3, quality 0.90, 800 px in 40×20 }");
    expect(inspect(result.best)).toBe("ObjectMask { quality 0.90, box [0, 0, 40, 20], 800 px }");
    expect(JSON.parse(JSON.stringify(result))).toEqual({
      image: { width: 40, height: 20 },
      objectScore: result.objectScore,
      masks: result.masks.map(({ quality, mask }) => ({
        quality,
        box: [0, 0, 40, 20],
        area: 800,
        mask: mask.toRle(),
      })),
      best: 0,
      timings: result.timings,
      cache: "miss",
    });
    expect(result.toCoco().categories).toEqual([{ id: 1, name: "object" }]);
  });

  it("gives the best of three for a single click, whichever it is", async () => {
    const masks = [0.3, 0.95, 0.95].map((quality, i) => ({
      quality,
      counts: Uint32Array.of(0, i + 1, 800 - i - 1),
      area: i + 1,
      lowRes: new Float32Array(48 * 48).fill(i),
    }));
    const { sam, state } = await open({ outlined: () => ({ masks, objectScore: -3 }) });
    const result = await sam.image.segmentObject(picture(), { points: [click] });
    expect(state.objects[0]?.multimask).toBe(true);
    expect(result.masks).toEqual([result.best]);
    expect([result.best.quality, result.best.area]).toEqual([0.95, 2]);
    expect(result.objectScore).toBeLessThan(0.05);
    const three = await sam.image.segmentObject(picture(), { points: [click], multimask: true });
    expect(three.masks.map(({ area }) => area)).toEqual([1, 2, 3]);
    expect(three.toJSON().best).toBe(1);
  });

  it("refines a result, or one of its masks, of the same picture in whatever call it was made", async () => {
    const { sam, state } = await open();
    const first = await sam.image.segmentObject(picture(), { points: [click], multimask: true });
    const more = { x: 9, y: 9, label: "negative" } as const;
    await sam.image.segmentObject(picture(), { refineFrom: first, points: [more] });
    await using encoded = await sam.image.encode(picture());
    await encoded.segmentObject({ refineFrom: first.masks[2] });
    expect(state.objects[1]).toMatchObject({
      points: Float32Array.of(5, 6, 9, 9),
      mask: first.best.logits,
      multimask: false,
    });
    expect(state.objects[2]).toMatchObject({
      points: Float32Array.of(5, 6),
      mask: first.masks[2]?.logits,
      multimask: true,
    });
    await expect(
      sam.image.segmentObject(picture(1), { refineFrom: first, points: [more] }),
    ).rejects.toMatchObject({ code: "INVALID_PROMPT", message: expect.stringContaining("another picture") });
  });

  it("is refused by a model that was never trained for it, before anything is read", async () => {
    const { sam, state } = await open({}, untrained);
    const calls = [
      () => sam.image.segmentObject("/nowhere.png", { points: [click] }),
      () => sam.image.segmentObjects(picture(), [{ points: [click] }]),
    ];
    for (const call of calls) {
      await expect(call()).rejects.toMatchObject({
        code: "UNSUPPORTED",
        message: expect.stringContaining("fake"),
      });
    }
    expect(state.pixels).toEqual([]);
    await expect(sam.image.segmentConcept(picture(), { text: "cat" })).resolves.toBeDefined();
  });

  it("refuses bad prompts and options before the encoder runs, with the caller's stack, and the next call works", async () => {
    const { sam, state } = await open();
    const bad = [
      [{}, {}, "INVALID_PROMPT"],
      [{ points: [] }, {}, "INVALID_PROMPT"],
      [{ points: [{ x: 40, y: 5, label: "positive" }] }, {}, "INVALID_POINT"],
      [{ points: [{ x: 4, y: 5 }] }, {}, "INVALID_POINT"],
      [{ points: Array(10_000).fill(click) }, {}, "INVALID_POINT"],
      [{ box: [3, 3, 3, 9] }, {}, "INVALID_BOX"],
      [{ mask: new Float32Array(7) }, {}, "INVALID_MASK"],
      [{ points: [click] }, { maxHoleArea: -1 }, "INVALID_ARGUMENT"],
      [{ points: [click] }, { maxSprinkleArea: Number.NaN }, "INVALID_ARGUMENT"],
      [{ points: [click] }, { maskThreshold: "0" }, "INVALID_ARGUMENT"],
      [{ points: [click] }, { holes: 5 }, "INVALID_ARGUMENT"],
      [{ points: [click] }, null, "INVALID_ARGUMENT"],
      [{ points: [click] }, { signal: 5 }, "INVALID_ARGUMENT"],
    ] as const;
    for (const [prompt, options, expected] of bad) {
      const error = await (async function someCaller() {
        return sam.image.segmentObject(picture(), prompt as never, options as never).catch((e: Error) => e);
      })();
      expect(error).toMatchObject({ name: "Sam3Error", code: expected });
      expect((error as Error).stack).toContain("someCaller");
    }
    expect(state.pixels).toEqual([]);
    await expect(sam.image.segmentObject(picture(), { points: [click] })).resolves.toBeDefined();
  });

  it("decodes several objects in order as one batch; a bad prompt fails alone, with the caller's stack", async () => {
    const { sam, state } = await open();
    await using encoded = await sam.image.encode(picture());
    const prompts = [
      { box: [0, 0, 5, 5] },
      { points: [{ x: -1, y: 0, label: "positive" }] },
      { points: [click] },
      null,
      { box: [1, 1, 1, 1] },
      { box: [5, 5, 9, 9] },
    ];
    const answers = await (async function someCaller() {
      return encoded.segmentObjects(prompts as never);
    })();
    expect(answers.map(outcome)).toEqual([
      "ok",
      "INVALID_POINT",
      "ok",
      "INVALID_PROMPT",
      "INVALID_BOX",
      "ok",
    ]);
    expect(state.objects.map(({ points }) => [...points])).toEqual([
      [0, 0, 5, 5],
      [5, 6],
      [5, 5, 9, 9],
    ]);
    const batches = state.batches.filter(({ stage }) => stage === "segmentObjects");
    expect(batches.map(({ items }) => items)).toEqual([3]);
    const failed = answers[1] as { reason: Error };
    expect(failed.reason.stack).toContain("someCaller");
    for (const list of [[], Array(1025).fill({}), "box", undefined]) {
      await expect(encoded.segmentObjects(list as never)).rejects.toMatchObject({ code: "INVALID_PROMPT" });
    }
  });

  it("of which one fails in the addon, the others are answered", async () => {
    const { sam } = await open({
      failures: {
        segmentObjects: ({ item }: { item: unknown }) =>
          (item as { points: Float32Array }).points[0] === 5
            ? nativeError("MODEL_FAILED", "bad one")
            : undefined,
      },
    });
    const answers = await sam.image.segmentObjects(picture(), [
      { box: [0, 0, 5, 5] },
      { points: [click] },
      { box: [1, 1, 5, 5] },
    ]);
    expect(answers.map(outcome)).toEqual(["ok", "MODEL_FAILED", "ok"]);
    await expect(sam.image.segmentObject(picture(), { points: [click] })).rejects.toMatchObject({
      code: "MODEL_FAILED",
    });
  });

  it("draws its clicks on the overlay", async () => {
    const { sam } = await open();
    const result = await sam.image.segmentObject(picture(90, 200, 100), {
      points: [
        { x: 50, y: 50, label: "positive" },
        { x: 150, y: 50, label: "negative" },
      ],
    });
    const at = async (x: number, options = {}) => {
      const png = await result.overlay({ opacity: 0, boxes: false, labels: false, ...options });
      const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true });
      // Beside the plus and the minus.
      return [...data.subarray((52 * info.width + x) * info.channels).subarray(0, 3)];
    };
    const [green, red] = [await at(52), await at(152)];
    expect(green?.[1]).toBeGreaterThan((green?.[0] as number) + 50);
    expect(red?.[0]).toBeGreaterThan((red?.[1] as number) + 50);
    expect(await at(52, { points: false })).toEqual([90, 90, 90]);
  });
});

describe("segmentConcepts", () => {
  it("asks every prompt with its own text, boxes and threshold in one go, and keeps the order", async () => {
    const { sam, state } = await open({
      found: ({ threshold, features: { width, height } }) => ({
        presence: threshold,
        semantic: null,
        objects: [
          {
            score: 0.9,
            box: Float64Array.of(0, 0, 1, 1),
            counts: Uint32Array.of(0, 1, width * height - 1),
            area: 1,
          },
        ],
      }),
    });
    const answers = await sam.image.segmentConcepts(picture(), [
      { text: "cat", threshold: 0.1 },
      { text: "dog", threshold: 0.2, exemplars: [{ box: [0, 0, 20, 10], label: "negative" }] },
      { exemplars: [{ box: [0, 0, 4, 4] }], threshold: 0.3 },
    ]);
    const results = answers.map(value);
    expect(results.map(({ prompts }) => [prompts[0]?.text, prompts[0]?.presence])).toEqual([
      ["cat", 0.1],
      ["dog", 0.2],
      ["visual", 0.3],
    ]);
    expect(results.map(({ objects }) => [objects[0]?.prompt, objects[0]?.text])).toEqual([
      [0, "cat"],
      [1, "dog"],
      [2, "visual"],
    ]);
    expect(state.pixels).toHaveLength(1);
    expect(state.prompts.map(({ boxes }) => boxes.length)).toEqual([0, 4, 4]);
    expect(state.batches.filter(({ stage }) => stage === "segmentConcepts")).toHaveLength(1);
  });

  it("lets a bad prompt fail alone", async () => {
    const { sam } = await open({
      failures: {
        segmentConcepts: ({ item }: { item: unknown }) =>
          (item as { threshold: number }).threshold === 0.4 ? nativeError("MODEL_FAILED") : undefined,
      },
    });
    const answers = await sam.image.segmentConcepts(picture(), [
      { text: "cat" },
      { text: "" },
      { text: "dog", threshold: 0.4 },
      { text: ["a", "b"] } as never,
      { text: "cat", exemplars: [{ box: [9, 9, 9, 9] }] },
      { text: "x".repeat(30_000) },
      undefined as never,
      { text: "bird" },
    ]);
    expect(answers.map(outcome)).toEqual([
      "ok",
      "INVALID_PROMPT",
      "MODEL_FAILED",
      "INVALID_PROMPT",
      "INVALID_BOX",
      "INVALID_PROMPT",
      "INVALID_PROMPT",
      "ok",
    ]);
    expect(value(answers[7]).objects[0]?.prompt).toBe(7);
  });

  it("takes 1,000 texts, and answers each of duplicate texts though it is read and asked once", async () => {
    const { sam, state } = await open();
    const texts = Array.from({ length: 1000 }, (_, i) => `thing ${i % 50}`);
    const answers = await sam.image.segmentConcepts(
      picture(),
      texts.map((text) => ({ text })),
    );
    expect(answers.map((one) => value(one).prompts[0]?.text)).toEqual(texts);
    expect(answers.map((one) => value(one).objects[0]?.prompt)).toEqual(texts.map((_, i) => i));
    expect(state.ids).toHaveLength(50);
    expect(state.prompts).toHaveLength(50);
    const together = await sam.image.segmentConcept(picture(), { text: texts });
    expect(together.prompts.map(({ text }) => text)).toEqual(texts);
    await expect(
      sam.image.segmentConcept(picture(), { text: Array(1025).fill("cat") }),
    ).rejects.toMatchObject({
      code: "INVALID_PROMPT",
      message: expect.stringContaining("1024"),
    });
  });

  it("leaves out duplicates across prompts when asked to, and counts them", async () => {
    const { sam } = await open({
      found: ({ threshold, features: { width, height } }) => ({
        presence: 1,
        semantic: null,
        objects: [0.5, 0.2].map((score, i) => ({
          score: score + threshold / 10,
          box: Float64Array.of(0, 0, width, height),
          counts: i === 0 ? Uint32Array.of(0, 400, 400) : Uint32Array.of(400, 400),
          area: 400,
        })),
      }),
    });
    const prompts = [
      { text: "cat", threshold: 0.1 },
      { text: "animal", threshold: 0.9 },
    ];
    const kept = (await sam.image.segmentConcepts(picture(), prompts, { suppressDuplicates: 0.9 })).map(
      value,
    );
    expect(kept.map(({ objects }) => objects.length)).toEqual([0, 2]);
    expect(kept.map(({ prompts: [report] }) => report?.suppressed)).toEqual([2, 0]);
    const all = (await sam.image.segmentConcepts(picture(), prompts)).map(value);
    expect(all.map(({ objects }) => objects.length)).toEqual([2, 2]);
    const texts = await sam.image.segmentConcept(
      picture(),
      { text: ["cat", "dog"] },
      { suppressDuplicates: 1 },
    );
    expect(texts.objects.map(({ text }) => text)).toEqual(["cat", "cat"]);
    for (const suppressDuplicates of [0, 1.1, Number.NaN, "0.5", null]) {
      await expect(
        sam.image.segmentConcepts(picture(), prompts, { suppressDuplicates } as never),
      ).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }
  });

  it("gives the semantic map on request only", async () => {
    const { sam, state } = await open();
    const plain = await sam.image.segmentConcept(picture(), { text: "cat" });
    expect(plain.prompts[0]?.semantic).toBeNull();
    const { prompts } = await sam.image.segmentConcept(picture(), { text: "cat" }, { semantic: true });
    expect(prompts[0]?.semantic).toBeInstanceOf(Mask);
    expect(prompts[0]?.semantic?.area).toBe(800);
    expect(state.prompts.map(({ semantic }) => semantic)).toEqual([false, true]);
    const [answer] = await sam.image.segmentConcepts(picture(), [{ text: "cat" }], { semantic: true });
    expect(JSON.parse(JSON.stringify(value(answer))).prompts[0].semantic.size).toEqual([20, 40]);
  });
});

describe("segmentBatch", () => {
  it("answers every picture and prompt in order; what is bad fails alone", async () => {
    const { sam, state } = await open({ delayMs: 1 });
    const items = [
      { image: picture(1), prompts: [{ text: "cat" }, { text: "" }, { text: "dog" }] },
      { image: "/nowhere.png", prompts: [{ text: "cat" }] },
      { image: picture(2), prompts: [] },
      { image: Buffer.from("no picture"), prompts: [{ text: "cat" }] },
      { image: picture(3) },
      null,
      { image: picture(4, 10, 10), prompts: [{ text: "bird" }] },
    ];
    const answers = await (async function someCaller() {
      return sam.image.segmentBatch(items as never);
    })();
    expect(answers.map(outcome)).toEqual([
      "ok",
      "IMAGE_NOT_FOUND",
      "INVALID_PROMPT",
      "IMAGE_INVALID",
      "INVALID_ARGUMENT",
      "INVALID_ARGUMENT",
      "ok",
    ]);
    const [first, missing, , , , , last] = answers as unknown as {
      value: Settled<ConceptResult>[];
      reason: Error;
    }[];
    expect(first?.value.map(outcome)).toEqual(["ok", "INVALID_PROMPT", "ok"]);
    expect(value(last?.value[0]).image).toEqual({ width: 10, height: 10 });
    expect(missing?.reason.stack).toContain("someCaller");
    expect(state.pixels).toHaveLength(2);
  });

  it("gives 200 pictures their own answers, a few at a time", async () => {
    const { sam, state } = await open();
    const items = Array.from({ length: 200 }, (_, i) => ({
      image: picture(i, 10 + (i % 7), 10),
      prompts: [{ text: `thing ${i % 5}` }],
    }));
    const answers = await sam.image.segmentBatch(items);
    answers.forEach((answer, i) => {
      const { image, prompts } = value(answer.status === "fulfilled" ? answer.value[0] : undefined);
      expect([image.width, prompts[0]?.text]).toEqual([10 + (i % 7), `thing ${i % 5}`]);
    });
    expect(state.pixels).toHaveLength(200);
  });

  it("says how far it has come, and survives a callback that throws", async () => {
    const { sam, lines } = await open();
    const items = [
      { image: picture(1), prompts: [{ text: "cat" }] },
      { image: "/nowhere.png", prompts: [{ text: "cat" }] },
      { image: picture(2), prompts: [{ text: "dog" }] },
    ];
    const seen: unknown[] = [];
    await sam.image.segmentBatch(items, { onProgress: (progress) => seen.push(progress) });
    expect(seen).toEqual([1, 2, 3].map((done) => ({ done, total: 3 })));
    await sam.image.segmentConcept(picture(3), { text: "cat" }, { onProgress: (it) => seen.push(it) });
    expect(seen.slice(3)).toEqual([{ done: 1, total: 1 }]);
    const onProgress = () => {
      throw new Error("mine");
    };
    expect(await sam.image.segmentBatch(items, { onProgress })).toHaveLength(3);
    expect(lines.filter((line) => line.includes("mine"))).toHaveLength(3);
    await expect(sam.image.segmentBatch(items, { onProgress: 3 as never })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });

  it("stops as a whole", async () => {
    const { sam } = await open({ delayMs: 5 });
    const items = Array.from({ length: 50 }, (_, i) => ({ image: picture(i), prompts: [{ text: "cat" }] }));
    const controller = new AbortController();
    const running = sam.image.segmentBatch(items, { signal: controller.signal });
    setTimeout(() => controller.abort("enough"), 20);
    await expect(running).rejects.toBe("enough");
    await expect(sam.image.segmentBatch(items, { timeoutMs: 10 })).rejects.toMatchObject({ code: "TIMEOUT" });
    await expect(sam.image.segmentBatch("x" as never)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(await sam.image.segmentBatch([])).toEqual([]);
  });
});

describe("a picture's content decides", () => {
  it("whether it was seen before, whatever way it comes", async () => {
    const { sam, state } = await open();
    const folder = await mkdtemp(join(tmpdir(), "sam3-content-"));
    const path = join(folder, "a.png");
    const png = (background: string) =>
      sharp({ create: { width: 12, height: 8, channels: 3, background } })
        .png()
        .toBuffer();
    const [red, blue] = [await png("red"), await png("blue")];
    const ask = async (image: Parameters<typeof sam.image.segmentConcept>[0]) =>
      (await sam.image.segmentConcept(image, { text: "cat" })).cache;
    await writeFile(path, red);
    expect(await ask(path)).toBe("miss");
    expect(await ask(path)).toBe("hit");
    expect(await ask(pathToFileURL(path))).toBe("hit");
    expect(await ask(red)).toBe("hit");
    await writeFile(join(folder, "b.png"), red);
    expect(await ask(join(folder, "b.png"))).toBe("hit");
    // The same path with another content.
    await writeFile(path, blue);
    expect(await ask(path)).toBe("miss");
    expect(state.pixels.map(({ data }) => [...data.subarray(0, 3)])).toEqual([
      [255, 0, 0],
      [0, 0, 255],
    ]);
    // The same bytes in another shape are another picture.
    expect(await ask(picture(7, 12, 8))).toBe("miss");
    expect(await ask(picture(7, 12, 8))).toBe("hit");
    expect(await ask(picture(7, 8, 12))).toBe("miss");
    expect(await ask(sharp(red))).toBe("miss");
    expect(await ask(sharp(red))).toBe("hit");
  });

  it("names results: file and content", async () => {
    const { sam } = await open();
    const path = join(await mkdtemp(join(tmpdir(), "sam3-content-")), "c.png");
    await writeFile(
      path,
      await sharp({ create: { width: 9, height: 9, channels: 3, background: "red" } })
        .png()
        .toBuffer(),
    );
    const fromFile = await sam.image.segmentConcept(path, { text: "cat" });
    expect(fromFile.fileName).toBe(path);
    expect(fromFile.contentHash).toMatch(/^[0-9a-f]{64}$/);
    const inMemory = await sam.image.segmentConcept(picture(), { text: "cat" });
    expect(inMemory.fileName).toBeUndefined();
    expect(inMemory.contentHash).not.toBe(fromFile.contentHash);
    expect(fromFile.toCoco().images).toEqual([{ id: 1, file_name: path, width: 9, height: 9 }]);
    expect(fromFile.toGeoJson().features[0]?.properties.file).toBe(path);
    expect(fromFile.toYolo()).toBe("0 1 0 1 1 0 1 0 0\n");
    expect(await sharp(await fromFile.toLabelPng()).metadata()).toMatchObject({ width: 9, height: 9 });
  });
});

it("one who leaves, and takes the file along, does not disturb another who waits for the same picture", async () => {
  const acquire = vi.spyOn(Engine.prototype, "acquire");
  const { sam, state } = await open({ delayMs: 200 }, trained, { maxEncodeBatch: 1 });
  const { data, ...raw } = picture(9);
  const bytes = await sharp(data, { raw }).png().toBuffer();
  const path = join(await mkdtemp(join(tmpdir(), "sam3-leaves-")), "upload.png");
  await writeFile(path, bytes);
  // These fill the encoder, so that the next ones wait.
  const busy = [1, 2].map((n) => sam.image.segmentConcept(picture(n), { text: "cat" }));
  const stop = new AbortController();
  const first = sam.image.segmentConcept(path, { text: "cat" }, { signal: stop.signal });
  await vi.waitFor(() => expect(acquire).toHaveBeenCalledTimes(3), { interval: 1 });
  const second = sam.image.segmentConcept(bytes, { text: "cat" });
  await vi.waitFor(() => expect(acquire).toHaveBeenCalledTimes(4), { interval: 1 });
  acquire.mockRestore();
  expect(sam.stats().picturesWaiting).toBe(1);
  stop.abort("left");
  await expect(first).rejects.toBe("left");
  await rm(path);
  await expect(second).resolves.toMatchObject({ cache: "hit" });
  await Promise.all(busy);
  expect(state.pixels).toHaveLength(3);
});

describe("a full line", () => {
  const codes = async (calls: readonly Promise<unknown>[]) =>
    (await Promise.allSettled(calls)).map((it) =>
      it.status === "fulfilled" ? "ok" : (it.reason as { code: string }).code,
    );
  const count = (list: readonly string[], code: string) => list.filter((it) => it === code).length;
  const times = <T>(n: number, make: (i: number) => T) => Array.from({ length: n }, (_, i) => make(i));

  it.each(["segmentObject", "segmentConcept"] as const)(
    "refuses what is too much of 500 calls of %s on one encoded picture",
    async (method) => {
      const { sam, state } = await open({ delayMs: 1 }, trained, { maxQueue: 5, featureCache: false });
      const encoded = await sam.image.encode(picture());
      const ask = (i: number) =>
        method === "segmentObject"
          ? encoded.segmentObject({ points: [click] })
          : encoded.segmentConcept({ text: `thing ${i}` });
      const ended = await codes(times(500, ask));
      // Two batches of eight, and five that wait.
      expect([count(ended, "ok"), count(ended, "QUEUE_FULL")]).toEqual([21, 479]);
      await expect(ask(0)).resolves.toBeDefined();
      encoded.dispose();
      expect([state.liveFeatures, state.liveTexts]).toEqual([0, 0]);
    },
  );

  it("refuses pictures before anything of them is copied", async () => {
    const { sam, state } = await open({ delayMs: 1 }, trained, { maxQueue: 5 });
    const side = 1000;
    const pictures = times(150, (n) => picture(n, side, side));
    const before = process.memoryUsage().arrayBuffers;
    const calls = pictures.map((image) => sam.image.segmentConcept(image, { text: "cat" }));
    const copied = process.memoryUsage().arrayBuffers - before;
    expect(copied).toBeLessThan(22 * 3 * side ** 2);
    expect(sam.stats().picturesWaiting).toBe(21 - 4);
    const ended = await codes(calls);
    expect([count(ended, "ok"), count(ended, "QUEUE_FULL")]).toEqual([21, 129]);
    expect(state.pixels).toHaveLength(21);
    expect(sam.stats().picturesWaiting).toBe(0);
    await expect(sam.image.segmentConcept(picture(), { text: "cat" })).resolves.toBeDefined();
  });

  it("counts calls on one picture that is encoded once, and on one that is cached", async () => {
    const { sam, state } = await open({ delayMs: 1 }, trained, { maxQueue: 5 });
    for (let i = 0; i < 2; i++) {
      const ended = await codes(times(100, () => sam.image.segmentObject(picture(), { points: [click] })));
      expect([count(ended, "ok"), count(ended, "QUEUE_FULL")]).toEqual([21, 79]);
    }
    expect(state.pixels).toHaveLength(1);
    expect(sam.cache.stats()).toMatchObject({ pinned: 0, making: 0 });
  });

  it("refuses nobody half-way: whoever was let in is answered", async () => {
    const { sam, state } = await open({ delayMs: 1 }, trained, { maxQueue: 1, maxDecodeBatch: 1 });
    const prompts = times(20, (i) => ({ text: `thing ${i}` }));
    const calls = times(30, (n) => sam.image.segmentConcepts(picture(n), prompts));
    const ended = await Promise.allSettled(calls);
    expect(ended.map(({ status }) => status)).toEqual([
      ...Array(17).fill("fulfilled"),
      ...Array(13).fill("rejected"),
    ]);
    for (const it of ended) if (it.status === "fulfilled") it.value.map(value);
    expect(state.pixels).toHaveLength(17);
  });

  it("is not filled by one batch of pictures, nor by one picture with tiles", async () => {
    const options = { maxQueue: 1, maxEncodeBatch: 1, maxDecodeBatch: 1 };
    const { sam, state } = await open({ delayMs: -1 }, trained, options);
    const items = times(60, (n) => ({ image: picture(n), prompts: [{ text: "cat" }, { text: "dog" }] }));
    const answers = await sam.image.segmentBatch(items);
    expect(answers.map(outcome)).toEqual(Array(60).fill("ok"));
    const tiles = { size: 168, overlap: 8 };
    await sam.image.segmentConcept(picture(0, 1000, 700), { text: "cat" }, { tiles });
    expect(state.pixels.length).toBeGreaterThan(60 + 30);
  });

  it("is left when it takes too long to be read", async () => {
    const { sam } = await open({}, trained, { queueTimeoutMs: 20 });
    let free = () => {};
    const held = new Promise<void>((resolve) => {
      free = resolve;
    });
    // Looks like a sharp instance, and is one that takes its time.
    const slow = Object.assign(sharp(Buffer.alloc(1)), {
      metadata: () => held.then(() => Promise.reject(new Error("nothing"))),
      clone: () => slow,
    });
    const reading = times(4, () => sam.image.encode(slow));
    await expect(sam.image.encode(picture())).rejects.toMatchObject({
      code: "TIMEOUT",
      details: { stage: "readImages" },
    });
    free();
    expect(await codes(reading)).toEqual(Array(4).fill("IMAGE_INVALID"));
    await expect(sam.image.encode(picture())).resolves.toBeDefined();
  });
});

describe("after the end", () => {
  it("a disposed picture and a closed Sam3 refuse every call with DISPOSED", async () => {
    const { sam, state } = await open();
    const encoded = await sam.image.encode(picture());
    const other = await sam.image.encode(picture(1));
    const calls = (image: typeof encoded) => [
      () => image.segmentConcept({ text: "cat" }),
      () => image.segmentConcepts([{ text: "cat" }]),
      () => image.segmentObject({ points: [click] }),
      () => image.segmentObjects([{ points: [click] }]),
    ];
    encoded.dispose();
    for (const call of calls(encoded)) await expect(call()).rejects.toMatchObject({ code: "DISPOSED" });
    await expect(other.segmentConcept({ text: "cat" })).resolves.toBeDefined();
    await sam.close();
    const late = [
      ...calls(other),
      () => sam.image.encode(picture()),
      () => sam.image.segmentObject(picture(), { points: [click] }),
      () => sam.image.segmentConcepts(picture(), [{ text: "cat" }]),
      () => sam.image.segmentBatch([{ image: picture(), prompts: [{ text: "cat" }] }]),
      () => sam.image.segmentConcept(picture(), { text: "cat" }, { tiles: {} }),
    ];
    for (const call of late) await expect(call()).rejects.toMatchObject({ code: "DISPOSED" });
    expect(state.liveFeatures).toBe(0);
  });
});
