import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { NativeAddon, NativeReplica } from "../../lib/native/addon.js";
import { loadAddon } from "../../lib/native/load.js";
import { failure, NO_BOXES, noise, nth, openTiny, TEXT, tinyBundle } from "./support.js";

let addon: NativeAddon;
let replica: NativeReplica;
const token = () => new addon.CancelToken();

beforeAll(async () => {
  addon = loadAddon();
  replica = await openTiny(addon);
});
afterAll(() => replica?.close());

describe("devices", () => {
  it("names the processor first, with its memory", () => {
    const [cpu] = addon.devices();
    expect(cpu).toMatchObject({ id: "cpu", name: expect.stringMatching(/\S/) });
    expect(cpu?.totalBytes).toBeGreaterThan(2 ** 28);
    expect(cpu?.freeBytes).toBeGreaterThan(0);
    expect(cpu?.freeBytes).toBeLessThanOrEqual(cpu?.totalBytes as number);
  });

  it.each(["cuda:99", "cuda", "gpu", "", "cuda:-1", "cuda:0x"])(
    "refuses %j, naming those there are",
    (device) => {
      expect(() => new addon.Replica({ device, threads: 1 })).toThrow(
        expect.objectContaining({
          code: "DEVICE_UNKNOWN",
          message: expect.stringContaining("Use one of: cpu"),
        }),
      );
    },
  );
});

describe("load", () => {
  it("reports every part in order, then bytes and time", async () => {
    const fresh = new addon.Replica({ device: "cpu", threads: 1 });
    const seen: unknown[] = [];
    const report = await fresh.load(tinyBundle(), token(), (...part) => seen.push(part));
    expect(seen).toEqual([
      ["image_encoder", 1, 3],
      ["text_encoder", 2, 3],
      ["concept_decoder", 3, 3],
    ]);
    expect(report.modelBytes).toBe(fresh.stats().modelBytes);
    expect(report.modelBytes).toBeGreaterThan(100_000);
    expect(report.loadMs).toBeGreaterThan(0);
    await fresh.close();
  });

  it("names a part that is damaged or missing, and can be called again", async () => {
    const folder = mkdtempSync(join(tmpdir(), "sam3-replica-"));
    const good = tinyBundle();
    const fresh = new addon.Replica({ device: "cpu", threads: 1 });
    const cut = join(folder, "cut.pt");
    const whole = readFileSync(good.parts.text_encoder as string);
    for (const bytes of [Buffer.alloc(0), Buffer.from("no archive"), whole.subarray(0, whole.length >> 1)]) {
      writeFileSync(cut, bytes);
      const bad = { ...good, parts: { ...good.parts, text_encoder: cut } };
      const { code, message } = await failure(fresh.load(bad, token(), () => {}));
      expect(code).toBe("BUNDLE_INVALID");
      expect(message).toContain("text_encoder");
      expect(message).not.toContain("\n");
      expect(fresh.stats().modelBytes).toBe(0);
    }
    rmSync(folder, { recursive: true });
    const gone = { ...good, parts: { ...good.parts, text_encoder: cut } };
    expect(await failure(fresh.load(gone, token(), () => {}))).toMatchObject({ code: "BUNDLE_PART_MISSING" });
    await fresh.load(good, token(), () => {});
    await fresh.close();
  });

  it("stops between parts when cancelled", async () => {
    const fresh = new addon.Replica({ device: "cpu", threads: 1 });
    const cancelled = token();
    cancelled.cancel();
    expect(await failure(fresh.load(tinyBundle(), cancelled, () => {}))).toMatchObject({ code: "ABORTED" });
    expect(fresh.stats().modelBytes).toBe(0);
    await fresh.close();
  });

  it("survives a callback that throws", async () => {
    const fresh = new addon.Replica({ device: "cpu", threads: 1 });
    await fresh.load(tinyBundle(), token(), () => {
      throw new Error("from the callback");
    });
    expect(fresh.stats().modelBytes).toBeGreaterThan(0);
    await fresh.close();
  });
});

