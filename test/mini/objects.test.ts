import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ObjectPrompt, type ObjectResult, Sam3, type Settled } from "../../lib/index.js";
import { drawScene } from "./scene.js";

// The tiny model with random weights: these hold for any weights, so they tell a broken program from a weak model.
const TINY = join(process.env.SAM3_FIXTURES ?? resolve(".cache/fixtures"), "0", "bundle");
const { maskSize } = JSON.parse(readFileSync(join(TINY, "manifest.json"), "utf8")) as { maskSize: number };
const width = 300;
const height = 200;
let sam: Sam3;
let png: Buffer;

beforeAll(async () => {
  sam = await Sam3.load({ model: TINY, devices: "cpu" });
  png = await drawScene(3, width, height);
});
afterAll(() => sam?.close());

const point = (x: number, y: number, label: "positive" | "negative" = "positive") => ({ x, y, label });
const box = [60, 40, 160, 150] as [number, number, number, number];
const value = <T>(one: Settled<T> | undefined): T => {
  if (one?.status !== "fulfilled") throw new Error(`not fulfilled: ${String(one?.reason)}`);
  return one.value;
};
const furthest = (a: Float32Array, b: Float32Array) =>
  a.reduce((most, one, i) => Math.max(most, Math.abs(one - (b[i] as number))), 0);

/** Within what sums in another order do to fp32: 1e-5 on 0–1, in parts of 32 on logits. */
function expectSame(a: ObjectResult, b: ObjectResult): void {
  expect(Math.abs(a.objectScore - b.objectScore)).toBeLessThanOrEqual(1e-5);
  expect(a.masks.length).toBe(b.masks.length);
  a.masks.forEach((mask, i) => {
    const other = b.masks[i] as (typeof b.masks)[number];
    expect(Math.abs(mask.quality - other.quality)).toBeLessThanOrEqual(1e-5);
    expect(furthest(mask.logits, other.logits)).toBeLessThanOrEqual(32e-5);
    expect(mask.area === 0 ? 1 : mask.mask.iou(other.mask)).toBeGreaterThan(0.999);
  });
}

