import { describe, expect, it } from "vitest";
import { type ConceptPrompt, checkPrompt } from "../../lib/image/concept-prompt.js";

const picture = { width: 200, height: 100 };
const check = (prompt: unknown) =>
  checkPrompt(prompt as ConceptPrompt, picture, { threshold: 0.5, fallbackText: "visual" });
const code = (value: string, words = "") =>
  expect.objectContaining({ code: value, message: expect.stringContaining(words) });

describe("a concept prompt", () => {
  it("may be one text, several, boxes, or both", () => {
    expect(check({ text: "cat" })).toMatchObject({ texts: ["cat"], threshold: 0.5 });
    expect(check({ text: ["cat", "dog"], threshold: 0 })).toMatchObject({
      texts: ["cat", "dog"],
      threshold: 0,
    });
    expect(check({ exemplars: [{ box: [0, 0, 10, 10] }] }).texts).toEqual(["visual"]);
    expect(check({ text: "cat", exemplars: [] })).toMatchObject({
      texts: ["cat"],
      labels: new Uint8Array(0),
    });
    expect(check({ text: "cat", exemplars: undefined, threshold: undefined })).toMatchObject({
      threshold: 0.5,
    });
  });

  it("has boxes as centre and size in 0–1, and labels", () => {
    const { boxes, labels } = check({
      exemplars: [
        { box: [20, 10, 60, 30] },
        { box: [0, 0, 200, 100], label: "negative" },
        { box: [1, 1, 2, 2], label: "positive" },
      ],
    });
    expect([...labels]).toEqual([1, 0, 1]);
    expect([...boxes.slice(0, 8)].map((v) => Math.round(v * 1e6) / 1e6)).toEqual([
      0.2, 0.2, 0.2, 0.2, 0.5, 0.5, 1, 1,
    ]);
  });

  it("cuts boxes to the picture", () => {
    const { boxes } = check({ exemplars: [{ box: [-50, 50, 100, 1000] }] });
    expect([...boxes]).toEqual([0.25, 0.75, 0.5, 0.5]);
  });

  it("takes typed arrays as boxes", () => {
    expect([...check({ exemplars: [{ box: Float32Array.of(0, 0, 100, 50) }] }).boxes]).toEqual([
      0.25, 0.25, 0.5, 0.5,
    ]);
  });

  it.each([
    ["NaN", [Number.NaN, 0, 1, 1], "finite"],
    ["infinite", [0, 0, Number.POSITIVE_INFINITY, 1], "finite"],
    ["reversed", [50, 10, 20, 30], "left"],
    ["upside down", [10, 30, 20, 10], "above"],
    ["without width", [10, 10, 10, 20], "no area"],
    ["right of the picture", [200, 0, 300, 50], "outside the picture of 200×100"],
    ["above the picture", [0, -20, 10, 0], "outside"],
    ["of three numbers", [1, 2, 3], "four"],
    ["of five numbers", [1, 2, 3, 4, 5], "four"],
    ["of text", ["1", "2", "3", "4"], "four"],
    ["no list", "1,2,3,4", "four"],
    ["missing", undefined, "four"],
    ["null", null, "four"],
  ])("refuses a box that is %s, naming which", (_, box, words) => {
    const good = { box: [0, 0, 10, 10] };
    expect(() => check({ exemplars: [good, { box }] })).toThrow(code("INVALID_BOX", "Box 1 is"));
    expect(() => check({ exemplars: [good, { box }] })).toThrow(code("INVALID_BOX", words));
  });

  it("shows the value of a bad box", () => {
    expect(() => check({ exemplars: [{ box: [50, 10, 20, 30] }] })).toThrow(
      code("INVALID_BOX", "[50, 10, 20, 30]"),
    );
    expect(() => check({ exemplars: [{ box: [Number.NaN, 0, 1, 1] }] })).toThrow(
      code("INVALID_BOX", "[NaN, 0, 1, 1]"),
    );
  });

  it.each([
    ["a bare text", "cat", '{ text: "cat" }'],
    ["nothing", undefined, "undefined"],
    ["null", null, "null"],
    ["a list", ["cat"], "a list"],
    ["empty", {}, "empty"],
    ["without examples", { exemplars: [] }, "empty"],
    ["empty text", { text: "" }, "empty"],
    ["white space", { text: " \n\t" }, "empty"],
    ["a list without texts", { text: [] }, "at least one"],
    ["a list with an empty text", { text: ["cat", " "] }, "Text 1"],
    ["a number", { text: 5 }, "text"],
    ["a list with a number", { text: ["cat", 5] }, "1: must be text"],
    ["too many texts", { text: Array(1025).fill("cat") }, "1024"],
    ["boxes that are no list", { text: "cat", exemplars: { box: [0, 0, 1, 1] } }, "list"],
    ["boxes bare", { text: "cat", exemplars: [[0, 0, 1, 1]] }, "0:"],
    ["a wrong label", { text: "cat", exemplars: [{ box: [0, 0, 1, 1], label: "bad" }] }, "negative"],
    ["an unknown key", { texts: "cat" }, 'did you mean "text"'],
    ["a box outside exemplars", { text: "cat", boxes: [] }, 'no "boxes"'],
    ["an unknown key in an example", { exemplars: [{ box: [0, 0, 1, 1], lable: "negative" }] }, "lable"],
  ])("refuses %s", (_, prompt, words) => {
    expect(() => check(prompt)).toThrow(code("INVALID_PROMPT", words));
  });

  it("says that examples from other pictures are not supported", () => {
    for (const key of ["image", "picture", "source"]) {
      const foreign = { box: [0, 0, 9, 9], [key]: "other.png" };
      expect(() => check({ text: "cat", exemplars: [{ box: [0, 0, 9, 9] }, foreign] })).toThrow(
        code("UNSUPPORTED", "Exemplar 1 names a picture of its own"),
      );
    }
  });

  it.each([7, -0.1, Number.NaN, "0.5", null])("refuses the threshold %j", (threshold) => {
    expect(() => check({ text: "cat", threshold })).toThrow(code("INVALID_ARGUMENT", "threshold"));
  });
});
