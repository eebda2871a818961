import { describe, expect, it } from "vitest";
import type { MemoryBank, MemoryRules, TrackedFrame } from "../../lib/video/rules/memory-bank.js";
import { DEFAULT_VIDEO_RULES } from "../../lib/video/rules/options.js";
import { type Pass, pruneMemories } from "../../lib/video/rules/prune-memories.js";
import { type MemoryQuestion, selectMemories } from "../../lib/video/rules/select-memories.js";
import { seeded } from "./random.js";

const SELECTING: MemoryRules = DEFAULT_VIDEO_RULES;
const NEWEST: MemoryRules = { ...DEFAULT_VIDEO_RULES, memorySelection: false };

/** Frames the track was sure of itself on, and frames it was not. */
const sure = (...frames: number[]): TrackedFrame[] => frames.map((frame) => ({ frame, effectiveIou: 0.8 }));
const unsure = (...frames: number[]): TrackedFrame[] =>
  frames.map((frame) => ({ frame, effectiveIou: 0.01 }));
const span = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

const at = (frame: number, rest: Partial<MemoryQuestion> = {}): MemoryQuestion => ({
  frame,
  reverse: false,
  clipLength: null,
  ...rest,
});

/** Selected memory frames without the conditioning frames' row, as [frame, row], and pointers as [frame, age in steps]. */
function chosen(rules: MemoryRules, bank: MemoryBank, question: MemoryQuestion) {
  const { memories, pointers } = selectMemories(rules, bank, question);
  const steps = Math.min(question.clipLength ?? Number.POSITIVE_INFINITY, rules.maxObjectPointers) - 1;
  return {
    memories: memories.map(({ frame, row }) => [frame, row]),
    pointers: pointers.map(({ frame, age }) => [frame, Math.round(age * steps * 1000) / 1000]),
  };
}

describe("memories of the newest frames (held against transformers in video-rules-parity.test.ts)", () => {
  it("are the conditioning frame, the six frames before and fifteen pointers", () => {
    const bank = { conditioning: [0], tracked: sure(...span(1, 40)) };
    expect(chosen(NEWEST, bank, at(30))).toEqual({
      memories: [[0, 6], ...span(24, 29).map((frame) => [frame, 29 - frame])],
      pointers: [[0, 30], ...span(1, 15).map((age) => [30 - age, age])],
    });
    expect(chosen(NEWEST, bank, at(30, { reverse: true, clipLength: 5 }))).toEqual({
      memories: [
        [0, 6],
        ...span(31, 36)
          .reverse()
          .map((frame) => [frame, frame - 31]),
      ],
      pointers: span(1, 4).map((age) => [30 + age, age]),
    });
  });

  it("are none of an empty bank", () => {
    expect(chosen(NEWEST, { conditioning: [], tracked: [] }, at(3))).toEqual({ memories: [], pointers: [] });
    expect(chosen(SELECTING, { conditioning: [], tracked: [] }, at(3))).toEqual({
      memories: [],
      pointers: [],
    });
  });
});

describe("memory selection", () => {
  it("skips frames the track was not sure on, however long they last, but not the last one", () => {
    const bank = { conditioning: [0], tracked: [...sure(1, 2, 3, 4, 5, 6, 7, 8), ...unsure(...span(9, 50))] };
    // The last frame and the five newest sure ones; the oldest sure one lends no pointer.
    expect(chosen(SELECTING, bank, at(51))).toEqual({
      memories: [
        [0, 6],
        [4, 5],
        [5, 4],
        [6, 3],
        [7, 2],
        [8, 1],
        [50, 0],
      ],
      pointers: [
        [0, 51],
        [50, 1],
        [8, 2],
        [7, 3],
        [6, 4],
        [5, 5],
        [4, 6],
        [3, 7],
        [2, 8],
      ],
    });
  });

  it("counts ages in frames that are attended to, not in time", () => {
    const bank = { conditioning: [0], tracked: [...sure(10, 20, 29), ...unsure(11, 12)] };
    expect(chosen(SELECTING, bank, at(30))).toEqual({
      memories: [
        [0, 6],
        [10, 2],
        [20, 1],
        [29, 0],
      ],
      pointers: [
        [0, 30],
        [29, 1],
        [20, 2],
      ],
    });
  });

  it("takes fifteen sure frames at most, fewer of a shorter clip", () => {
    const bank = { conditioning: [0], tracked: sure(...span(1, 40)) };
    expect(chosen(SELECTING, bank, at(41)).pointers).toEqual([
      [0, 41],
      ...span(1, 14).map((age) => [41 - age, age]),
    ]);
    // Fifteen sure ones and the last: the oldest of these sixteen lends no pointer.
    const lost = { ...bank, tracked: [...bank.tracked, ...unsure(41)] };
    expect(chosen(SELECTING, lost, at(42)).pointers).toEqual([
      [0, 42],
      [41, 1],
      ...span(2, 15).map((age) => [42 - age, age]),
    ]);
    const short = { conditioning: [0], tracked: sure(1, 2, 3) };
    expect(chosen(SELECTING, short, at(4, { clipLength: 5 })).pointers).toEqual([
      [0, 4],
      [3, 1],
      [2, 2],
    ]);
  });

  it("leaves the slot of the last frame empty where that is a conditioning frame", () => {
    const bank = { conditioning: [5, 16], tracked: sure(...span(6, 15)) };
    expect(chosen(SELECTING, bank, at(17)).memories).toEqual([
      [5, 6],
      [16, 6],
      ...span(11, 15).map((frame) => [frame, 16 - frame]),
    ]);
  });

  it("walks the other way backwards, over frames of either pass", () => {
    const bank = { conditioning: [20], tracked: [...sure(18, 19, 21, 22, 30), ...unsure(17, 23)] };
    expect(chosen(SELECTING, bank, at(17, { reverse: true })).memories).toEqual([
      [20, 6],
      [30, 4],
      [22, 3],
      [21, 2],
      [19, 1],
      [18, 0],
    ]);
  });
});

