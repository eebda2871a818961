import type { VideoRules } from "./options.js";

/** The frames one track has memories of. A frame is in one of the lists at most. */
export interface MemoryBank {
  /** Frames with prompts, of births and of reconditioning, in the order they became so. */
  readonly conditioning: readonly number[];
  /** Other frames it was tracked to, in any order. */
  readonly tracked: readonly TrackedFrame[];
}

export interface TrackedFrame {
  readonly frame: number;
  /** How sure the track was of itself there; see `effectiveIou`. Not used without memory selection. */
  readonly effectiveIou: number;
}

/** What the number of memories depends on. */
export type MemoryRules = Pick<
  VideoRules,
  "memories" | "maxConditioningFrames" | "maxObjectPointers" | "memorySelection" | "memorySelectionThreshold"
>;
