import type { VideoRules } from "./options.js";
import type { VideoState } from "./state.js";

/** What was detected and tracked on one frame. */
export interface FrameInput {
  /** Frame number. */
  readonly frame: number;
  /** Whether time runs backwards in this pass. */
  readonly reverse: boolean;
  /** Frames come live: there is no later frame to wait for, so nothing is taken back. */
  readonly streaming: boolean;
  /** Objects of clicks in the session; they count towards `maxObjects`. */
  readonly clickedObjects: number;
  /** Detections above `scoreThreshold`, prompt by prompt. */
  readonly detections: {
    /** The caller's number of each one's prompt; the one `Track.prompt` gets. */
    readonly prompts: ArrayLike<number>;
    /** 0–1. */
    readonly scores: ArrayLike<number>;
  };
  /** Tracks of `VideoState`, in its order, tracked to this frame. */
  readonly tracks: {
    /** Cells inside each one's cleaned mask. */
    readonly areas: ArrayLike<number>;
    /** Logits of whether each one is there. */
    readonly objectScores: ArrayLike<number>;
  };
  /** IoU of every detection with every cleaned track, detection by detection. */
  readonly detectionIou: ArrayLike<number>;
  /** IoU of every cleaned track with every other, track by track; null where `needsTrackIou` says it is not needed. */
  readonly trackIou: ArrayLike<number> | null;
}

/** What is to be done about one frame. Indices are those of the input's detections, ids those of tracks. */
export interface FramePlan {
  /** Objects born on this frame, in the order of their ids. */
  readonly born: readonly {
    readonly id: number;
    readonly detection: number;
    readonly prompt: number;
    readonly score: number;
  }[];
  /** Ids hotstart takes back: they are in no result of this or an earlier, still held frame. No longer in the new state. */
  readonly removed: readonly number[];
  /** Ids whose mask is taken as empty from here on, in memory and in results: they lie over an object that was seen more steadily. */
  readonly hidden: readonly number[];
  /** Ids that stay out of this frame's result only: their keep-alive count is used up. */
  readonly suppressed: readonly number[];
  /**
   * Tracks whose frame becomes a conditioning frame. The detection's mask, as it is, is what results show; what is
   * remembered is the track's cleaned mask (empty where `hidden`), or with `reconditionOnTrackMasks: false` the detection's
   * (logit >= 0.5).
   */
  readonly reconditioned: readonly { readonly id: number; readonly detection: number }[];
  /** Ids of each detection's tracks, in the order of the tracks; all empty on a frame without tracks. */
  readonly matches: readonly (readonly number[])[];
  /** Ids with a mask that no detection matched. */
  readonly unmatched: readonly number[];
  /** Ids with an empty mask. */
  readonly empty: readonly number[];
  /** Detections that would have been objects, over `maxObjects`. */
  readonly dropped: number;
}

/**
 * Decides about one frame what transformers' `run_tracker_update_planning_phase` decides, without its tensors: which
 * detections are new objects, which objects are taken back, hidden or strengthened.
 *
 * @example
 * ```ts
 * const { plan, state } = planFrame(rules, session.state, input);
 * for (const { id, detection } of plan.born) seed(id, detection);
 * ```
 */
export declare function planFrame(
  rules: VideoRules,
  state: VideoState,
  input: FrameInput,
): { readonly plan: FramePlan; readonly state: VideoState };

/** Whether the coming frame's plan depends on how its tracks overlap: where two of one prompt were hidden or gone before. */
export declare function needsTrackIou(rules: VideoRules, state: VideoState): boolean;
