import { join, resolve } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { type LoadOptions, Sam3 } from "../../lib/index.js";
import { loadEngine } from "../../lib/load-engine.js";
import { loadAddon } from "../../lib/native/load.js";
import { type Faults, loadFaults } from "../native/faults.js";

/** The real executor with a model whose parts fail when told to: what the engine does about it. */

const FIXTURES = process.env.SAM3_FIXTURES ?? resolve(".cache/fixtures");
let faults: Faults;
let sam: Sam3;

beforeAll(() => {
  loadAddon();
  faults = loadFaults();
});
beforeEach(() => faults.reset());
afterEach(() => sam?.close());

async function open(options: LoadOptions = {}) {
  const lines: string[] = [];
  const write = (line: string) => void lines.push(line);
  const logger = { debug: write, info: write, warn: write, error: write };
  const model = join(FIXTURES, "faults", "bundle");
  sam = Sam3.over(
    await loadEngine({ model, logger, devices: "cpu", threads: 1, ...options }, process.env, () =>
      loadAddon(),
    ),
  );
  return { lines };
}

/** A picture of its own for every number. */
function picture(n: number) {
  const data = new Uint8Array(32 * 24 * 3).fill(40 + n);
  data.fill(200 - n, 0, 900);
  return { data, width: 32, height: 24, channels: 3 } as const;
}

const ask = (n: number, text = "cat") => sam.image.segmentConcept(picture(n), { text, threshold: 0 });
/** With these, three pictures that come while the device works are one batch, however busy the machine is. */
const oneBatch = { maxEncodeBatch: 3, encodeDelayMs: 2000 };

/** Three calls on pictures that are encoded together: the device works on another call when they come. */
async function askTogether(fault: "error" | "memory") {
  const other = await sam.image.encode(picture(8));
  faults.arm("concept_decoder", { kind: "slow", ms: 300 });
  const busy = other.segmentConcept({ text: "dog" });
  await vi.waitFor(() => expect(faults.calls("concept_decoder")).toBeGreaterThan(0), { interval: 1 });
  faults.arm("image_encoder", { kind: fault });
  const settled = await Promise.allSettled([1, 2, 3].map((n) => ask(n)));
  await busy;
  other.dispose();
  return settled;
}

type Found = Awaited<ReturnType<typeof ask>>;
const found = (result: Found) => JSON.stringify(result.objects);

describe("too little memory", () => {
  it("for a batch: the cache is emptied and the batch done one by one, with the same results", async () => {
    const { lines } = await open(oneBatch);
    const expected: Found[] = [];
    for (const n of [1, 2, 3]) expected.push(await ask(n));
    sam.cache.clear();
    await ask(9);
    expect(sam.cache.stats().entries).toBeGreaterThan(0);
    const settled = await askTogether("memory");
    const results = settled.map((one) => (one as PromiseFulfilledResult<Found>).value);
    expect(sam.stats().memoryRecoveries).toBe(1);
    expect(sam.cache.stats().evictions).toBeGreaterThan(0);
    expect(lines.join()).toContain("trying again one by one");
    for (const [i, result] of results.entries()) {
      const before = expected[i] as Found;
      expect(result.objects.map(({ area }) => area)).toEqual(before.objects.map(({ area }) => area));
      for (const [k, { score }] of result.objects.entries()) {
        // Batches sum in another order than single items.
        expect(score).toBeCloseTo(before.objects[k]?.score as number, 5);
      }
    }
  });

  it("of a replica: what another one keeps on the same device goes, too", async () => {
    await open({ devices: [{ device: "cpu", replicas: 2 }] });
    await Promise.all([1, 2].map((n) => ask(n)));
    const pictures = () => sam.cache.entries().filter(({ kind }) => kind === "picture").length;
    expect(pictures()).toBe(2);
    expect(sam.stats().replicas.every(({ featureBytes }) => featureBytes > 0)).toBe(true);
    faults.arm("image_encoder", { kind: "memory" });
    await ask(3);
    expect([pictures(), sam.stats().memoryRecoveries]).toEqual([1, 1]);
  });

  it.each([
    ["image_encoder", "encodeImages"],
    ["text_encoder", "encodeTexts"],
    ["concept_decoder", "segmentConcepts"],
  ] as const)("again in %s: the call fails with figures, the next one works", async (part, stage) => {
    await open({ featureCache: false });
    const before = found(await ask(1));
    faults.arm(part, { kind: "memory", count: 2 });
    await expect(ask(1)).rejects.toMatchObject({
      code: "OUT_OF_MEMORY",
      details: { stage, freeBytes: expect.any(Number), modelBytes: expect.any(Number) },
      message: expect.stringContaining("bf16"),
    });
    expect(faults.calls(part)).toBe(2);
    expect(found(await ask(1))).toBe(before);
    expect(sam.stats().replicas[0]?.featureBytes).toBe(0);
  });

  it("of an object prompt likewise", async () => {
    await open();
    const click = { points: [{ x: 5, y: 5, label: "positive" as const }] };
    faults.arm("object_decoder", { kind: "memory" });
    const result = await sam.image.segmentObject(picture(1), click);
    expect([faults.calls("object_decoder"), sam.stats().memoryRecoveries]).toEqual([2, 1]);
    expect(result).toBeDefined();
  });
});

