import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { loadEngine } from "../../lib/load-engine.js";
import type { NativeReplica, NativeReplicaOptions } from "../../lib/native/addon.js";
import { loadAddon } from "../../lib/native/load.js";
import { Sam3 } from "../../lib/sam3.js";
import { drawScene } from "./scene.js";

let sam: Sam3;
let replica: NativeReplica;
let png: Buffer;

beforeAll(async () => {
  // The real addon, with a hand on its replica to see what it holds.
  const real = loadAddon();
  const Replica = function open(options: NativeReplicaOptions) {
    replica = new real.Replica(options);
    return replica;
  };
  const addon = Object.create(real, { Replica: { value: Replica } });
  // Without the cache, so that every byte that is left was forgotten.
  sam = Sam3.over(await loadEngine({ featureCache: false }, process.env, () => addon));
  png = await drawScene(6, 640, 480);
});
afterAll(() => sam?.close());

/** Waits until nothing runs or waits, and gives the bytes of features that are left. */
async function featureBytesLeft(): Promise<number> {
  await vi.waitFor(() => expect(replica.stats()).toMatchObject({ queued: 0, running: false }), {
    timeout: 20_000,
    interval: 20,
  });
  return replica.stats().featureBytes;
}

it("counts features as bytes while they are held", async () => {
  const picture = await sam.image.encode(png);
  expect(replica.stats().featureBytes).toBeGreaterThanOrEqual(picture.bytes);
  picture.dispose();
  expect(await featureBytesLeft()).toBe(0);
});

it("stopping at any moment leaves no features behind", async () => {
  const start = performance.now();
  await sam.image.segmentConcept(png, { text: ["circle", "ring"] });
  const whole = performance.now() - start;
  const delays: number[] = [];
  for (let i = 0; i < 24; i++) {
    const controller = new AbortController();
    let abortedAt = 0;
    const timer = setTimeout(
      () => {
        abortedAt = performance.now();
        controller.abort(i);
      },
      (whole * 1.2 * i) / 24,
    );
    const { signal } = controller;
    await sam.image.segmentConcept(png, { text: ["circle", "ring"] }, { signal }).catch((error: unknown) => {
      expect(error).toBe(i);
      delays.push(performance.now() - abortedAt);
    });
    clearTimeout(timer);
  }
  expect(delays.length).toBeGreaterThan(5);
  delays.sort((a, b) => a - b);
  const late = delays[Math.floor(delays.length * 0.9)] as number;
  console.log(
    `from abort to rejection: 90 % within ${late.toFixed(1)} ms, all within ${delays.at(-1)?.toFixed(1)} ms`,
  );
  // The worst one is left out: it is the system's that shares the processors.
  expect(late).toBeLessThan(50);
  expect(await featureBytesLeft()).toBe(0);
  await expect(sam.image.segmentConcept(png, { text: "circle" })).resolves.toBeDefined();
});

it("bad prompts and damaged pictures leave none either", async () => {
  const bad = [
    sam.image.segmentConcept(png, { text: "" }),
    sam.image.segmentConcept(png, { exemplars: [{ box: [5, 5, 1, 1] }] }),
    sam.image.segmentConcept(png.subarray(0, 500), { text: "circle" }),
    sam.image.encode("/nowhere.png"),
  ];
  expect((await Promise.allSettled(bad)).every(({ status }) => status === "rejected")).toBe(true);
  expect(await featureBytesLeft()).toBe(0);
});

it("closing frees what was never disposed", async () => {
  const picture = await sam.image.encode(png);
  expect(picture.disposed).toBe(false);
  await sam.close();
  expect(replica.stats()).toMatchObject({ featureBytes: 0, modelBytes: 0 });
});
