import { unlink } from "node:fs/promises";
import { join } from "node:path";
import { inspect } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { loadEngine } from "../../lib/load-engine.js";
import type { LoadOptions } from "../../lib/options.js";
import { Sam3 } from "../../lib/sam3.js";
import { type FakeState, fakeAddon, fakeDevice } from "./fake-addon.js";
import { writeFakeBundle } from "./fake-bundle.js";

let folder: string;
beforeAll(async () => {
  folder = await writeFakeBundle();
});

const picture = { data: new Uint8Array(40 * 20 * 3), width: 40, height: 20, channels: 3 } as const;

function quietLogger() {
  const lines: string[] = [];
  const write = (message: string) => void lines.push(message);
  return { lines, logger: { debug: write, info: write, warn: write, error: write } };
}

/** Without the cache, so that what is freed can be counted; `engine.test.ts` has the cache. */
async function open(changes: Partial<FakeState> = {}, options: LoadOptions = {}) {
  const { addon, state } = fakeAddon(changes);
  const { lines, logger } = quietLogger();
  const sam = Sam3.over(
    await loadEngine({ model: folder, logger, featureCache: false, ...options }, {}, () => addon),
  );
  return { sam, state, lines, addon };
}

const gpu = (n: number) => fakeDevice(`cuda:${n}`);
const cpu = fakeDevice("cpu");