describe("encodeImage", () => {
  it("gives features of the picture's size", async () => {
    const { features, encodeMs, queueMs } = await replica.encodeImage(noise(123, 45), token());
    expect(features).toMatchObject({ width: 123, height: 45, disposed: false });
    expect(features.bytes).toBeGreaterThan(0);
    expect(encodeMs).toBeGreaterThan(0);
    expect(queueMs).toBeGreaterThanOrEqual(0);
    const held = replica.stats().featureBytes;
    features.dispose();
    expect(features).toMatchObject({ width: 123, height: 45, disposed: true });
    expect(replica.stats().featureBytes).toBe(held - features.bytes);
  });

  it.each([
    [1, 1],
    [1, 500],
    [500, 1],
    [64, 64],
    [2000, 3],
  ])("takes a picture of %i × %i", async (width, height) => {
    const { features } = await replica.encodeImage(noise(width, height), token());
    expect(features).toMatchObject({ width, height });
    features.dispose();
  });

  it.each([
    [0, 4],
    [4, 0],
    [-1, 4],
    [5, 4],
    [2 ** 31, 2 ** 31],
    [2 ** 53, 3],
  ])("refuses %i × %i for the bytes of 4 × 4", async (width, height) => {
    const call = replica.encodeImage({ data: new Uint8Array(48), width, height }, token());
    expect(await failure(call)).toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("reads views into a larger buffer from where they begin", async () => {
    const picture = noise(40, 30);
    const shifted = new Uint8Array(picture.data.length + 7);
    shifted.set(picture.data, 7);
    const text = nth(await replica.encodeTexts([TEXT], token()), 0);
    const scores = [];
    for (const data of [picture.data, shifted.subarray(7), Buffer.from(picture.data)]) {
      const { features } = await replica.encodeImage({ ...picture, data }, token());
      const answer = await replica.segmentConcepts(features, [{ text, ...NO_BOXES, threshold: 0 }], token());
      scores.push(nth(answer.prompts, 0).objects.map(({ score }) => score));
    }
    expect(scores[1]).toEqual(scores[0]);
    expect(scores[2]).toEqual(scores[0]);
  });
});

describe("segmentConcepts", () => {
  it("gives objects by score with boxes in the picture and runs that sum to it", async () => {
    const [width, height] = [150, 90];
    const { features } = await replica.encodeImage(noise(width, height), token());
    const texts = await replica.encodeTexts([TEXT, Int32Array.from([1, 9, 2])], token());
    const [text, other] = [nth(texts, 0), nth(texts, 1)];
    const boxes = { boxes: Float32Array.from([0.5, 0.5, 0.2, 0.3]), labels: Uint8Array.from([1]) };
    const prompts = [
      { text, ...NO_BOXES, threshold: 0 },
      { text: other, ...boxes, threshold: 0.3 },
      { text, ...NO_BOXES, threshold: 0.9999 },
    ];
    const answer = await replica.segmentConcepts(features, prompts, token());
    expect(answer.prompts).toHaveLength(3);
    expect(answer.decodeMs).toBeGreaterThan(0);
    const [all, some, none] = [nth(answer.prompts, 0), nth(answer.prompts, 1), nth(answer.prompts, 2)];
    expect(all.objects.length).toBeGreaterThan(0);
    expect(none.objects).toEqual([]);
    for (const { presence, objects } of answer.prompts) {
      expect(presence).toBeGreaterThan(0);
      expect(presence).toBeLessThan(1);
      expect(objects.map(({ score }) => score)).toEqual(
        objects.map(({ score }) => score).sort((a, b) => b - a),
      );
      for (const { score, box, counts, area } of objects) {
        expect(score).toBeLessThanOrEqual(presence);
        expect(box).toBeInstanceOf(Float64Array);
        const [x1, y1, x2, y2] = box as unknown as [number, number, number, number];
        for (const x of [x1, x2]) expect(x >= 0 && x <= width).toBe(true);
        for (const y of [y1, y2]) expect(y >= 0 && y <= height).toBe(true);
        expect(counts.reduce((sum, run) => sum + run, 0)).toBe(width * height);
        expect(counts.filter((_, i) => i % 2 === 1).reduce((sum, run) => sum + run, 0)).toBe(area);
      }
    }
    expect(some.objects.every(({ score }) => score > 0.3)).toBe(true);
  });

  it("answers no prompts with no answers", async () => {
    const { features } = await replica.encodeImage(noise(20, 20), token());
    expect((await replica.segmentConcepts(features, [], token())).prompts).toEqual([]);
    expect(await replica.encodeTexts([], token())).toEqual([]);
  });

  it("refuses what was disposed, and what is of another replica", async () => {
    const { features } = await replica.encodeImage(noise(20, 20), token());
    const texts = await replica.encodeTexts([TEXT, TEXT], token());
    const [text, gone] = [nth(texts, 0), nth(texts, 1)];
    gone.dispose();
    expect(gone.disposed).toBe(true);
    const prompt = { text, ...NO_BOXES, threshold: 0.5 };
    const call = (what: typeof features, prompts: (typeof prompt)[]) =>
      failure(replica.segmentConcepts(what, prompts, token()));
    expect(await call(features, [{ ...prompt, text: gone }])).toMatchObject({ code: "DISPOSED" });
    const other = await openTiny(addon, 1);
    const foreign = await other.encodeImage(noise(20, 20), token());
    expect(await call(foreign.features, [prompt])).toMatchObject({ code: "INVALID_ARGUMENT" });
    const stranger = nth(await other.encodeTexts([TEXT], token()), 0);
    expect(await call(features, [{ ...prompt, text: stranger }])).toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await other.close();
    features.dispose();
    expect(await call(features, [prompt])).toMatchObject({ code: "DISPOSED" });
  });

  it("works on features that are disposed while it runs", async () => {
    const { features } = await replica.encodeImage(noise(20, 20), token());
    const text = nth(await replica.encodeTexts([TEXT], token()), 0);
    const call = replica.segmentConcepts(features, [{ text, ...NO_BOXES, threshold: 0 }], token());
    features.dispose();
    text.dispose();
    expect(nth((await call).prompts, 0).objects.length).toBeGreaterThan(0);
  });

  it("does not take other objects for handles", async () => {
    const { features } = await replica.encodeImage(noise(20, 20), token());
    for (const impostor of [{}, null, 7, replica, token(), Object.create(features)]) {
      const call = replica.segmentConcepts(impostor as never, [], token());
      expect(await failure(call)).toMatchObject({ code: "INVALID_ARGUMENT" });
    }
    expect(() => new (features.constructor as never as new (x: unknown) => unknown)({})).toThrow(
      /made by a replica/,
    );
  });
});

describe("cancelling", () => {
  it("refuses a waiting call at once while another runs", async () => {
    const picture = noise(4000, 3000);
    const running = replica.encodeImage(picture, token());
    const stopped = token();
    const order: string[] = [];
    const waiting = failure(replica.encodeImage(picture, stopped)).then(({ code }) => order.push(code));
    const first = running.then(({ features }) => {
      order.push("done");
      features.dispose();
    });
    stopped.cancel();
    await Promise.all([waiting, first]);
    expect(order).toEqual(["ABORTED", "done"]);
  });

  it("stops a running call before its next stage", async () => {
    const stopped = token();
    const call = failure(replica.encodeImage(noise(4000, 3000), stopped));
    while (!replica.stats().running) await new Promise((done) => setImmediate(done));
    stopped.cancel();
    expect(await call).toMatchObject({ code: "ABORTED" });
    expect(replica.stats()).toMatchObject({ queued: 0, running: false });
  });

  it("does not touch calls with other tokens, and a used token stays cancelled", async () => {
    const stopped = token();
    stopped.cancel();
    stopped.cancel();
    const { features } = await replica.encodeImage(noise(20, 20), token());
    features.dispose();
    expect(await failure(replica.encodeTexts([TEXT], stopped))).toMatchObject({ code: "ABORTED" });
  });
});

describe("close", () => {
  it("lets what runs end, refuses what waits and what comes later, and can be called again", async () => {
    const closing = await openTiny(addon, 1);
    const picture = noise(3000, 2000);
    const running = closing.encodeImage(picture, token());
    while (!closing.stats().running) await new Promise((done) => setImmediate(done));
    const waiting = failure(closing.encodeImage(picture, token()));
    expect(closing.stats().queued).toBe(1);
    const closed = closing.close();
    expect(await waiting).toMatchObject({ code: "DISPOSED" });
    const { features } = await running;
    await closed;
    expect(closing.stats()).toMatchObject({ queued: 0, running: false, modelBytes: 0 });
    expect(closing.stats().featureBytes).toBe(features.bytes);
    features.dispose();
    expect(closing.stats().featureBytes).toBe(0);
    expect(await failure(closing.encodeImage(picture, token()))).toMatchObject({ code: "DISPOSED" });
    await closing.close();
  });

  it("frees a replica that nothing was loaded into", async () => {
    const empty = new addon.Replica({ device: "cpu", threads: 1 });
    expect(await failure(empty.encodeImage(noise(4, 4), token()))).toMatchObject({ code: "INTERNAL" });
    await empty.close();
  });
});
