import { getHeapSpaceStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import sharp from "sharp";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type ConceptPrompt, type ConceptResult, type ImageInput, Sam3 } from "../../lib/index.js";
import { seeded } from "../unit/random.js";
import { type Lag, measureIdleProcess, measureLag } from "./event-loop-lag.js";
import { drawScene } from "./scene.js";

const CALLERS = 64;
const REQUESTS = 2000;
/** Requests after which resident memory has reached the level that it keeps. */
const FIRST = 200;
/** More than the second without work after which a replica gives back what its work took, and than that takes. */
const REST_MS = 2500;
const TEXTS = ["circle", "square", "red shape", "yellow circle", "blue square", "ring"];
/** Most lag of the event loop, 99th percentile, in milliseconds. */
const MOST_LAG_MS = 20;
/** Where an idle process lags less than this, likewise, the machine has processors to spare. */
const QUIET_LAG_MS = 10;
const MiB = 2 ** 20;

let sam: Sam3;
let pictures: Buffer[];
/** What each picture and text gave when asked one after the other, without batches and without a cache. */
const alone = new Map<string, ConceptResult>();
let collect: () => void;

beforeAll(async () => {
  setFlagsFromString("--expose-gc");
  // It fills up to a bound of its own while the requests run, and belongs to the process, not to a Sam3.
  sharp.cache(false);
  collect = runInNewContext("gc") as () => void;
  pictures = await Promise.all(Array.from({ length: 48 }, (_, i) => drawScene(i, 240 + 8 * i, 240)));
  const single = await Sam3.load({ featureCache: false, maxEncodeBatch: 1, maxDecodeBatch: 1 });
  let featureBytes = 0;
  for (const [p, picture] of pictures.entries()) {
    const encoded = await single.image.encode(picture);
    featureBytes = encoded.bytes;
    for (const text of textsOf(p)) alone.set(`${p} ${text}`, await encoded.segmentConcept({ text }));
    encoded.dispose();
  }
  await single.close();
  // Room for half of the pictures: full after the first requests already, so that what it holds is part of the level;
  // many hits, and evictions all the time.
  sam = await Sam3.load({ maxCacheSizeMb: Math.floor((24 * featureBytes) / MiB) });
}, 600_000);
afterAll(() => sam?.close());

/** The two texts that are asked of a picture. */
function textsOf(p: number): [string, string] {
  return [TEXTS[p % TEXTS.length] as string, TEXTS[(p + 1) % TEXTS.length] as string];
}

/** What can be wrong with a request, and what it is called. */
const BAD: readonly [(picture: Buffer) => ImageInput, ConceptPrompt, string][] = [
  [(picture) => picture.subarray(0, picture.length >> 1), { text: "circle" }, "IMAGE_INVALID"],
  [() => "/nowhere.png", { text: "circle" }, "IMAGE_NOT_FOUND"],
  [() => Buffer.from("this is no picture"), { text: "circle" }, "IMAGE_INVALID"],
  [(picture) => picture, { text: "" }, "INVALID_PROMPT"],
  [(picture) => picture, { text: "circle", threshold: 7 }, "INVALID_ARGUMENT"],
  [(picture) => picture, { exemplars: [{ box: [0, 0, Number.NaN, 1] }] }, "INVALID_BOX"],
  [(picture) => picture, { exemplars: [{ box: [9000, 0, 9100, 10] }] }, "INVALID_BOX"],
];

interface Ended {
  ok: number;
  aborted: number;
  bad: number;
  hits: number;
  wrong: string[];
}

/** Why a result is not the one that was had alone; undefined when it is. */
function difference(result: ConceptResult, expected: ConceptResult): string | undefined {
  if (result.objects.length !== expected.objects.length) {
    return `${result.objects.length} objects instead of ${expected.objects.length}`;
  }
  for (const [i, object] of result.objects.entries()) {
    const other = expected.objects[i];
    if (!other) return "an object too many";
    // A batch sums in another order than a single item does: fp32 leaves a last digit or two of difference.
    if (Math.abs(object.score - other.score) > 1e-5) return `score ${object.score} instead of ${other.score}`;
    if (object.box.some((value, k) => Math.abs(value - (other.box[k] as number)) > 0.01)) {
      return `box ${object.box} instead of ${other.box}`;
    }
    // A logit that is 0 within that difference may fall on either side: a few pixels along an edge.
    if (object.mask.iou(other.mask) < 0.999) return `mask IoU ${object.mask.iou(other.mask)}`;
  }
  return undefined;
}

/** Requests that were stopped, or are to be and are not answered yet. */
let stops = 0;

/** Requests `from` to `to` by 64 callers at once; a tenth is stopped, each within `stopWithinMs` of its start. */
async function run(from: number, to: number, stopWithinMs: number): Promise<Ended> {
  const ended: Ended = { ok: 0, aborted: 0, bad: 0, hits: 0, wrong: [] };
  let next = from;
  const one = async (i: number) => {
    const rand = seeded(i);
    // Some are asked for more often than others, as pictures are.
    const p = Math.floor(rand() ** 2 * pictures.length);
    const picture = pictures[p] as Buffer;
    const text = textsOf(p)[rand() < 0.5 ? 0 : 1];
    if (i % 20 === 7) {
      const [spoil, prompt, code] = BAD[Math.floor(i / 20) % BAD.length] as (typeof BAD)[number];
      const got = await sam.image.segmentConcept(spoil(picture), prompt).then(
        () => "nothing",
        (error: { code?: string }) => error.code,
      );
      if (got === code) ended.bad++;
      else ended.wrong.push(`request ${i}: ${got} instead of ${code}`);
      return;
    }
    const controller = new AbortController();
    // Stopped at once, while it waits, or while it runs; another one in its stead where it was answered before.
    const stop = stops < (i + 1) / 10;
    if (stop) stops++;
    const timer = stop ? setTimeout(() => controller.abort(i), rand() * stopWithinMs) : undefined;
    try {
      const result = await sam.image.segmentConcept(picture, { text }, { signal: controller.signal });
      const why = difference(result, alone.get(`${p} ${text}`) as ConceptResult);
      if (why === undefined) ended.ok++;
      else ended.wrong.push(`request ${i}: ${why}`);
      if (result.cache === "hit") ended.hits++;
      if (stop) stops--;
    } catch (error) {
      if (controller.signal.aborted && error === i) ended.aborted++;
      else ended.wrong.push(`request ${i}: ${error}`);
    } finally {
      clearTimeout(timer);
    }
  };
  const caller = async () => {
    while (next < to) await one(next++);
  };
  await Promise.all(Array.from({ length: CALLERS }, caller));
  return ended;
}

