import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ConceptResult, type ImageInput, Sam3 } from "../../lib/index.js";
import { drawScene } from "./scene.js";

// These hold for any weights, so they tell a broken program from a weak model: a threshold of 0 gives every query.
let sam: Sam3;
let png: Buffer;
const width = 500;
const height = 360;

beforeAll(async () => {
  sam = await Sam3.load();
  png = await drawScene(5, width, height);
});
afterAll(() => sam?.close());

const every = { text: "circle", threshold: 0 };
const facts = ({ objects }: ConceptResult) =>
  objects.map(({ text, score, box, mask }) => ({ text, score, box, mask: mask.toRle() }));

/**
 * Same objects, scores within rounding. Masks may disagree about single pixels, whose logit is 0 but for fp32's last digits:
 * a batch sums in another order. Two pixels, or a thousandth of them where that is more.
 */
function expectSame(a: ConceptResult, b: ConceptResult): void {
  expect(a.objects.length).toBe(b.objects.length);
  a.objects.forEach((object, i) => {
    const other = b.objects[i] as ConceptResult["objects"][number];
    expect(Math.abs(object.score - other.score)).toBeLessThanOrEqual(1e-5);
    const both = object.mask.area + other.mask.area;
    const iou = both === 0 ? 1 : object.mask.iou(other.mask);
    const apart = Math.round((both * (1 - iou)) / (1 + iou));
    expect(apart).toBeLessThanOrEqual(Math.max(2, both / 2000));
  });
}

