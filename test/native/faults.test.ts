import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { NativeAddon, NativeReplica } from "../../lib/native/addon.js";
import { loadAddon } from "../../lib/native/load.js";
import { type Faults, loadFaults } from "./faults.js";
import {
  CLICK,
  codes,
  encodeOne,
  encodeText,
  noise,
  openTiny,
  PLAIN,
  TEXT,
  values,
  withTokens,
} from "./support.js";

let addon: NativeAddon;
let faults: Faults;
let replica: NativeReplica;
const pictures = (count: number) => withTokens(addon, Array(count).fill({ pixels: noise(30, 20) }));

beforeAll(async () => {
  addon = loadAddon();
  faults = loadFaults();
  replica = await openTiny(addon, 1, "faults");
});
beforeEach(() => faults.reset());
afterAll(() => replica?.close());

describe("a part that fails", () => {
  it("answers as the plain bundle does while nothing is armed", async () => {
    const plain = await openTiny(addon, 1);
    const scores = [];
    for (const one of [plain, replica]) {
      const features = await encodeOne(addon, one, noise(30, 20));
      const text = await encodeText(addon, one);
      const items = withTokens(addon, [{ features, text, ...PLAIN, threshold: 0 }]);
      const [found] = values(await one.segmentConcepts(items, { atOnce: 1 }));
      scores.push(found?.objects.map(({ score }) => score));
    }
    expect(scores[1]).toEqual(scores[0]);
    expect(faults.calls("image_encoder")).toBe(1);
    await plain.close();
  });

  it("once: a batch is run again item by item, and nobody notices", async () => {
    faults.arm("image_encoder", { kind: "error" });
    expect(codes(await replica.encodeImages(pictures(3), { atOnce: 3 }))).toEqual(["ok", "ok", "ok"]);
    expect(faults.calls("image_encoder")).toBe(4);
  });

  it("for one item: that one fails alone", async () => {
    faults.arm("image_encoder", { kind: "error", from: 1 });
    faults.arm("text_encoder", { kind: "error", from: 0, count: 2 });
    expect(codes(await replica.encodeImages(pictures(3), { atOnce: 1 }))).toEqual([
      "ok",
      "MODEL_FAILED",
      "ok",
    ]);
    const texts = withTokens(addon, Array(3).fill({ ids: TEXT }));
    const batch = await replica.encodeTexts(texts, { atOnce: 8 });
    expect(codes(batch)).toEqual(["MODEL_FAILED", "ok", "ok"]);
    expect(batch.items[0]).toMatchObject({
      error: { message: "The model's text_encoder failed: a fault injected by a test" },
    });
  });

  it("for want of memory: its forward is not tried again, the next ones are, and the figures are told", async () => {
    faults.arm("image_encoder", { kind: "memory" });
    const batch = await replica.encodeImages(pictures(3), { atOnce: 2 });
    expect(codes(batch)).toEqual(["OUT_OF_MEMORY", "OUT_OF_MEMORY", "ok"]);
    expect(faults.calls("image_encoder")).toBe(2);
    expect(batch.items[0]).toMatchObject({
      error: {
        message:
          "The model's image_encoder failed: out of memory, 2.00 GiB were asked for, 1.25 GiB were free",
      },
    });
    expect(codes(await replica.encodeImages(pictures(2), { atOnce: 1 }))).toEqual(["ok", "ok"]);
  });

  it("because the device does: nothing more is tried in that call", async () => {
    faults.arm("image_encoder", { kind: "device", from: 1 });
    const batch = await replica.encodeImages(pictures(4), { atOnce: 1 });
    expect(codes(batch)).toEqual(["ok", "DEVICE_FAULT", "DEVICE_FAULT", "DEVICE_FAULT"]);
    expect(faults.calls("image_encoder")).toBe(2);
  });

  it("in the decoders: with coded errors, and the next call works", async () => {
    const features = await encodeOne(addon, replica, noise(30, 20));
    const text = await encodeText(addon, replica);
    const click = { points: Float32Array.from([5, 5]), labels: Int32Array.from([1]), ...CLICK };
    const concepts = async () =>
      codes(
        await replica.segmentConcepts(withTokens(addon, [{ features, text, ...PLAIN, threshold: 0.5 }]), {
          atOnce: 1,
        }),
      );
    const objects = async () =>
      codes(await replica.segmentObjects(withTokens(addon, [{ features, ...click }]), { atOnce: 1 }));
    const expected = {
      error: "MODEL_FAILED",
      memory: "OUT_OF_MEMORY",
      device: "DEVICE_FAULT",
      nan: "MODEL_FAILED",
    } as const;
    for (const kind of ["error", "memory", "device", "nan"] as const) {
      faults.arm("concept_decoder", { kind });
      faults.arm("object_decoder", { kind });
      // Features that are no numbers reach the concept decoder's masks only; its scores come from the coarse ones.
      if (kind !== "nan") expect(await concepts()).toEqual([expected[kind]]);
      expect(await objects()).toEqual([expected[kind]]);
      faults.reset();
      expect(await concepts()).toEqual(["ok"]);
      expect(await objects()).toEqual(["ok"]);
    }
  });
});

describe("a part that is slow", () => {
  it("does not keep a waiting call from being cancelled, nor the cancelled item of a batch in work", async () => {
    faults.arm("image_encoder", { kind: "slow", ms: 150 });
    const running = pictures(2);
    const call = replica.encodeImages(running, { atOnce: 2 });
    while (faults.calls("image_encoder") === 0) await new Promise((done) => setTimeout(done, 2));
    const waiting = pictures(2);
    const later = replica.encodeImages(waiting, { atOnce: 2 });
    const start = performance.now();
    running[0]?.token.cancel();
    for (const { token } of waiting) token.cancel();
    expect(codes(await later)).toEqual(["ABORTED", "ABORTED"]);
    expect(performance.now() - start).toBeLessThan(100);
    expect(codes(await call)).toEqual(["ABORTED", "ok"]);
    expect(faults.calls("image_encoder")).toBe(1);
  });
});
