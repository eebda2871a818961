import { describe, expect, it } from "vitest";
import { checkObjectPrompt, type ObjectPrompt, REFINEMENT } from "../../lib/image/object-prompt.js";

const picture = { width: 200, height: 100, contentHash: "abc", maskSize: 4 };
const settings = { maskThreshold: 0, maxHoleArea: 0, maxSprinkleArea: 0 };
const check = (prompt: unknown) => checkObjectPrompt(prompt as ObjectPrompt, picture, settings);
const code = (value: string, words = "") =>
  expect.objectContaining({ code: value, message: expect.stringContaining(words) });
const point = (x: number, y: number, label: "positive" | "negative" = "positive") => ({ x, y, label });
const earlier = (changes: object = {}) => ({
  [REFINEMENT]: {
    contentHash: "abc",
    points: [point(1, 2)],
    box: undefined,
    logits: new Float32Array(16).fill(3),
    ...changes,
  },
});

describe("an object prompt", () => {
  it("has points first, then the corners of the box, with their labels", () => {
    const { request } = check({ points: [point(10, 20), point(30, 40, "negative")], box: [1, 2, 50, 60] });
    expect([...request.points]).toEqual([10, 20, 30, 40, 1, 2, 50, 60]);
    expect([...request.labels]).toEqual([1, 0, 2, 3]);
    expect(request).toMatchObject({ mask: null, ...settings });
  });

  it("may be a box alone, cut to the picture, or a mask alone, which is copied", () => {
    expect([...check({ box: [-5, -5, 500, 50] }).request.points]).toEqual([0, 0, 200, 50]);
    const mask = new Float32Array(16).fill(2);
    const { request } = check({ mask });
    mask.fill(9);
    expect([...(request.mask ?? [])]).toEqual(new Array(16).fill(2));
    expect([request.points.length, request.labels.length]).toEqual([0, 0]);
  });

  it("takes points up to the edges of the picture", () => {
    expect([...check({ points: [point(0, 0), point(199.9, 99.9)] }).request.points]).toHaveLength(4);
  });

  it("asks for three masks for a single click, and keeps the best, as the official tracker does", () => {
    const rule = (prompt: object) => {
      const { request, bestOnly } = check(prompt);
      return [request.multimask, bestOnly];
    };
    expect(rule({ points: [point(1, 1)] })).toEqual([true, true]);
    expect(rule({ mask: new Float32Array(16) })).toEqual([true, true]);
    expect(rule({ points: [point(1, 1), point(2, 2)] })).toEqual([false, false]);
    expect(rule({ box: [0, 0, 9, 9] })).toEqual([false, false]);
    expect(rule({ refineFrom: earlier(), points: [point(1, 1)] })).toEqual([false, false]);
    expect(rule({ points: [point(1, 1)], multimask: false })).toEqual([false, false]);
    expect(rule({ points: [point(1, 1)], multimask: true })).toEqual([true, false]);
    expect(rule({ box: [0, 0, 9, 9], multimask: true })).toEqual([true, false]);
  });

  it("takes over points, box and logits of what it refines", () => {
    const box = [1, 1, 9, 9];
    const { request, points } = check({
      refineFrom: earlier({ box }),
      points: [point(5, 6, "negative")],
    });
    expect(points).toEqual([point(1, 2), point(5, 6, "negative")]);
    expect([...request.points]).toEqual([1, 2, 5, 6, 1, 1, 9, 9]);
    expect([...(request.mask ?? [])]).toEqual(new Array(16).fill(3));
    const replaced = check({ refineFrom: earlier({ box }), box: [0, 0, 20, 20] });
    expect([...replaced.request.points]).toEqual([1, 2, 0, 0, 20, 20]);
  });

  it.each([
    ["a bare text", "here", "not"],
    ["nothing", undefined, "undefined"],
    ["null", null, "null"],
    ["a list", [point(1, 1)], "a list"],
    ["empty", {}, "empty"],
    ["zero points and nothing else", { points: [] }, "empty"],
    ["an unknown key", { point: [] }, 'did you mean "points"'],
    ["multimask as a number", { points: [point(1, 1)], multimask: 1 }, "multimask"],
    ["a refinement of something else", { refineFrom: {} }, "refineFrom"],
    ["a refinement of null", { refineFrom: null }, "refineFrom"],
    ["a refinement of another picture", { refineFrom: earlier({ contentHash: "x" }) }, "another picture"],
    ["a refinement of another model", { refineFrom: earlier({ logits: new Float32Array(9) }) }, "model"],
    ["a refinement and a mask", { refineFrom: earlier(), mask: new Float32Array(16) }, "both"],
  ])("is refused when it is or has %s", (_, prompt, words) => {
    expect(() => check(prompt)).toThrow(code("INVALID_PROMPT", words));
  });

  it.each([
    ["right of the picture", point(200, 5), "outside the picture of 200×100"],
    ["below the picture", point(5, 100), "outside"],
    ["left of the picture", point(-0.1, 5), "outside"],
    ["NaN", point(Number.NaN, 5), "finite"],
    ["infinite", point(5, Number.POSITIVE_INFINITY), "finite"],
    ["of text", { x: "5", y: 5, label: "positive" }, "finite"],
    ["a pair", [5, 5], "{ x, y, label }"],
    ["null", null, "{ x, y, label }"],
    ["without label", { x: 5, y: 5 }, "no label"],
    ["labelled 1", { x: 5, y: 5, label: 1 }, "label 1"],
    ["misspelt", { x: 5, y: 5, lable: "positive" }, 'did you mean "label"'],
  ])("refuses a point that is %s, naming which", (_, bad, words) => {
    expect(() => check({ points: [point(1, 1), bad] })).toThrow(code("INVALID_POINT", "Point 1 "));
    expect(() => check({ points: [point(1, 1), bad] })).toThrow(code("INVALID_POINT", words));
  });

  it("refuses 10,000 points and points that are no list, says the limit, and counts those taken over", () => {
    expect(() => check({ points: Array(10_000).fill(point(1, 1)) })).toThrow(code("INVALID_POINT", "256"));
    expect(() => check({ points: { x: 1, y: 1 } })).toThrow(code("INVALID_POINT", "list"));
    const many = Array(256).fill(point(1, 1));
    expect(check({ points: many }).points).toHaveLength(256);
    expect(() => check({ refineFrom: earlier(), points: many })).toThrow(code("INVALID_POINT", "257"));
  });

  it.each([
    ["without area", [10, 10, 10, 20], "no area"],
    ["reversed", [50, 10, 20, 30], "left"],
    ["outside", [300, 0, 400, 10], "outside"],
    ["NaN", [0, 0, Number.NaN, 1], "finite"],
  ])("refuses a box that is %s", (_, box, words) => {
    expect(() => check({ box })).toThrow(code("INVALID_BOX", words));
  });

  it.each([
    ["of the wrong size", new Float32Array(15), "has 15 numbers"],
    ["with NaN", new Float32Array(16).fill(Number.NaN, 3, 4), "has NaN at 3"],
    ["a list", new Array(16).fill(0), "a list"],
    ["of doubles", new Float64Array(16), "a Float64Array"],
    ["null", null, "null"],
  ])("refuses a mask that is %s", (_, mask, words) => {
    expect(() => check({ mask })).toThrow(code("INVALID_MASK", words));
    expect(() => check({ mask })).toThrow(code("INVALID_MASK", "4×4"));
  });
});