/** What V8 holds for young objects, whether there are any or not. */
function youngBytes(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space")?.space_size ?? 0;
}

/** Resident memory at rest. */
async function settled(): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, REST_MS));
  // V8 takes up to 32 MiB for young objects where many are made, and gives it back with the first collection after some
  // seconds in which few were; by itself about 18 s after the last.
  for (let i = 0; i < 30; i++) {
    collect();
    if (youngBytes() <= 2 * MiB) break;
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  // Another thread unmaps what was given back.
  await new Promise((resolve) => setTimeout(resolve, 1000));
  return process.memoryUsage.rss();
}

it("64 callers, 2,000 requests, some stopped, some bad: all settle, all others are right, nothing grows, the loop is free", async () => {
  const first = await run(0, FIRST, 150);
  const early = await settled();
  const kept = sam.stats().cache.bytes;
  const idle = await measureIdleProcess();
  const endLag = measureLag();
  // So that some are stopped early, some late, and some are done before.
  const stopWithinMs = 1.2 * (sam.stats().callMs.segmentConcept?.p50 ?? 0);
  const start = performance.now();
  const rest = await run(FIRST, REQUESTS, stopWithinMs);
  const seconds = (performance.now() - start) / 1000;
  const busy = process.memoryUsage.rss();
  const own = endLag();
  const machine = await idle();
  const after = await settled();

  const parts = [first, rest];
  const sum = (count: (part: Ended) => number) => parts.reduce((total, part) => total + count(part), 0);
  const all = { ok: sum(({ ok }) => ok), aborted: sum(({ aborted }) => aborted), bad: sum(({ bad }) => bad) };
  const stats = sam.stats();
  const show = ({ p50, p99, max }: Lag) =>
    `median ${p50.toFixed(1)}, p99 ${p99.toFixed(1)}, worst ${max.toFixed(1)} ms`;
  console.log(
    [
      `${all.ok} right, ${all.aborted} stopped, ${all.bad} bad; ${sum(({ hits }) => hits)} from the cache; ${((REQUESTS - FIRST) / seconds).toFixed(0)} requests/s`,
      `batches: ${["encodeImages", "segmentConcepts"].map((stage) => `${stage} ${((stats.batchItems[stage]?.sum ?? 0) / (stats.batchItems[stage]?.count ?? 1)).toFixed(1)} items`).join(", ")}`,
      `cache: ${stats.cache.evictions} evictions, ${stats.cache.misses} encodes`,
      `resident at rest: ${(early / MiB).toFixed(0)} MiB after ${FIRST}, ${(after / MiB).toFixed(0)} after ${REQUESTS} (${(100 * (after / early - 1)).toFixed(1)} %; ${(busy / MiB).toFixed(0)} with the last request); in the cache ${(kept / MiB).toFixed(0)} of ${(stats.cache.maxBytes / MiB).toFixed(0)} MiB, ${(stats.cache.bytes / MiB).toFixed(0)} at the end`,
      `event loop lag: ${show(own)}; of an idle process meanwhile: ${show(machine)}`,
    ].join("\n"),
  );

  expect(parts.flatMap(({ wrong }) => wrong)).toEqual([]);
  expect(all.bad).toBe(REQUESTS / 20);
  expect(all.ok + all.aborted + all.bad).toBe(REQUESTS);
  // The last ones to be stopped may have been answered before, with nobody after them.
  expect(Math.abs(all.aborted - REQUESTS / 10)).toBeLessThan(REQUESTS / 50);
  expect(kept).toBeGreaterThan(0.8 * stats.cache.maxBytes);
  expect(Math.abs(after - early)).toBeLessThan(0.05 * early);
  // On a machine that is busy with others every program lags; what that costs an idle one is not our doing.
  if (machine.p99 < QUIET_LAG_MS) {
    expect(own.p99).toBeLessThan(MOST_LAG_MS);
  } else {
    console.log(
      `not run: event loop lag p99 < ${MOST_LAG_MS} ms: this machine was too busy to tell (an idle process lagged ${machine.p99.toFixed(1)} ms); only what is more than that was checked`,
    );
    expect(own.p99 - machine.p99).toBeLessThan(MOST_LAG_MS);
  }

  expect(stats.calls.segmentConcept).toMatchObject({ inFlight: 0 });
  expect(stats.picturesWaiting).toBe(0);
  for (const { running, queued } of stats.replicas) {
    expect([running, ...Object.values(queued)]).toEqual([0, 0, 0, 0, 0]);
  }
  expect(stats.cache).toMatchObject({ pinned: 0, making: 0, looseBytes: 0 });
  expect(stats.cache.bytes).toBeLessThanOrEqual(stats.cache.maxBytes);
  expect(stats.cache.evictions).toBeGreaterThan(10);
  sam.cache.clear();
  expect(sam.stats().replicas[0]?.featureBytes).toBe(0);
}, 600_000);
