import type { MemoryBank, MemoryRules } from "./memory-bank.js";

/** Where in the clip a track is to be tracked to. */
export interface MemoryQuestion {
  readonly frame: number;
  readonly reverse: boolean;
  /** Frames of the clip; null where that is not known, as in live mode. Clips shorter than `maxObjectPointers` scale ages by their length. */
  readonly clipLength: number | null;
}

/** What to attend to; frames are the bank's. */
export interface MemorySelection {
  /** Memory maps, each with its row of the temporal table; conditioning frames have the last row. */
  readonly memories: readonly { readonly frame: number; readonly row: number }[];
  /** Object pointers, each with its age as a share of the longest; those of conditioning frames can exceed 1. */
  readonly pointers: readonly { readonly frame: number; readonly age: number }[];
}

/**
 * Which of a track's frames to attend to on a frame that is not one of its conditioning frames. Empty for an empty bank.
 *
 * Conditioning frames: the nearest before, the nearest from here on, then the nearest others. Besides, the newest frames
 * in the order of time: those right before this one, or with memory selection those the track was sure of itself on,
 * and the one right before this whatever it shows. A conditioning frame that was not selected counts as one of
 * the others. As in the official code the oldest frame that memory selection finds lends no pointer.
 */
export function selectMemories(
  rules: MemoryRules,
  bank: MemoryBank,
  question: MemoryQuestion,
): MemorySelection {
  const { frame, reverse } = question;
  const { selected, others } = closestConditioningFrames(
    bank.conditioning,
    frame,
    rules.maxConditioningFrames,
  );
  const held = new Set([...others, ...bank.tracked.map((tracked) => tracked.frame)]);
  const pointers = Math.min(question.clipLength ?? Number.POSITIVE_INFINITY, rules.maxObjectPointers);
  const newest = rules.memorySelection
    ? sureFrames(rules, bank.tracked, question, pointers - 1)
    : Array.from({ length: Math.max(rules.memories, pointers) - 1 }, (_, k) => back(question, k + 1));
  const lendingPointers = rules.memorySelection ? newest.slice(0, -1) : newest;
  const oldestAge = Math.max(1, pointers - 1);
  return {
    memories: [
      ...selected.map((at) => ({ frame: at, row: rules.memories - 1 })),
      ...newest
        .slice(0, rules.memories - 1)
        .map((at, row) => ({ frame: at, row }))
        .reverse()
        .filter((memory) => held.has(memory.frame)),
    ],
    pointers: [
      ...selected
        .filter((at) => (reverse ? at >= frame : at <= frame))
        .map((at) => ({ frame: at, age: Math.abs(frame - at) / oldestAge })),
      ...lendingPointers
        .slice(0, pointers - 1)
        .map((at, k) => ({ frame: at, age: (k + 1) / oldestAge }))
        .filter((pointer) => held.has(pointer.frame)),
    ],
  };
}

/** The frame so many steps before this one in the order of time. */
function back({ frame, reverse }: MemoryQuestion, steps: number): number {
  return reverse ? frame + steps : frame - steps;
}

/** Newest first: the frames a track was sure of itself on, at most so many, and the one right before this. */
function sureFrames(
  rules: MemoryRules,
  tracked: MemoryBank["tracked"],
  question: MemoryQuestion,
  most: number,
): readonly number[] {
  const age = (at: number) => (question.reverse ? at - question.frame : question.frame - at);
  const sure = tracked
    .filter((memory) => age(memory.frame) > 0 && memory.effectiveIou > rules.memorySelectionThreshold)
    .map((memory) => memory.frame)
    .sort((a, b) => age(a) - age(b))
    .slice(0, most);
  const last = back(question, 1);
  return sure[0] === last ? sure : [last, ...sure];
}

// Both in the order they came, whatever a larger bank held besides: sums over memories then come out the same.
function closestConditioningFrames(
  frames: readonly number[],
  frame: number,
  most: number,
): { readonly selected: readonly number[]; readonly others: readonly number[] } {
  const before = frames.filter((at) => at < frame);
  const after = frames.filter((at) => at >= frame);
  const sides = [
    ...(before.length > 0 ? [Math.max(...before)] : []),
    ...(after.length > 0 ? [Math.min(...after)] : []),
  ];
  const nearest = frames
    .filter((at) => !sides.includes(at))
    .sort((a, b) => Math.abs(a - frame) - Math.abs(b - frame));
  const chosen = [...sides, ...nearest].slice(0, most);
  return {
    selected: frames.filter((at) => chosen.includes(at)),
    others: frames.filter((at) => !chosen.includes(at)),
  };
}
