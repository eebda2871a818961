import type { MemoryBank, MemoryRules } from "./memory-bank.js";

/** A pass over the clip that goes on, or is still to come. */
export interface Pass {
  /** The frame it tracks to next. */
  readonly next: number;
  readonly reverse: boolean;
}

/**
 * The part of a bank that any of these passes can still need from its next frame on; the rest can go. Per pass that is at
 * most `maxConditioningFrames` and the newest `maxObjectPointers` frames behind it, however long the clip, and the
 * conditioning frames ahead of it.
 */
export function pruneMemories(rules: MemoryRules, bank: MemoryBank, passes: readonly Pass[]): MemoryBank {
  const needed = new Set(passes.flatMap((pass) => neededFrames(rules, bank, pass)));
  return {
    conditioning: bank.conditioning.filter((frame) => needed.has(frame)),
    tracked: bank.tracked.filter(({ frame }) => needed.has(frame)),
  };
}

// Tracked frames ahead are not needed: the pass tracks them anew before it comes past them.
function neededFrames(rules: MemoryRules, bank: MemoryBank, { next, reverse }: Pass): readonly number[] {
  const age = (frame: number) => (reverse ? frame - next : next - frame);
  const newestFirst = (frames: readonly number[]) =>
    frames.filter((frame) => age(frame) > 0).sort((a, b) => age(a) - age(b));
  const reach = Math.max(rules.memories, rules.maxObjectPointers) - 1;
  const behind = newestFirst(bank.conditioning);
  const conditioning = [
    ...bank.conditioning.filter((frame) => age(frame) <= 0),
    ...behind.slice(0, rules.maxConditioningFrames),
  ];
  if (!rules.memorySelection) {
    // Conditioning frames that are not selected count as tracked ones.
    const recent = [...bank.conditioning, ...bank.tracked.map(({ frame }) => frame)];
    return [...conditioning, ...recent.filter((frame) => age(frame) > 0 && age(frame) <= reach)];
  }
  const sure = bank.tracked.filter(({ effectiveIou }) => effectiveIou > rules.memorySelectionThreshold);
  return [
    ...conditioning,
    ...newestFirst(sure.map(({ frame }) => frame)).slice(0, reach),
    ...bank.tracked.map(({ frame }) => frame).filter((frame) => age(frame) === 1),
  ];
}
