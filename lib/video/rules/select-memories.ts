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

/** Which of a track's frames to attend to on a frame that is not one of its conditioning frames. Empty for an empty bank. */
export declare function selectMemories(
  rules: MemoryRules,
  bank: MemoryBank,
  question: MemoryQuestion,
): MemorySelection;