describe("loading", () => {
  it("tells the model's facts and prints as one line", async () => {
    const { sam } = await open();
    expect(sam.model).toMatchObject({
      name: "fake",
      folder,
      resolution: 168,
      dtype: "fp32",
      device: "cpu",
      deviceName: "Fake CPU",
      modelBytes: 1000,
      confidenceThreshold: 0.5,
      contextLength: 32,
    });
    expect(inspect(sam)).toBe("Sam3 { fake, 168 px, fp32 on cpu }");
    await sam.close();
    expect(inspect(sam)).toBe("Sam3 { fake, 168 px, fp32 on cpu, closed }");
  });

  it("gives the addon every part and what it must know of them", async () => {
    const { state } = await open();
    expect(Object.keys(state.loaded[0]?.parts ?? {})).toEqual([
      "image_encoder",
      "text_encoder",
      "concept_decoder",
      "object_decoder",
      "memory_encoder",
      "memory_attention",
      "tracker_constants",
    ]);
    expect(state.loaded[0]).toMatchObject({
      resolution: 168,
      maskSize: 48,
      mean: [0.5, 0.5, 0.5],
      maskThreshold: 0,
      contextLength: 32,
    });
  });

  it("reports progress, and survives a callback that throws", async () => {
    const seen: string[] = [];
    await open(
      {},
      { onProgress: ({ stage, part, done, total }) => seen.push(`${stage} ${part} ${done}/${total}`) },
    );
    const parts = [
      "image_encoder",
      "text_encoder",
      "concept_decoder",
      "object_decoder",
      "memory_encoder",
      "memory_attention",
      "tracker_constants",
    ];
    const said = (stage: string) => parts.map((part, i) => `${stage} ${part} ${i + 1}/${parts.length}`);
    expect(seen).toEqual([...said("verify"), ...said("load")]);
    const { lines } = await open(
      {},
      {
        onProgress: () => {
          throw new Error("mine");
        },
      },
    );
    expect(lines.filter((line) => line.includes("mine"))).toHaveLength(2 * parts.length);
  });

  it.each([
    ["auto", [cpu], "cpu"],
    ["auto", [cpu, gpu(0), gpu(1)], "cuda:0"],
    ["cuda", [cpu, gpu(0), gpu(1)], "cuda:0"],
    ["cuda:1", [cpu, gpu(0), gpu(1)], "cuda:1"],
    ["cpu", [cpu, gpu(0)], "cpu"],
  ] as const)("puts %s of %j on %s", async (devices, available, expected) => {
    const { sam } = await open({ devices: [...available] }, { devices });
    expect(sam.model.device).toBe(expected);
  });

  it("names as its device what is ready, not what had too little memory", async () => {
    const devices = [cpu, gpu(0), fakeDevice("cuda:1", { freeBytes: 10 })];
    const choice: LoadOptions = { devices: ["cuda:0", { device: "cuda:1", required: false }] };
    const { sam } = await open({ devices }, choice);
    expect(sam.health()).toMatchObject({
      status: "degraded",
      replicas: [
        { name: "cuda:0", state: "ready" },
        { name: "cuda:1", state: "waiting", code: "DEVICE_MEMORY" },
      ],
    });
    expect(sam.model).toMatchObject({ device: "cuda:0", deviceName: "Fake GPU 0" });
    // Lazily nothing was tried yet: then it is where work may go.
    const { sam: lazy } = await open({ devices }, { ...choice, load: "lazy" });
    expect(lazy.model.device).toBe("cuda:0, cuda:1");
  });

  it("names the devices there are when one is not", async () => {
    const failing = open({ devices: [cpu, gpu(0)] }, { devices: "cuda:7" });
    await expect(failing).rejects.toMatchObject({
      code: "DEVICE_UNKNOWN",
      message: expect.stringMatching(/cuda:7.*cpu \(Fake CPU\), cuda:0 \(Fake GPU 0, GPU-0+-/),
    });
    await expect(open({}, { devices: "cuda" })).rejects.toMatchObject({ code: "DEVICE_UNKNOWN" });
  });

  it("says how to get another resolution", async () => {
    await expect(open({}, { resolution: 1008 })).rejects.toMatchObject({
      code: "INVALID_SETTING",
      message: expect.stringContaining("--resolution 1008"),
    });
    await expect(open({}, { resolution: 168 })).resolves.toBeDefined();
  });

  it("frees the replica when it fails half-way", async () => {
    const { addon, state } = fakeAddon({
      failures: { load: Object.assign(new Error("no room"), { code: "OUT_OF_MEMORY" }) },
    });
    const { logger } = quietLogger();
    await expect(loadEngine({ model: folder, logger }, {}, () => addon)).rejects.toMatchObject({
      code: "OUT_OF_MEMORY",
    });
    expect([state.replicas, state.closed]).toEqual([1, 1]);
  });

  it("frees the replica when it is stopped, and rejects with the reason", async () => {
    const { addon, state } = fakeAddon({ delayMs: 50 });
    const controller = new AbortController();
    const reason = new Error("enough");
    const loading = loadEngine(
      { model: folder, logger: quietLogger().logger, signal: controller.signal },
      {},
      () => addon,
    );
    await vi.waitFor(() => expect(state.replicas).toBe(1), { interval: 1 });
    controller.abort(reason);
    await expect(loading).rejects.toBe(reason);
    expect([state.cancelled, state.closed]).toEqual([1, 1]);
  });

  it("makes no replica when the bundle is damaged", async () => {
    const damaged = await writeFakeBundle();
    await unlink(join(damaged, "concept_decoder.pt"));
    const { addon, state } = fakeAddon();
    await expect(loadEngine({ model: damaged }, {}, () => addon)).rejects.toMatchObject({
      code: "BUNDLE_PART_MISSING",
    });
    expect(state.replicas).toBe(0);
  });

  it("through Sam3.load fails with the caller's stack", async () => {
    const error = await (async function someoneElse() {
      return Sam3.load({ model: "/nowhere" }).catch((e: Error) => e);
    })();
    expect(error).toMatchObject({ name: "Sam3Error", code: "BUNDLE_NOT_FOUND" });
    expect((error as Error).stack).toContain("sam3.test.ts");
    expect((error as Error).stack).toContain("someoneElse");
  });
});

describe("segmenting", () => {
  it("hands the addon pixels, tokens, boxes and threshold", async () => {
    const { sam, state } = await open();
    await sam.image.segmentConcept(picture, {
      text: "Cat",
      exemplars: [{ box: [0, 0, 20, 10], label: "negative" }],
      threshold: 0.25,
    });
    expect(state.pixels[0]).toMatchObject({ width: 40, height: 20 });
    expect(state.pixels[0]?.data.length).toBe(40 * 20 * 3);
    const [start, ...rest] = state.ids[0] as number[];
    expect([start, rest.length, rest.at(-1)]).toEqual([512, 4, 513]);
    expect(state.prompts[0]).toMatchObject({
      boxes: Float32Array.of(0.25, 0.25, 0.5, 0.5),
      labels: Uint8Array.of(0),
      threshold: 0.25,
    });
    expect([state.liveFeatures, state.liveTexts]).toEqual([0, 0]);
  });

  it("answers with objects, prompts and timings", async () => {
    const { sam } = await open();
    const result = await sam.image.segmentConcept(picture, { text: "cat" });
    expect(result.image).toEqual({ width: 40, height: 20 });
    const report = { text: "cat", truncated: false, presence: 0.9, semantic: null, suppressed: 0 };
    expect(result.prompts).toEqual([report]);
    expect(result.cache).toBe("off");
    const [object] = result.objects;
    expect(object).toMatchObject({ prompt: 0, text: "cat", score: 0.8, box: [0, 0, 40, 20] });
    expect(object?.mask.area).toBe(800);
    expect(result.timings.encodeMs).toBe(7);
    expect(result.timings.decodeMs).toBeGreaterThan(0);
    expect(result.timings.segmentMs).toBeGreaterThan(0);
    expect(inspect(result)).toBe("ConceptResult { 1 object in 40×20: cat 0.80 }");
    expect(inspect(object)).toBe("ConceptObject { cat 0.80, box [0, 0, 40, 20], 800 px }");
    expect(JSON.parse(JSON.stringify(result))).toEqual({
      image: { width: 40, height: 20 },
      objects: [
        { prompt: 0, text: "cat", score: 0.8, box: [0, 0, 40, 20], area: 800, mask: object?.mask.toRle() },
      ],
      prompts: [report],
      cache: "off",
      timings: result.timings,
    });
  });

  it("gives an empty list when nothing is found", async () => {
    const { sam } = await open({ found: () => ({ presence: 0.01, objects: [], semantic: null }) });
    const result = await sam.image.segmentConcept(picture, { text: "cat" });
    expect(result.objects).toEqual([]);
    expect(result.prompts[0]?.presence).toBe(0.01);
    expect(inspect(result)).toBe("ConceptResult { 0 objects in 40×20 }");
  });

  it("keeps apart what several texts found, exemplars applying to each", async () => {
    let n = 0;
    const { sam, state } = await open({
      found: () => ({
        presence: n / 100,
        semantic: null,
        objects: Array.from({ length: n++ % 3 }, (_, i) => ({
          score: 0.9 - i / 10,
          box: Float64Array.of(0, 0, 1, 1),
          counts: Uint32Array.of(0, 1, 799),
          area: 1,
        })),
      }),
    });
    // More than fit one native call.
    const texts = Array.from({ length: 20 }, (_, i) => `thing ${i}`);
    const { objects, prompts } = await sam.image.segmentConcept(picture, {
      text: texts,
      exemplars: [{ box: [0, 0, 4, 4] }],
    });
    expect(prompts.map(({ text }) => text)).toEqual(texts);
    expect(prompts.map(({ presence }) => presence)).toEqual(texts.map((_, i) => i / 100));
    expect(objects.map(({ prompt }) => prompt)).toEqual(texts.flatMap((_, i) => Array(i % 3).fill(i)));
    expect(objects.every(({ prompt, text }) => text === texts[prompt])).toBe(true);
    expect(state.prompts.every(({ boxes }) => boxes.length === 4)).toBe(true);
    expect([state.liveFeatures, state.liveTexts]).toEqual([0, 0]);
  });

  it("uses the bundle's words for boxes alone", async () => {
    const { sam } = await open();
    const { objects } = await sam.image.segmentConcept(picture, { exemplars: [{ box: [0, 0, 4, 4] }] });
    expect(objects[0]?.text).toBe("visual");
  });

  it("takes the threshold from prompt, option, bundle, in this order", async () => {
    const { sam, state } = await open({}, { confidenceThreshold: 0.3 });
    await sam.image.segmentConcept(picture, { text: "cat" });
    await sam.image.segmentConcept(picture, { text: "cat", threshold: 0 });
    const other = await open();
    await other.sam.image.segmentConcept(picture, { text: "cat" });
    expect([...state.prompts, ...other.state.prompts].map(({ threshold }) => threshold)).toEqual([
      0.3, 0, 0.5,
    ]);
  });

  it("cuts a text of 10,000 characters as the model does, says so, and is quick", async () => {
    const { sam, state } = await open();
    for (const text of ["a".repeat(10_000), "cat ".repeat(2_500), "é".repeat(10_000)]) {
      const start = performance.now();
      const { prompts } = await sam.image.segmentConcept(picture, { text });
      expect(performance.now() - start).toBeLessThan(1000);
      expect(prompts[0]?.truncated).toBe(true);
      const ids = state.ids.at(-1) as number[];
      expect([ids.length, ids[0], ids.at(-1)]).toEqual([32, 512, 513]);
    }
    await expect(sam.image.segmentConcept(picture, { text: "a".repeat(100_000) })).rejects.toMatchObject({
      code: "INVALID_PROMPT",
    });
  });

  it("refuses bad prompts before the encoder runs", async () => {
    const { sam, state } = await open();
    const bad = [
      { text: "" },
      { text: "\u0000" },
      { text: "cat", threshold: 7 },
      { exemplars: [{ box: [0, 0, Number.NaN, 1] }] },
      { texts: "cat" },
    ];
    const codes = await Promise.all(
      bad.map((prompt) => sam.image.segmentConcept(picture, prompt as never).catch((e) => e.code)),
    );
    expect(codes).toEqual([
      "INVALID_PROMPT",
      "INVALID_PROMPT",
      "INVALID_ARGUMENT",
      "INVALID_BOX",
      "INVALID_PROMPT",
    ]);
    expect(state.pixels).toEqual([]);
    await expect(sam.image.segmentConcept(picture, { text: "cat" })).resolves.toBeDefined();
  });
});

describe("an encoded image", () => {
  it("is asked often and encoded once", async () => {
    const { sam, state } = await open();
    const encoded = await sam.image.encode(picture);
    expect(encoded).toMatchObject({ width: 40, height: 20, bytes: 4096, encodeMs: 7, disposed: false });
    expect(inspect(encoded)).toBe("EncodedImage { 40×20, 0.0 MiB, encoded in 7 ms }");
    await Promise.all([encoded.segmentConcept({ text: "cat" }), encoded.segmentConcept({ text: "dog" })]);
    expect([state.pixels.length, state.prompts.length, state.liveFeatures]).toEqual([1, 2, 1]);
    encoded.dispose();
    encoded.dispose();
    expect(state.liveFeatures).toBe(0);
    await expect(encoded.segmentConcept({ text: "cat" })).rejects.toMatchObject({ code: "DISPOSED" });
  });

  it("is freed by await using, after what runs has ended", async () => {
    const { sam, state } = await open({ delayMs: 10 });
    let running: Promise<unknown>;
    {
      await using encoded = await sam.image.encode(picture);
      running = encoded.segmentConcept({ text: "cat" });
      encoded.dispose();
      expect(state.liveFeatures).toBe(1);
    }
    expect(state.liveFeatures).toBe(0);
    await expect(running).resolves.toMatchObject({ objects: [{ text: "cat" }] });
  });

  it("dies with its Sam3", async () => {
    const { sam, state } = await open();
    const encoded = await sam.image.encode(picture);
    await sam.close();
    await sam.close();
    expect([state.closed, state.liveFeatures]).toEqual([1, 0]);
    await expect(encoded.segmentConcept({ text: "cat" })).rejects.toMatchObject({ code: "DISPOSED" });
    await expect(sam.image.encode(picture)).rejects.toMatchObject({ code: "DISPOSED" });
    await expect(sam.image.segmentConcept(picture, { text: "cat" })).rejects.toMatchObject({
      code: "DISPOSED",
    });
  });

  it("does not outlive a close that comes while it is made", async () => {
    const { sam, state } = await open({ delayMs: 20 });
    const making = sam.image.encode(picture);
    await vi.waitFor(() => expect(state.pixels.length).toBe(1), { interval: 1 });
    await sam.close();
    await expect(making).rejects.toMatchObject({ code: "DISPOSED" });
    expect(state.liveFeatures).toBe(0);
  });

  it("that is forgotten is freed by the collector, and a line says so", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const { sam, state, lines } = await open();
    await (async () => void (await sam.image.encode(picture)))();
    await vi.waitFor(
      () => {
        collect();
        expect(state.liveFeatures).toBe(0);
      },
      { timeout: 5000, interval: 20 },
    );
    expect(lines.filter((line) => line.includes("never disposed"))).toHaveLength(1);
  });
});

