import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type ConceptPrompt, type ImageInput, Sam3 } from "../../lib/index.js";
import { drawScene } from "./scene.js";

const MiB = 2 ** 20;
let sam: Sam3;
let collect: () => void;

beforeAll(async () => {
  setFlagsFromString("--expose-gc");
  collect = runInNewContext("gc") as () => void;
  // Without the cache, which is there to hold memory.
  sam = await Sam3.load({ featureCache: false });
  await sam.image.segmentConcept(await drawScene(1, 320, 240), { text: "circle" });
});
afterAll(() => sam?.close());

/** Resident memory after the collector ran. */
async function settled(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return process.memoryUsage.rss();
}

/** The most resident memory `work` reached. */
async function peakDuring(work: () => Promise<void>): Promise<number> {
  let peak = 0;
  const timer = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage.rss());
  }, 2);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  return Math.max(peak, process.memoryUsage.rss());
}

it("100 objects on a 4032×3024 picture take less than 600 MB above the model", async () => {
  const picture = await drawScene(3, 4032, 3024);
  const before = await settled();
  let count = 0;
  const peak = await peakDuring(async () => {
    // With a threshold of 0 every query of every text is an object.
    const text = ["circle", "square", "red shape", "star", "ring", "cross", "triangle"];
    const result = await sam.image.segmentConcept(picture, { text, threshold: 0 });
    count = result.objects.length;
  });
  console.log(`${count} objects: ${((peak - before) / 1e6).toFixed(0)} MB above the model`);
  expect(count).toBeGreaterThanOrEqual(100);
  expect(peak - before).toBeLessThan(600e6);
});

it("comes back to where it was after bad input, and the next call works", async () => {
  const folder = await mkdtemp(join(tmpdir(), "sam3-bad-"));
  const good = await drawScene(2, 800, 600);
  const truncated = join(folder, "truncated.png");
  const text = join(folder, "text.png");
  await writeFile(truncated, good.subarray(0, good.length >> 1));
  await writeFile(text, "this is no picture");
  const cases: [unknown, unknown, string][] = [
    ["/nowhere.png", { text: "a" }, "IMAGE_NOT_FOUND"],
    [folder, { text: "a" }, "IMAGE_NOT_FOUND"],
    [truncated, { text: "a" }, "IMAGE_INVALID"],
    [text, { text: "a" }, "IMAGE_INVALID"],
    [Buffer.alloc(0), { text: "a" }, "IMAGE_INVALID"],
    [
      { data: new Uint8Array(3_000_000), width: 1000, height: 1001, channels: 3 },
      { text: "a" },
      "INVALID_ARGUMENT",
    ],
    [{ data: new Uint16Array(300), width: 10, height: 10, channels: 3 }, { text: "a" }, "INVALID_ARGUMENT"],
    [good, { text: "" }, "INVALID_PROMPT"],
    [good, { text: "a".repeat(50_000) }, "INVALID_PROMPT"],
    [good, { text: "a", exemplars: [{ box: [0, 0, Number.NaN, 1] }] }, "INVALID_BOX"],
    [good, { text: "a", exemplars: [{ box: [5, 5, 1, 1] }] }, "INVALID_BOX"],
    [good, { text: "a", exemplars: [{ box: [900, 0, 950, 10] }] }, "INVALID_BOX"],
    [good, { text: "a", threshold: 7 }, "INVALID_ARGUMENT"],
  ];
  const round = async () => {
    const codes = await Promise.all(
      cases.map(([image, prompt]) =>
        sam.image.segmentConcept(image as ImageInput, prompt as ConceptPrompt).then(
          () => "none",
          (error: { code?: string }) => error.code,
        ),
      ),
    );
    expect(codes).toEqual(cases.map(([, , code]) => code));
  };
  for (let i = 0; i < 20; i++) await round();
  const before = await settled();
  for (let i = 0; i < 40; i++) await round();
  const after = await settled();
  console.log(`after ${40 * cases.length} bad calls: ${((after - before) / MiB).toFixed(1)} MiB more`);
  // One leaked 800×600 picture a round would be 57 MB; the allocator keeps some pages of its own.
  expect(after - before).toBeLessThan(25 * MiB);
  await expect(sam.image.segmentConcept(good, { text: "circle" })).resolves.toMatchObject({
    image: { width: 800 },
  });
});

it("comes back to where it was after many pictures", async () => {
  const picture = await drawScene(4, 1000, 800);
  const run = async (times: number) => {
    for (let i = 0; i < times; i++) await sam.image.segmentConcept(picture, { text: "circle", threshold: 0 });
  };
  await run(5);
  const before = await settled();
  await run(30);
  const after = await settled();
  console.log(`after 30 pictures: ${((after - before) / MiB).toFixed(1)} MiB more`);
  // The pixels of one picture are 2.3 MiB, its features more: 30 of them would be far over this.
  expect(after - before).toBeLessThan(40 * MiB);
});
