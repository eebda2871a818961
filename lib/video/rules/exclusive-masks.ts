import { overlapOf, subtract, unite } from "../../masks/runs.js";

/** One object's mask on one frame. */
export interface RivalMask {
  /** Objects of one group give way to each other; null = of no group. */
  readonly group: number | null;
  /** The track's score on this frame, 0–1; see `trackScore` (track-score.ts). */
  readonly score: number;
  /** COCO run lengths; all of one size. */
  readonly counts: Uint32Array;
}

/**
 * Gives every pixel that several objects of a group claim to the one with the highest score, the first of equal ones.
 * The answer has the masks' order; masks that lose nothing come back as they are.
 */
export function exclusiveMasks(masks: readonly RivalMask[]): readonly Uint32Array[] {
  const result = masks.map((mask) => mask.counts);
  const taken = new Map<number, Uint32Array>();
  const score = (index: number) => Math.fround((masks[index] as RivalMask).score);
  const bestFirst = masks.map((_, index) => index).sort((a, b) => score(b) - score(a));
  for (const index of bestFirst) {
    const { group, counts } = masks[index] as RivalMask;
    if (group === null) continue;
    const before = taken.get(group);
    if (before !== undefined && overlapOf(counts, before) > 0) result[index] = subtract(counts, before);
    taken.set(group, before === undefined ? counts : unite(counts, before));
  }
  return result;
}