describe("pruning", () => {
  const random = seeded(9);
  const whole = (low: number, high: number) => low + Math.floor(random() * (high - low + 1));

  type Outcome = "conditioning" | "sure" | "unsure";
  const outcome = (shareOfSure: number): Outcome =>
    random() < 0.05 ? "conditioning" : random() < shareOfSure ? "sure" : "unsure";

  /** A bank after a pass came to a frame; conditioning frames stay as they are, others are tracked anew. */
  function add(bank: MemoryBank, frame: number, how: Outcome): MemoryBank {
    if (bank.conditioning.includes(frame)) return bank;
    const tracked = bank.tracked.filter((one) => one.frame !== frame);
    if (how === "conditioning") return { conditioning: [...bank.conditioning, frame], tracked };
    return { ...bank, tracked: [...tracked, ...(how === "sure" ? sure(frame) : unsure(frame))] };
  }

  it("changes no selection of any pass to come, in clips that go both ways, with prompts ahead", () => {
    let compared = 0;
    let dropped = 0;
    for (let round = 0; round < 60; round++) {
      const rules: MemoryRules = {
        ...(round % 2 === 0 ? SELECTING : NEWEST),
        memories: [7, 3][whole(0, 1)] as number,
        maxConditioningFrames: whole(2, 4),
        maxObjectPointers: [16, 6][whole(0, 1)] as number,
      };
      const [length, start, share] = [120, whole(10, 110), random()];
      const clipLength = round % 3 === 0 ? null : length;
      const prompts = Array.from({ length: whole(1, 4) }, () => whole(0, length - 1));
      let full: MemoryBank = { conditioning: [...new Set([start, ...prompts])], tracked: [] };
      let pruned = full;
      const walk = ({ next, reverse }: Pass, later: readonly Pass[]) => {
        const step = reverse ? -1 : 1;
        for (let frame = next; frame >= 0 && frame < length; frame += step) {
          if (!full.conditioning.includes(frame)) {
            const question = { frame, reverse, clipLength };
            expect(selectMemories(rules, pruned, question)).toEqual(selectMemories(rules, full, question));
            compared++;
          }
          const how = outcome(share);
          full = add(full, frame, how);
          pruned = pruneMemories(rules, add(pruned, frame, how), [{ next: frame + step, reverse }, ...later]);
          dropped += full.tracked.length - pruned.tracked.length;
        }
      };
      const backwards: Pass = { next: start - 1, reverse: true };
      const again: Pass = { next: start + 1, reverse: false };
      walk(again, [backwards, again]);
      walk(backwards, [again]);
      walk(again, []);
    }
    expect(compared).toBeGreaterThan(5000);
    expect(dropped).toBeGreaterThan(5000);
  });

  it("keeps a bank of 5,000 frames as small as one of 50", () => {
    for (const rules of [SELECTING, NEWEST]) {
      let bank: MemoryBank = { conditioning: [0], tracked: [] };
      let most = 0;
      for (let frame = 1; frame <= 5000; frame++) {
        bank = pruneMemories(rules, add(bank, frame, outcome(0.3)), [
          { next: frame + 1, reverse: false },
          { next: -1, reverse: true },
        ]);
        most = Math.max(most, bank.conditioning.length + bank.tracked.length);
      }
      // Each pass: 4 conditioning frames and at most 16 others.
      expect(most).toBeLessThanOrEqual(40);
      expect(bank.tracked.some(({ frame }) => frame === 5000) || bank.conditioning.includes(5000)).toBe(true);
    }
  });

  it("keeps nothing when no pass is to come", () => {
    const bank = { conditioning: [0], tracked: sure(1, 2) };
    expect(pruneMemories(SELECTING, bank, [])).toEqual({ conditioning: [], tracked: [] });
  });
});