describe("object prompts with the real addon", () => {
  it("give well-formed masks", async () => {
    const { masks, best, objectScore } = await sam.image.segmentObject(png, {
      points: [point(80, 60)],
      multimask: true,
    });
    expect(masks).toHaveLength(3);
    expect(best.quality).toBe(Math.max(...masks.map(({ quality }) => quality)));
    expect(objectScore > 0 && objectScore < 1).toBe(true);
    for (const { mask, quality, logits, area } of masks) {
      expect([mask.width, mask.height]).toEqual([width, height]);
      expect(quality >= 0 && quality <= 1).toBe(true);
      expect(logits.length).toBe(maskSize * maskSize);
      expect(logits.every((logit) => Math.abs(logit) <= 32)).toBe(true);
      expect(area).toBe(mask.toBitmap().reduce((sum, pixel) => sum + pixel, 0));
    }
  });

  it("in one batch are answered as one by one, whatever the mix", async () => {
    await using picture = await sam.image.encode(png);
    const { best } = await picture.segmentObject({ box });
    const prompts: ObjectPrompt[] = [
      { points: [point(80, 60)] },
      { points: [point(80, 60)], multimask: true },
      { points: [point(80, 60), point(10, 10, "negative"), point(200, 150)] },
      { box },
      { box, points: [point(100, 100)] },
      { mask: best.logits },
      { refineFrom: best, points: [point(20, 20, "negative")] },
      { points: [point(0, 0)], multimask: false },
      ...Array.from({ length: 12 }, (_, i) => ({ points: [point(10 + 20 * i, 100)] })),
    ];
    const together = (await picture.segmentObjects(prompts)).map(value);
    for (const [i, prompt] of prompts.entries()) {
      expectSame(await picture.segmentObject(prompt), together[i] as ObjectResult);
    }
  });

  it("listen to where points are, to their labels, to the box and to the mask", async () => {
    await using picture = await sam.image.encode(png);
    const { best } = await picture.segmentObject({ box });
    const prompts: ObjectPrompt[] = [
      { points: [point(80, 60)] },
      { points: [point(81, 60)] },
      { points: [point(80, 60, "negative")] },
      { points: [point(80, 60), point(200, 100)] },
      { box },
      { box, points: [point(80, 60)] },
      { mask: best.logits },
    ];
    const answers = (await picture.segmentObjects(prompts, {})).map(value);
    expect(new Set(answers.map(({ best: { quality } }) => quality.toFixed(7))).size).toBe(prompts.length);
  });

  it("left to themselves give the best of three for a click, as the official tracker", async () => {
    const click = { points: [point(120, 90)] };
    const three = await sam.image.segmentObject(png, { ...click, multimask: true });
    const one = await sam.image.segmentObject(png, click);
    expect(one.masks).toHaveLength(1);
    expect(one.best.quality).toBeCloseTo(three.best.quality, 5);
    expect(one.best.mask.iou(three.best.mask)).toBeGreaterThan(0.999);
  });

  it("refining is the same as giving all points and the mask", async () => {
    await using picture = await sam.image.encode(png);
    const first = await picture.segmentObject({ points: [point(80, 60)] });
    const more = [point(20, 20, "negative"), point(100, 80)];
    const refined = await picture.segmentObject({ refineFrom: first, points: more });
    const plain = await picture.segmentObject({ points: [point(80, 60), ...more], mask: first.best.logits });
    expectSame(refined, plain);
    const without = await picture.segmentObject({ points: [point(80, 60), ...more] });
    expect(furthest(without.best.logits, refined.best.logits)).toBeGreaterThan(1e-3);
  });

  it("fill holes, remove specks and move the threshold when asked to", async () => {
    await using picture = await sam.image.encode(png);
    const prompt = { points: [point(150, 100)], multimask: true };
    const shape = async (options: object) => {
      const { masks } = await picture.segmentObject(prompt, options);
      return masks.map(({ mask, area }) => {
        const polygons = mask.toPolygons();
        return {
          area,
          pieces: polygons.length,
          holes: polygons.reduce((sum, { holes }) => sum + holes.length, 0),
        };
      });
    };
    const sum = (list: { pieces: number; holes: number; area: number }[], key: "pieces" | "holes" | "area") =>
      list.reduce((total, one) => total + one[key], 0);
    const [plain, filled, cleaned, strict] = [
      await shape({}),
      await shape({ maxHoleArea: maskSize * maskSize }),
      await shape({ maxSprinkleArea: maskSize * maskSize }),
      await shape({ maskThreshold: 1 }),
    ];
    expect(sum(plain, "holes")).toBeGreaterThan(0);
    expect(sum(filled, "holes")).toBe(0);
    expect(sum(filled, "area")).toBeGreaterThan(sum(plain, "area"));
    expect(sum(cleaned, "area")).toBeLessThan(sum(plain, "area"));
    expect(sum(strict, "area")).toBeLessThan(sum(plain, "area"));
  });

  it("take 256 points, a single pixel, and bad ones fail alone", async () => {
    const many = Array.from({ length: 256 }, (_, i) =>
      point((i * 37) % width, (i * 53) % height, i % 3 ? "positive" : "negative"),
    );
    const answers = await sam.image.segmentObjects(png, [
      { points: many },
      { points: [point(-1, 0)] },
      { box: [0, 0, 1, 1] },
      { mask: new Float32Array(5) },
    ]);
    expect(
      answers.map((one) => (one.status === "fulfilled" ? "ok" : (one.reason as { code: string }).code)),
    ).toEqual(["ok", "INVALID_POINT", "ok", "INVALID_MASK"]);
    const tiny = { data: Uint8Array.of(9, 9, 9), width: 1, height: 1, channels: 3 as const };
    const { best } = await sam.image.segmentObject(tiny, { points: [point(0, 0)] });
    expect([best.mask.width, best.mask.height]).toEqual([1, 1]);
  });

  it("can be stopped, and the next call works", async () => {
    const controller = new AbortController();
    const running = sam.image.segmentObject(png, { box }, { signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(running).rejects.toThrow("enough");
    await expect(sam.image.segmentObject(png, { box })).resolves.toBeDefined();
  });
});