describe("stopping", () => {
  it("rejects at once with the reason and frees what arrives late", async () => {
    const { sam, state } = await open({ delayMs: 250 });
    for (const reason of [new Error("enough"), "a text", undefined]) {
      const controller = new AbortController();
      const running = sam.image.segmentConcept(picture, { text: "cat" }, { signal: controller.signal });
      setTimeout(() => controller.abort(reason), 20);
      const start = performance.now();
      const thrown = await running.catch((error: unknown) => error);
      expect(performance.now() - start).toBeLessThan(200);
      expect(thrown).toBe(controller.signal.reason);
    }
    await new Promise((resolve) => setTimeout(resolve, 900));
    expect([state.liveFeatures, state.liveTexts]).toEqual([0, 0]);
    expect(state.cancelled).toBeGreaterThan(0);
  });

  it("leaves no listener on a signal that lives longer", async () => {
    const { sam } = await open();
    const { signal } = new AbortController();
    const add = vi.spyOn(signal, "addEventListener");
    const remove = vi.spyOn(signal, "removeEventListener");
    await sam.image.segmentConcept(picture, { text: "cat" }, { signal });
    await sam.image.segmentConcept(picture, { text: "" }, { signal }).catch(() => {});
    expect(add.mock.calls.length).toBeGreaterThan(0);
    expect(remove.mock.calls.map(([, listener]) => listener)).toEqual(
      add.mock.calls.map(([, listener]) => listener),
    );
  });

  it("at any moment leaks nothing", async () => {
    const { sam, state } = await open({ delayMs: 4 });
    for (let delay = 0; delay <= 24; delay += 2) {
      const controller = new AbortController();
      const running = sam.image.segmentConcept(picture, { text: "cat" }, { signal: controller.signal });
      setTimeout(() => controller.abort(), delay);
      await running.catch((error) => expect(error).toBe(controller.signal.reason));
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect([state.liveFeatures, state.liveTexts]).toEqual([0, 0]);
  });

  it("of one call leaves the others alone", async () => {
    const { sam } = await open({ delayMs: 20 });
    await using encoded = await sam.image.encode(picture);
    const controller = new AbortController();
    const stopped = encoded.segmentConcept({ text: "cat" }, { signal: controller.signal });
    const other = encoded.segmentConcept({ text: "dog" });
    controller.abort();
    await expect(stopped).rejects.toBe(controller.signal.reason);
    await expect(other).resolves.toMatchObject({ objects: [{ text: "dog" }] });
  });

  it("before the start does nothing at all", async () => {
    const { sam, state } = await open();
    await expect(sam.image.encode(picture, { signal: AbortSignal.abort("no") })).rejects.toBe("no");
    expect(state.pixels).toEqual([]);
    await expect(sam.image.encode(picture, { signal: 5 as never })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });
});

describe("many calls at once", () => {
  it("decode a few pictures at a time, each as it was when it was passed", async () => {
    const { sam, state } = await open({ delayMs: 5 });
    let most = 0;
    const data = new Uint8Array(4 * 4 * 3);
    const running = Array.from({ length: 40 }, async (_, i) => {
      data.fill(i);
      const call = sam.image.segmentConcept({ data, width: 4, height: 4, channels: 3 }, { text: "cat" });
      const timer = setInterval(() => {
        most = Math.max(most, state.pixels.length - state.prompts.length);
      }, 1);
      await call.finally(() => clearInterval(timer));
    });
    await Promise.all(running);
    const seen = state.pixels.map((pixels) => pixels.data[0] as number).sort((a, b) => a - b);
    expect(seen).toEqual(Array.from({ length: 40 }, (_, i) => i));
    expect(most).toBeGreaterThan(1);
    // Two batches of the encoder, and one that is with the decoder.
    expect(most).toBeLessThanOrEqual(3 * 8);
    expect(state.liveFeatures).toBe(0);
  });

  it("can be stopped while they wait, and a failure lets the next one in", async () => {
    const { sam, state } = await open({ delayMs: 20 });
    const controller = new AbortController();
    const first = Array.from({ length: 4 }, () => sam.image.encode(picture));
    const waiting = Array.from({ length: 10 }, () =>
      sam.image.encode(picture, { signal: controller.signal }),
    );
    const failing = Array.from({ length: 10 }, () => sam.image.encode("/nowhere.png"));
    const last = sam.image.encode(picture);
    controller.abort("enough");
    expect(
      (await Promise.allSettled(waiting)).every(
        (one) => one.status === "rejected" && one.reason === "enough",
      ),
    ).toBe(true);
    expect(
      (await Promise.allSettled(failing)).every(
        (one) => one.status === "rejected" && one.reason.code === "IMAGE_NOT_FOUND",
      ),
    ).toBe(true);
    await expect(Promise.all([...first, last])).resolves.toHaveLength(5);
    expect(state.pixels.length).toBe(5);
  });
});

describe("failures of the addon", () => {
  it("keep their code, message and cause, and get the caller's stack", async () => {
    const cause = Object.assign(new Error("a mask of the wrong shape"), { code: "MODEL_FAILED" });
    const { sam, state } = await open({ failures: { segmentConcepts: cause } });
    const error = await (async function someCaller() {
      return sam.image.segmentConcept(picture, { text: "cat" }).catch((e: Error) => e);
    })();
    expect(error).toMatchObject({ name: "Sam3Error", code: "MODEL_FAILED", message: cause.message, cause });
    expect((error as Error).stack).toMatch(
      /^Sam3Error: a mask of the wrong shape.*\n.*someCaller.*sam3\.test\.ts/,
    );
    expect([state.liveFeatures, state.liveTexts]).toEqual([0, 0]);
  });

  it("without a code are defects of ours", async () => {
    for (const thrown of [new Error("huh"), "text", { code: "ABORTED", message: "aborted" }, null]) {
      const { sam, state } = await open({ failures: { encodeTexts: thrown } });
      if (thrown === null) continue;
      await expect(sam.image.segmentConcept(picture, { text: "cat" })).rejects.toMatchObject({
        code: "INTERNAL",
      });
      expect([state.liveFeatures, state.liveTexts]).toEqual([0, 0]);
    }
  });

  it("hurt one call, and the next one works", async () => {
    const { sam, state } = await open({
      failures: { encodeImages: Object.assign(new Error("bad"), { code: "MODEL_FAILED" }) },
    });
    await expect(sam.image.encode(picture)).rejects.toMatchObject({ code: "MODEL_FAILED" });
    state.failures = {};
    await expect(sam.image.segmentConcept(picture, { text: "cat" })).resolves.toBeDefined();
  });
});
