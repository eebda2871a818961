// What lifetime.test.ts runs in processes of its own: node lifetime-scenario.mjs <name>. Uses the built package.
import { isMainThread, parentPort, workerData } from "node:worker_threads";
import { register } from "prom-client";
import { Sam3 } from "../../dist/index.js";
import { startWorker } from "../lifetime/start-worker.mjs";

const CALLS = 12;

/** A picture of its own for every number. */
function picture(n) {
  const data = new Uint8Array(160 * 120 * 3).fill(200);
  data.fill(n, 0, 160 * 40 * 3);
  return { data, width: 160, height: 120, channels: 3 };
}

/** A model with calls under way, the first of which is answered. */
async function busy(options = {}) {
  const sam = await Sam3.load({ threads: 1, logLevel: "silent", ...options });
  const calls = Array.from({ length: CALLS }, (_, i) =>
    sam.image.segmentConcept(picture(i), { text: ["circle", "square"], threshold: 0 }),
  );
  const settled = Promise.allSettled(calls);
  await calls[0];
  return { sam, settled };
}

const fulfilled = (results) => results.filter(({ status }) => status === "fulfilled").length;

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Drops a model that keeps features of pictures, and tells whether what it held has left the process's memory. */
async function dropped(use = () => {}) {
  const lines = [];
  const write = (line) => lines.push(line);
  const logger = { debug() {}, info() {}, warn: write, error: write };
  const { held, resident } = await (async () => {
    const { sam, settled } = await busy({ logger, logLevel: "warn" });
    await settled;
    for (let i = 0; i < 20; i++) await sam.image.encode(picture(100 + i));
    await use(sam);
    // What intermediate results took is given back after a second without work, whoever holds the model.
    await pause(2500);
    globalThis.gc();
    const held = sam.cache.stats().bytes + sam.stats().replicas[0].modelBytes;
    return { held, resident: process.memoryUsage.rss() };
  })();
  const freed = () => resident - process.memoryUsage.rss();
  // Not to the byte: the process's own memory moves by a few megabytes meanwhile.
  const enough = () => freed() > 0.8 * held;
  for (let i = 0; i < 200 && !enough(); i++) {
    globalThis.gc();
    await pause(50);
  }
  const told = lines.some((line) => line.includes("never closed"));
  console.log(told && enough() ? "freed" : `freed ${freed()} of ${held} bytes: ${lines.join("; ")}`);
}

const worker = (task) => startWorker(import.meta.url, task);

/** The same objects: batches of other sizes sum in another order, which may move a pixel at the edge. */
function alike(some, others) {
  return some.every(({ value: { objects } }, i) => {
    const there = others[i].value.objects;
    const isSame = ({ score, area }, k) =>
      Math.abs(score - there[k].score) < 1e-6 && Math.abs(area - there[k].area) <= 2;
    return objects.length === there.length && objects.every(isSame);
  });
}

const scenarios = {
  /** process.exit() while pictures are being segmented. */
  async exit() {
    await busy();
    process.exit(3);
  },
  /** A rejection nobody handles, in the middle of work. */
  async reject() {
    const { sam } = await busy();
    sam.image.segmentConcept("/nowhere.png", { text: "circle" });
  },
  /** Nothing is closed; the process ends by itself when the calls are answered. */
  async end() {
    const { settled } = await busy();
    console.log(fulfilled(await settled));
  },
  /** Closed in the middle: what runs ends, what waits is refused, nothing hangs. */
  async close() {
    const { sam, settled } = await busy();
    await sam.close();
    const results = await settled;
    const refused = results.filter(({ reason }) => reason?.code === "DISPOSED").length;
    console.log(fulfilled(results) + refused, fulfilled(results) >= 1, refused >= 1);
  },
  /** A model and its pictures are dropped without a word; a line says so and the memory comes back. */
  drop: () => dropped(),
  /** The same after its metrics were read: neither its own registry nor one that lives on holds it. */
  "drop-measured": () =>
    dropped(async (sam) => {
      await sam.metrics();
      await sam.metrics({ registry: register });
    }),
  /** Two models at once, their calls mixed. */
  async two() {
    const [one, two] = await Promise.all([busy(), busy({ featureCache: false })]);
    const [first, second] = await Promise.all([one.settled, two.settled]);
    console.log(fulfilled(first), fulfilled(second), alike(first, second));
    await one.sam.close();
    const { objects } = await two.sam.image.segmentConcept(picture(1), { text: "circle" });
    console.log(Array.isArray(objects));
    await two.sam.close();
  },
  /** Workers that work beside the main thread; one is terminated in the middle. */
  async workers() {
    const { sam, settled } = await busy();
    const workers = [worker("work"), worker("work"), worker("be busy")];
    await workers[2].said;
    await workers[2].worker.terminate();
    console.log(...(await Promise.all([workers[0].said, workers[1].said])), fulfilled(await settled));
    await Promise.all(workers.map(({ ended }) => ended));
    await sam.close();
  },
  /** process.exit() on the main thread while workers work. */
  async "exit-with-workers"() {
    await Promise.all([worker("be busy"), worker("be busy")].map(({ said }) => said));
    process.exit(5);
  },
};

if (isMainThread) {
  await scenarios[process.argv[2]]();
} else {
  const { sam, settled } = await busy();
  if (workerData === "be busy") {
    parentPort.postMessage("busy");
  } else {
    const results = await settled;
    await sam.close();
    parentPort.postMessage(fulfilled(results));
  }
}
