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
  sam = Sam3.over(await loadEngine({}, process.env, () => addon));
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
  let stopped = 0;
  for (let i = 0; i < 24; i++) {
    const signal = AbortSignal.timeout(Math.round((whole * 1.2 * i) / 24));
    await sam.image.segmentConcept(png, { text: ["circle", "ring"] }, { signal }).catch((error: unknown) => {
      expect(error).toBe(signal.reason);
      stopped++;
    });
  }
  expect(stopped).toBeGreaterThan(5);
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
