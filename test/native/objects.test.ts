import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { NativeAddon, NativeFeatures, NativeObjectItem, NativeReplica } from "../../lib/native/addon.js";
import { loadAddon } from "../../lib/native/load.js";
import { readSafetensors, type Tensor } from "./safetensors.js";
import {
  CLICK,
  codes,
  decodeRuns,
  EIGHT,
  encodeOne,
  FIXTURES,
  noise,
  nth,
  only,
  openTiny,
  values,
  withTokens,
} from "./support.js";

let addon: NativeAddon;
let replica: NativeReplica;
let features: NativeFeatures;
const SIDE = 32;

beforeAll(async () => {
  addon = loadAddon();
  replica = await openTiny(addon);
  features = await encodeOne(addon, replica, noise(80, 60));
});
afterAll(() => replica?.close());

type Prompt = Partial<Omit<NativeObjectItem, "token">>;
const click = (x: number, y: number, more: Prompt = {}) => ({
  features,
  points: Float32Array.from([x, y]),
  labels: Int32Array.from([1]),
  ...CLICK,
  ...more,
});
const find = (...items: Omit<NativeObjectItem, "token">[]) =>
  replica.segmentObjects(withTokens(addon, items), EIGHT);

/** Row `index` of the first dimension. */
function row({ shape, data }: Tensor, index: number): Tensor {
  const size = shape.slice(1).reduce((a, b) => a * b, 1);
  return { shape: shape.slice(1), data: data.subarray(index * size, (index + 1) * size) };
}

describe.each([0, 1, 2])("object prompts of seed %i, beside transformers' Sam3TrackerModel", (seed) => {
  const folder = join(FIXTURES, String(seed), "objects");
  const cases = readdirSync(folder).filter((name) => name.endsWith(".safetensors"));
  let tiny: NativeReplica;
  beforeAll(async () => {
    tiny = await openTiny(addon, 2, seed);
  });
  afterAll(() => tiny?.close());

  // fp32 in another order of sums, as in the native tests: they are at most 2e-5 apart.
  const CLOSE = 1e-4;

  it.each(cases)("%s", async (file) => {
    const tensors = readSafetensors(join(folder, file));
    const tensor = (name: string) => tensors[name] as Tensor;
    const [height, width] = tensor("picture").shape as [number, number];
    const encoded = await encodeOne(addon, tiny, {
      data: tensor("picture").data as Uint8Array,
      width,
      height,
    });
    const count = tensor("points").shape[0] as number;
    const withMask = (tensor("previous").shape[0] as number) > 0;
    for (const multimask of [true, false]) {
      const kind = multimask ? "three" : "single";
      const items = Array.from({ length: count }, (_, i) => ({
        features: encoded,
        points: Float32Array.from(row(tensor("points"), i).data),
        labels: Int32Array.from(row(tensor("labels"), i).data),
        ...CLICK,
        mask: withMask ? Float32Array.from(row(tensor("previous"), i).data) : null,
        multimask,
      }));
      const found = values(await tiny.segmentObjects(withTokens(addon, items), EIGHT));
      expect(found).toHaveLength(count);
      found.forEach(({ masks, objectScore }, i) => {
        expect(Math.abs(objectScore - (row(tensor("object_score"), i).data[0] as number))).toBeLessThan(
          CLOSE,
        );
        expect(masks).toHaveLength(multimask ? 3 : 1);
        masks.forEach(({ quality, counts, area, lowRes }, token) => {
          const expected = row(row(tensor(`${kind}_masks`), i), token).data;
          expect(lowRes.length).toBe(expected.length);
          const worst = lowRes.reduce(
            (most, v, k) => Math.max(most, Math.abs(v - (expected[k] as number))),
            0,
          );
          expect(worst).toBeLessThan(CLOSE);
          const qualities = row(tensor(`${kind}_quality`), i).data;
          expect(Math.abs(quality - (qualities[token] as number))).toBeLessThan(CLOSE);
          const theirs = row(row(tensor(`${kind}_final`), i), token).data;
          const ours = decodeRuns(counts, width * height);
          let [both, either, inside] = [0, 0, 0];
          for (let y = 0; y < height; y++) {
            for (let x = 0; x < width; x++) {
              const [a, b] = [ours[x * height + y] as number, theirs[y * width + x] as number];
              both += a & b;
              either += a | b;
              inside += a;
            }
          }
          expect(inside).toBe(area);
          expect(either === 0 || both / either >= 0.999).toBe(true);
        });
      });
    }
    encoded.dispose();
  });
});

