import { existsSync, readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { loadEngine } from "../../lib/load-engine.js";
import type { NativeAddon, NativeReplica, NativeReplicaOptions } from "../../lib/native/addon.js";
import { loadAddon } from "../../lib/native/load.js";
import type { DeviceOptions } from "../../lib/options.js";
import { Sam3 } from "../../lib/sam3.js";
import { EIGHT, noise, nth, values, withTokens } from "./support.js";

const TASKS = "/proc/self/task";
/** A thread that did less of the work than this only gave it out or cleared up after it. */
const SHARE = 0.15;

// Only Linux says how much processor time each thread of a process has used.
const measurable = existsSync(`${TASKS}/${process.pid}/schedstat`);
if (!measurable) console.log("not run: threads of each replica: this system does not tell their times apart");

let sam: Sam3;
let addon: NativeAddon;
const replicas: { native: NativeReplica; threads: number }[] = [];

beforeAll(async () => {
  // The real addon, with a hand on the replicas that are made.
  const real = loadAddon();
  const Replica = function open(options: NativeReplicaOptions) {
    const native = new real.Replica(options);
    replicas.push({ native, threads: options.threads });
    return native;
  };
  addon = Object.create(real, { Replica: { value: Replica } });
  const devices: DeviceOptions[] = [
    { device: "cpu:0", threads: 1 },
    { device: "cpu:1", threads: 2 },
    { device: "cpu:2", threads: 1 },
  ];
  sam = Sam3.over(await loadEngine({ devices, featureCache: false }, process.env, () => addon));
});
afterAll(() => sam?.close());

/** Nanoseconds of processor time that each thread of this process has used. */
function spent(): Map<string, number> {
  const times = new Map<string, number>();
  for (const task of readdirSync(TASKS)) {
    try {
      times.set(task, Number(readFileSync(`${TASKS}/${task}/schedstat`, "utf8").split(" ")[0]));
    } catch {
      // It has just ended.
    }
  }
  return times;
}

/** How the processor time of some work is shared among threads, most first. */
async function shares(work: () => Promise<void>): Promise<number[]> {
  const before = spent();
  await work();
  const used = [...spent()].map(([task, time]) => time - (before.get(task) ?? 0));
  const all = used.reduce((sum, time) => sum + time, 0);
  return used.map((time) => time / all).sort((a, b) => b - a);
}

it.skipIf(!measurable)(
  "cpu:0, cpu:1 and cpu:2 compute with the threads each was given, whichever was loaded last",
  async () => {
    expect(replicas.map(({ threads }) => threads)).toEqual([1, 2, 1]);
    const pictures = Array.from({ length: 8 }, (_, i) => ({ pixels: noise(288, 288, i) }));
    const encode = async (native: NativeReplica) => {
      const features = values(await native.encodeImages(withTokens(addon, pictures), EIGHT));
      for (const feature of features) feature.dispose();
    };
    for (const { native } of replicas) await encode(native);
    for (let turn = 0; turn < replicas.length; turn++) {
      const { native, threads } = nth(replicas, turn);
      const found = await shares(async () => {
        for (let i = 0; i < 3; i++) await encode(native);
      });
      const most = found.slice(0, 3).map((share) => share.toFixed(2));
      console.log(`${threads} threads: shares of the work ${most.join(", ")}`);
      expect(found.filter((share) => share > SHARE)).toHaveLength(threads);
    }
  },
);
