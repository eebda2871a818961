import { describe, expect, it } from "vitest";
import { suppressDuplicates } from "../../lib/image/suppress-duplicates.js";
import { Mask } from "../../lib/masks/mask.js";
import { seeded } from "./random.js";

const { signal } = new AbortController();

/** A filled rectangle in a picture of 40 × 30. */
function rectangle(x1: number, y1: number, x2: number, y2: number): Mask {
  const bitmap = Array.from({ length: 40 * 30 }, (_, at) => {
    const [x, y] = [at % 40, Math.floor(at / 40)];
    return x >= x1 && x < x2 && y >= y1 && y < y2 ? 1 : 0;
  });
  return Mask.fromBitmap(bitmap, 40, 30);
}

describe("suppressing duplicates across prompts", () => {
  const a = { name: "a", score: 0.9, mask: rectangle(0, 0, 10, 10) };
  const shifted = { name: "shifted", score: 0.8, mask: rectangle(1, 0, 11, 10) };
  const elsewhere = { name: "elsewhere", score: 0.3, mask: rectangle(20, 20, 30, 30) };
  const inner = { name: "inner", score: 0.7, mask: rectangle(2, 2, 5, 5) };
  const names = async (...[groups, iou]: [(typeof a)[][], number]) =>
    (await suppressDuplicates(groups, iou, signal)).map((group) => group.map(({ name }) => name));

  it("keeps the better of two prompts' objects, and what only one has", async () => {
    expect(await names([[shifted, elsewhere], [a]], 0.5)).toEqual([["elsewhere"], ["a"]]);
    expect(
      await names(
        [
          [a, inner],
          [shifted, elsewhere],
        ],
        0.5,
      ),
    ).toEqual([["a", "inner"], ["elsewhere"]]);
  });

  it("leaves objects of one prompt alone, and asks for the IoU given", async () => {
    expect(await names([[a, shifted]], 0.5)).toEqual([["a", "shifted"]]);
    // IoU 90 / 110.
    expect(await names([[a], [shifted]], 90 / 110 + 1e-9)).toEqual([["a"], ["shifted"]]);
    expect(await names([[a], [shifted]], 90 / 110)).toEqual([["a"], []]);
  });

  it("gives equal scores to the earlier prompt, as with the same text twice", async () => {
    expect(await names([[elsewhere, a], [elsewhere, a].map((one) => ({ ...one }))], 1)).toEqual([
      ["elsewhere", "a"],
      [],
    ]);
  });

  it("equals the plain definition on random objects", async () => {
    const random = seeded(6);
    for (let round = 0; round < 40; round++) {
      const groups = Array.from({ length: 3 }, () =>
        Array.from({ length: 8 }, () => {
          const [x, y] = [random() * 30, random() * 20];
          return { score: random(), mask: rectangle(x, y, x + 1 + random() * 12, y + 1 + random() * 12) };
        }),
      );
      const iou = 0.2 + random() * 0.7;
      const kept: { group: number; score: number; mask: Mask }[] = [];
      const all = groups.flatMap((group, i) => group.map((object) => ({ ...object, group: i })));
      for (const object of all.sort((one, other) => other.score - one.score)) {
        const rivals = kept.filter(({ group }) => group !== object.group);
        if (!rivals.some(({ mask }) => mask.iou(object.mask) >= iou)) kept.push(object);
      }
      const expected = new Set(kept.map(({ mask }) => mask));
      const survivors = await suppressDuplicates(groups, iou, signal);
      expect(survivors).toEqual(groups.map((group) => group.filter(({ mask }) => expected.has(mask))));
    }
  });

  it("stops when it is aborted in the middle of much work", async () => {
    const many = Array.from({ length: 3000 }, (_, i) => ({
      score: i,
      mask: rectangle(i % 30, i % 20, 40, 30),
    }));
    const controller = new AbortController();
    const running = suppressDuplicates([many, many.map((one) => ({ ...one }))], 1, controller.signal);
    setTimeout(() => controller.abort("enough"), 1);
    await expect(running).rejects.toBe("enough");
  });
});