describe("segmentObjects", () => {
  it("answers with one mask or three and what a next prompt takes", async () => {
    const [single, three] = values(await find(click(20, 30), click(20, 30, { multimask: true })));
    expect(single?.masks).toHaveLength(1);
    expect(three?.masks).toHaveLength(3);
    for (const { quality, counts, area, lowRes } of [...(single?.masks ?? []), ...(three?.masks ?? [])]) {
      expect(quality).toBeGreaterThanOrEqual(0);
      expect(quality).toBeLessThanOrEqual(1);
      expect(decodeRuns(counts, 80 * 60).reduce((sum, bit) => sum + bit, 0)).toBe(area);
      expect(lowRes.length).toBe(SIDE * SIDE);
      expect(lowRes.every((v) => v >= -32 && v <= 32)).toBe(true);
    }
    const mask = nth(single?.masks ?? [], 0).lowRes;
    const refined = only(await find(click(50, 10, { mask })));
    expect(nth(refined.masks, 0).lowRes).not.toEqual(mask);
  });

  it("answers prompts of every kind, on several pictures, together as each alone", async () => {
    const other = await encodeOne(addon, replica, noise(33, 70, 5));
    const box = { points: Float32Array.from([5, 5, 60, 40]), labels: Int32Array.from([2, 3]) };
    const none = { points: new Float32Array(0), labels: new Int32Array(0) };
    const items = [
      click(3, 4),
      click(0, 0, box),
      click(9, 9, { features: other }),
      click(0, 0, { ...none, mask: new Float32Array(SIDE * SIDE).fill(3) }),
      click(70, 50, { multimask: true }),
      click(0, 0, { ...box, features: other, multimask: true }),
    ];
    const together = values(await find(...items));
    for (const [i, item] of items.entries()) {
      const alone = only(await find(item));
      const found = nth(together, i);
      expect(found.masks.length).toBe(alone.masks.length);
      expect(Math.abs(found.objectScore - alone.objectScore)).toBeLessThan(1e-5);
      found.masks.forEach(({ lowRes, quality }, k) => {
        const single = nth(alone.masks, k);
        expect(Math.abs(quality - single.quality)).toBeLessThan(1e-5);
        expect(
          lowRes.reduce((most, v, j) => Math.max(most, Math.abs(v - (single.lowRes[j] as number))), 0),
        ).toBeLessThan(1e-5);
      });
    }
    other.dispose();
  });

  it("fills holes and removes specks of the low-resolution mask up to the size asked for", async () => {
    const everything = SIDE * SIDE;
    const [plain, filled, cleared] = values(
      await find(
        click(20, 30),
        click(20, 30, { maxHoleArea: everything }),
        click(20, 30, { maxSprinkleArea: everything }),
      ),
    ).map(({ masks }) => nth(masks, 0));
    expect(filled?.area).toBe(80 * 60);
    expect(cleared?.area).toBe(0);
    expect(filled?.lowRes).toEqual(plain?.lowRes);
  });

  it("refuses what makes no prompt, alone", async () => {
    const bad: Prompt[] = [
      { points: new Float32Array(0), labels: new Int32Array(0) },
      { points: Float32Array.from([1, 2, 3]) },
      { points: Float32Array.from([Number.NaN, 2]) },
      { points: Float32Array.from([1, Number.POSITIVE_INFINITY]) },
      { labels: Int32Array.from([4]) },
      { labels: Int32Array.from([-10]) },
      { mask: new Float32Array(SIDE) },
      { mask: new Float32Array(SIDE * SIDE).fill(Number.NaN) },
      { maskThreshold: Number.NaN },
      { points: [1, 2] as never },
      { mask: undefined as never },
      { features: null as never },
    ];
    const batch = await find(...bad.map((more) => click(1, 1, more)), click(1, 1));
    expect(codes(batch)).toEqual([...bad.map(() => "INVALID_ARGUMENT"), "ok"]);
  });

  it("takes points far outside and as many as two thousand", async () => {
    const many = 2_000;
    const batch = await find(
      click(-500, 1e6),
      click(0, 0, {
        points: Float32Array.from({ length: 2 * many }, (_, i) => i % 60),
        labels: new Int32Array(many).fill(1),
      }),
    );
    expect(codes(batch)).toEqual(["ok", "ok"]);
  });
});
