import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ConceptResult, Sam3, type Settled } from "../../lib/index.js";
import { drawScene } from "./scene.js";

// These hold for any weights: a threshold of 0 gives every query.
let sam: Sam3;
let png: Buffer;
const width = 500;
const height = 360;

beforeAll(async () => {
  sam = await Sam3.load();
  png = await drawScene(5, width, height);
});
afterAll(() => sam?.close());

const value = <T>(one: Settled<T> | undefined): T => {
  if (one?.status !== "fulfilled") throw new Error(`not fulfilled: ${String(one?.reason)}`);
  return one.value;
};

/**
 * Scores and boxes within 1e-5: sums in another order, as a batch of another size has them, differ in the last bits of
 * fp32. A mask may differ in single pixels where a logit is that near to zero; queries that mean nothing, which a
 * threshold of 0 shows too, have many such places (one pixel of 976, and 0.05 % of a large mask, were seen).
 */
function expectSame(a: ConceptResult, b: ConceptResult): void {
  expect(a.objects.length).toBe(b.objects.length);
  a.objects.forEach((object, i) => {
    const other = b.objects[i] as (typeof b.objects)[number];
    expect(Math.abs(object.score - other.score)).toBeLessThanOrEqual(1e-5);
    object.box.forEach((edge, k) => {
      expect(Math.abs(edge - (other.box[k] as number)) / Math.max(width, height)).toBeLessThanOrEqual(1e-5);
    });
    const different = object.area + other.area - 2 * object.mask.overlap(other.mask);
    expect(different).toBeLessThanOrEqual(3 + object.area / 1000);
  });
}

describe("many prompts with the real addon", () => {
  const prompts = [
    { text: "circle", threshold: 0 },
    { text: "red square", threshold: 0.1 },
    { exemplars: [{ box: [60, 50, 140, 130] as [number, number, number, number] }], threshold: 0 },
    {
      text: "blue shape",
      exemplars: [
        { box: [60, 50, 140, 130] as [number, number, number, number], label: "negative" as const },
      ],
      threshold: 0,
    },
    { text: "circle", threshold: 0 },
    ...Array.from({ length: 12 }, (_, i) => ({
      text: `${["star", "ring", "cross"][i % 3]} ${i}`,
      threshold: 0,
    })),
  ];

  it("in one batch are answered as one by one, more than fit a batch too", async () => {
    await using picture = await sam.image.encode(png);
    const together = (await picture.segmentConcepts(prompts)).map(value);
    for (const [i, prompt] of prompts.entries()) {
      const alone = await picture.segmentConcept(prompt);
      expectSame(alone, together[i] as ConceptResult);
      expect(together[i]?.objects.every((object) => object.prompt === i)).toBe(true);
    }
    expect(together[4]?.objects.length).toBe(together[0]?.objects.length);
  });

  it("of several pictures in one call are answered as picture by picture", async () => {
    const pictures = await Promise.all(
      [1, 2, 3, 4, 5, 6].map((seed) => drawScene(seed, 200 + 40 * seed, 240)),
    );
    const items = pictures.map((image, i) => ({ image, prompts: prompts.slice(i, i + 3) }));
    const answers = await sam.image.segmentBatch([
      ...items,
      { image: Buffer.from("no"), prompts: [{ text: "a" }] },
    ]);
    expect(answers.at(-1)).toMatchObject({ status: "rejected", reason: { code: "IMAGE_INVALID" } });
    sam.cache.clear();
    for (const [i, item] of items.entries()) {
      for (const [k, prompt] of item.prompts.entries()) {
        const alone = await sam.image.segmentConcept(item.image, prompt);
        expectSame(alone, value(value(answers[i])[k]));
      }
    }
  });

  it("give a semantic map on request, and duplicates only once", async () => {
    const [answer] = await sam.image.segmentConcepts(png, [{ text: "circle" }], { semantic: true });
    const { semantic } = value(answer).prompts[0] ?? {};
    expect([semantic?.width, semantic?.height]).toEqual([width, height]);
    expect((await sam.image.segmentConcept(png, { text: "circle" })).prompts[0]?.semantic).toBeNull();
    const twice = await sam.image.segmentConcepts(png, [prompts[0], prompts[0]] as never, {
      suppressDuplicates: 1,
    });
    const [first, second] = twice.map(value);
    const seen = first?.objects.filter(({ mask }) => mask.area > 0).length as number;
    expect(seen).toBeGreaterThan(0);
    expect(second?.prompts[0]?.suppressed).toBe(seen);
  });

  it("know a picture again by its content", async () => {
    const own = await drawScene(9, 320, 200);
    const results = [
      await sam.image.segmentConcept(own, { text: "circle" }),
      await sam.image.segmentConcept(Buffer.from(own), { text: "square" }),
      await sam.image.segmentConcept(await sharp(own).negate().png().toBuffer(), { text: "circle" }),
    ];
    expect(results.map(({ cache }) => cache)).toEqual(["miss", "hit", "miss"]);
    expect(results[1]?.timings.encodeMs).toBe(0);
    expect(results[0]?.timings.encodeMs).toBeGreaterThan(0);
  });
});

describe("tiles with the real addon", () => {
  it("find small things that the whole picture is too small for, once each and in place", async () => {
    // 24 red circles of 20 pixels on 1500 × 1000: in the model's square, 288 pixels, each is 4 pixels wide.
    const places = Array.from({ length: 24 }, (_, i) => [110 + (i % 6) * 250, 120 + Math.floor(i / 6) * 250]);
    const circles = places.map(([x, y]) => `<circle cx="${x}" cy="${y}" r="26" fill="#e02020"/>`).join("");
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="1500" height="1000"><rect width="1500" height="1000" fill="#c8c8c0"/>${circles}</svg>`;
    const large = await sharp(Buffer.from(svg)).png().toBuffer();
    const hits = ({ objects }: ConceptResult) =>
      places.filter(([x, y]) =>
        objects.some(({ mask, area }) => mask.contains(x as number, y as number) && area < 8000),
      );
    const plain = await sam.image.segmentConcept(large, { text: "circle", threshold: 0.4 });
    const tiled = await sam.image.segmentConcept(
      large,
      { text: "circle", threshold: 0.4 },
      { tiles: { size: 300, overlap: 100 } },
    );
    console.log(
      `circles found: ${hits(plain).length} of 24 whole, ${hits(tiled).length} in tiles, ${tiled.objects.length} objects`,
    );
    for (const { mask } of tiled.objects) expect([mask.width, mask.height]).toEqual([1500, 1000]);
    expect(hits(tiled).length).toBeGreaterThan(hits(plain).length);
  });
});
