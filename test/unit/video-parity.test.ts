import { describe, expect, it } from "vitest";
import { Mask } from "../../lib/index.js";
import { expectSame, HEIGHT, WIDTH } from "./video-parity.js";

/** So many pixels from a place on, down the columns. */
const pixels = (from: number, count: number) => [from, count, WIDTH * HEIGHT - from - count];
const NOTHING = [WIDTH * HEIGHT];
const compare = (ours: number[], theirs: number[], undecided: number[] = NOTHING) =>
  expectSame(Mask.fromRle({ size: [HEIGHT, WIDTH], counts: ours }), { id: 0, counts: theirs, undecided }, "");

describe("the comparison with transformers", () => {
  it("takes what is equal, and what differs in pixels that rounding decides", () => {
    expect(compare(NOTHING, NOTHING)).toBe(0);
    expect(compare(pixels(100, 500), pixels(100, 500))).toBe(0);
    expect(compare(pixels(100, 503), pixels(100, 500), pixels(600, 5))).toBe(3);
    // Of so few pixels one is more than a hundredth.
    expect(compare(pixels(100, 4), pixels(100, 3), pixels(103, 1))).toBe(1);
  });

  it("refuses a single pixel that rounding does not decide, however large the mask", () => {
    expect(() => compare(pixels(100, 3001), pixels(100, 3000))).toThrow("not as good as 0");
    expect(() => compare(pixels(99, 3001), pixels(100, 3000), pixels(3100, 9))).toThrow("not as good as 0");
  });

  it("refuses something instead of nothing and nothing instead of something, whatever is undecided", () => {
    const everywhere = [0, WIDTH * HEIGHT];
    expect(() => compare(pixels(100, 1), NOTHING, everywhere)).toThrow("is to be seen");
    expect(() => compare(NOTHING, pixels(100, 1), everywhere)).toThrow("is to be seen");
  });

  it("refuses masks that have less than 0.99 in common, whatever is undecided", () => {
    expect(() => compare(pixels(100, 506), pixels(100, 500), [0, WIDTH * HEIGHT])).toThrow();
    expect(() => compare(pixels(100, 6), pixels(100, 4), [0, WIDTH * HEIGHT])).toThrow();
  });
});
