import type { MemoryBank, MemoryRules } from "./memory-bank.js";

/** A pass over the clip that goes on, or is still to come. */
export interface Pass {
  /** The frame it tracks to next. */
  readonly next: number;
  readonly reverse: boolean;
}

/**
 * The part of a bank that any of these passes can still need from its next frame on; the rest can go. What it keeps per
 * pass is bounded whatever the clip's length: at most `maxConditioningFrames` conditioning frames behind, those ahead
 * (only prompts are), and at most `maxObjectPointers` other frames.
 */
export declare function pruneMemories(
  rules: MemoryRules,
  bank: MemoryBank,
  passes: readonly Pass[],
): MemoryBank;