describe("a part that fails", () => {
  it("in a batch hurts nobody when it works one by one", async () => {
    await open({ featureCache: false, ...oneBatch });
    const settled = await askTogether("error");
    expect(settled.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "fulfilled"]);
  });

  it("for one of three hurts that one only", async () => {
    await open({ featureCache: false });
    // The batch, then its first item.
    faults.arm("image_encoder", { kind: "error", count: 2 });
    const settled = await Promise.allSettled([1, 2, 3].map((n) => ask(n)));
    expect(settled.map(({ status }) => status).sort()).toEqual(["fulfilled", "fulfilled", "rejected"]);
    expect(settled.find(({ status }) => status === "rejected")).toMatchObject({
      reason: { name: "Sam3Error", code: "MODEL_FAILED" },
    });
    expect(sam.health().status).toBe("ready");
  });

  it("by numbers that are none says so", async () => {
    await open();
    const click = () => sam.image.segmentObject(picture(1), { points: [{ x: 5, y: 5, label: "positive" }] });
    faults.arm("object_decoder", { kind: "nan" });
    await expect(click()).rejects.toMatchObject({ code: "MODEL_FAILED" });
    await expect(click()).resolves.toBeDefined();
  });
});

describe("a device that fails", () => {
  it("is taken out, its work is done by the other one, and health says so", async () => {
    const { lines } = await open({ devices: ["cpu:0", "cpu:1"] });
    const expected = found(await ask(1));
    sam.cache.clear();
    faults.arm("image_encoder", { kind: "device" });
    expect(found(await ask(1))).toBe(expected);
    expect(sam.health()).toMatchObject({
      status: "degraded",
      reasons: [expect.stringContaining("is faulted")],
    });
    expect(sam.stats().deviceRetries).toBe(1);
    expect(lines.join()).toContain("taken out of use");
    expect(found(await ask(1))).toBe(expected);
  });

  it("while it decodes: the picture is encoded again elsewhere", async () => {
    await open({ devices: ["cpu:0", "cpu:1"] });
    await using encoded = await sam.image.encode(picture(1));
    faults.reset();
    faults.arm("concept_decoder", { kind: "device" });
    const settled = await Promise.allSettled(
      ["cat", "dog", "bird"].map((text) => encoded.segmentConcept({ text, threshold: 0 })),
    );
    expect(settled.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "fulfilled"]);
    expect(faults.calls("image_encoder")).toBe(1);
    expect(sam.health().status).toBe("degraded");
  });

  it("and is the last one: calls fail at once, closing works", async () => {
    await open();
    faults.arm("image_encoder", { kind: "device" });
    await expect(ask(1)).rejects.toMatchObject({ code: "DEVICE_FAULT" });
    await expect(ask(2)).rejects.toMatchObject({ code: "DEVICE_FAULT" });
    expect(faults.calls("image_encoder")).toBe(1);
    expect(sam.health().status).toBe("unavailable");
  });
});

describe("a device that is slow", () => {
  it("lets the queue fill up, which refuses more, and work goes on", async () => {
    await open({ maxQueue: 4, maxEncodeBatch: 1, featureCache: false });
    faults.arm("image_encoder", { kind: "slow", ms: 30, count: 100 });
    const settled = await Promise.allSettled(Array.from({ length: 20 }, (_, n) => ask(n)));
    const codes = settled.map((it) => (it.status === "fulfilled" ? "ok" : it.reason.code));
    expect(codes.filter((code) => code === "QUEUE_FULL").length).toBeGreaterThan(5);
    expect(codes.every((code) => code === "ok" || code === "QUEUE_FULL")).toBe(true);
    await expect(ask(1)).resolves.toBeDefined();
  });

  it("refuses prompts on an encoded picture, too, before they wait", async () => {
    await open({ maxQueue: 4, maxDecodeBatch: 1, featureCache: false });
    await using encoded = await sam.image.encode(picture(1));
    faults.arm("object_decoder", { kind: "slow", ms: 10, count: 100 });
    const click = { points: [{ x: 5, y: 5, label: "positive" as const }] };
    const settled = await Promise.allSettled(Array.from({ length: 20 }, () => encoded.segmentObject(click)));
    const codes = settled.map((it) => (it.status === "fulfilled" ? "ok" : it.reason.code));
    expect(codes).toEqual([...Array(6).fill("ok"), ...Array(14).fill("QUEUE_FULL")]);
    await expect(encoded.segmentObject(click)).resolves.toBeDefined();
  });

  it("fails a call by its timeout, and stops what it had begun", async () => {
    await open({ featureCache: false });
    await ask(1);
    faults.arm("image_encoder", { kind: "slow", ms: 300 });
    const start = performance.now();
    await expect(
      sam.image.segmentConcept(picture(1), { text: "cat" }, { timeoutMs: 100 }),
    ).rejects.toMatchObject({ code: "TIMEOUT" });
    expect(performance.now() - start).toBeLessThan(280);
    await expect(ask(1)).resolves.toBeDefined();
    // Of the first and the last call; the one that was too slow never came so far.
    expect(faults.calls("concept_decoder")).toBe(2);
    expect(sam.stats().replicas[0]?.featureBytes).toBe(0);
  });
});