describe("segmenting with the real addon", () => {
  it("gives well-formed objects, best first", async () => {
    const { objects, prompts, image } = await sam.image.segmentConcept(png, every);
    expect(image).toEqual({ width, height });
    expect(objects.length).toBeGreaterThan(4);
    expect(prompts[0]?.presence).toBeGreaterThanOrEqual(0);
    expect(prompts[0]?.presence).toBeLessThanOrEqual(1);
    let last = 1;
    for (const { score, box, mask } of objects) {
      expect(score).toBeLessThanOrEqual(last);
      last = score;
      const [x1, y1, x2, y2] = box;
      expect(x1 >= 0 && y1 >= 0 && x2 <= width && y2 <= height && x1 <= x2 && y1 <= y2).toBe(true);
      expect([mask.width, mask.height]).toEqual([width, height]);
      expect(mask.area).toBe(mask.toBitmap().reduce((sum, v) => sum + v, 0));
    }
  });

  it("gives the same for the same picture, whatever way it comes", async () => {
    const path = join(await mkdtemp(join(tmpdir(), "sam3-")), "scene.png");
    await writeFile(path, png);
    const { data } = await sharp(png).raw().toBuffer({ resolveWithObject: true });
    const inputs: ImageInput[] = [
      path,
      pathToFileURL(path),
      png,
      sharp(png),
      { data, width, height, channels: 3 },
    ];
    // One after the other: together they would share batches, which leave a last digit of difference.
    const results: ConceptResult[] = [];
    for (const input of inputs) results.push(await sam.image.segmentConcept(input, every));
    const [first, ...others] = results;
    for (const other of others) expect(facts(other)).toEqual(facts(first as ConceptResult));
  });

  it("gives the same encoded once or each time, asked alone, together or at the same time", async () => {
    await using picture = await sam.image.encode(png);
    expect(picture).toMatchObject({ width, height });
    expect(picture.bytes).toBeGreaterThan(1000);
    const texts = ["circle", "red square", "blue shapes", "circle"];
    const alone = await Promise.all(texts.map((text) => picture.segmentConcept({ text, threshold: 0 })));
    const together = await picture.segmentConcept({ text: texts, threshold: 0 });
    texts.forEach((_, i) => {
      const part = { ...together, objects: together.objects.filter(({ prompt }) => prompt === i) };
      expectSame(alone[i] as ConceptResult, part as unknown as ConceptResult);
    });
    expectSame(await sam.image.segmentConcept(png, every), alone[0] as ConceptResult);
  });

  it("listens to words, to boxes and to their labels", async () => {
    await using picture = await sam.image.encode(png);
    const box = [60, 50, 140, 130] as [number, number, number, number];
    const prompts = [
      { text: "circle" },
      { text: "red square" },
      { exemplars: [{ box }] },
      { exemplars: [{ box, label: "negative" as const }] },
      { text: "circle", exemplars: [{ box }] },
      { exemplars: [{ box: [300, 200, 420, 320] as [number, number, number, number] }] },
    ];
    const results = await Promise.all(
      prompts.map((prompt) => picture.segmentConcept({ ...prompt, threshold: 0 })),
    );
    const scores = results.map((result) => result.objects.map(({ score }) => score.toFixed(6)).join());
    expect(new Set(scores).size).toBe(prompts.length);
    expect(results[2]?.prompts[0]?.text).toBe("visual");
  });

  it("keeps only what is above the threshold, and finds nothing above 1", async () => {
    await using picture = await sam.image.encode(png);
    const all = await picture.segmentConcept(every);
    const middle = all.objects[all.objects.length >> 1]?.score as number;
    const some = await picture.segmentConcept({ ...every, threshold: middle });
    expect(some.objects.length).toBe(all.objects.filter(({ score }) => score > middle).length);
    expect((await picture.segmentConcept({ ...every, threshold: 1 })).objects).toEqual([]);
  });

  it("shows the model an EXIF-turned picture as a viewer does", async () => {
    const turned = await sharp(png).rotate(270).withMetadata({ orientation: 6 }).png().toBuffer();
    const result = await sam.image.segmentConcept(turned, every);
    expect(result.image).toEqual({ width, height });
    expect(facts(result)).toEqual(facts(await sam.image.segmentConcept(png, every)));
  });

  it.each([
    [1, 1],
    [1, 400],
    [400, 1],
    [7, 5],
    [2000, 30],
  ])("takes a picture of %d×%d", async (w, h) => {
    const data = new Uint8Array(w * h * 3).fill(90);
    const { objects } = await sam.image.segmentConcept({ data, width: w, height: h, channels: 3 }, every);
    for (const { mask } of objects)
      expect([mask.width, mask.height, mask.toBitmap().length]).toEqual([w, h, w * h]);
  });

  it("can be stopped while it runs, and the next call works", async () => {
    const pictures = Array.from({ length: 6 }, () =>
      sam.image.segmentConcept(png, every, { signal: AbortSignal.timeout(15) }),
    );
    for (const outcome of await Promise.allSettled(pictures)) {
      if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ name: "TimeoutError" });
    }
    const controller = new AbortController();
    const running = sam.image.segmentConcept(png, every, { signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(running).rejects.toThrow("enough");
    await expect(sam.image.segmentConcept(png, every)).resolves.toBeDefined();
  });

  it("refuses what comes after close, and lets what runs end or be refused", async () => {
    const other = await Sam3.load();
    const picture = await other.image.encode(png);
    const running = Promise.allSettled([1, 2, 3].map(() => picture.segmentConcept(every)));
    await other.close();
    for (const outcome of await running) {
      if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "DISPOSED" });
    }
    await expect(picture.segmentConcept(every)).rejects.toMatchObject({ code: "DISPOSED" });
    await expect(other.image.encode(png)).rejects.toMatchObject({ code: "DISPOSED" });
    await expect(sam.image.segmentConcept(png, every)).resolves.toBeDefined();
  });

  it("names the devices there are when one is not", async () => {
    await expect(Sam3.load({ devices: "cuda:99" })).rejects.toMatchObject({
      code: "DEVICE_UNKNOWN",
      message: expect.stringContaining("cpu"),
    });
  });

  it("draws an overlay", async () => {
    const result = await sam.image.segmentConcept(png, { text: "circle", threshold: 0 });
    expect(await sharp(await result.overlay()).metadata()).toMatchObject({ format: "png", width, height });
  });
});
