import { associate } from "./associate.js";
import { stepConfirmation, type Unconfirmed } from "./confirm.js";
import { stepHotstart } from "./hotstart.js";
import { limitObjects } from "./limit-objects.js";
import { stepOcclusion } from "./occlusion.js";
import type { VideoRules } from "./options.js";
import { reconditionedTracks } from "./recondition.js";
import type { Track, VideoState } from "./state.js";

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
    /** The middle of each one's box: x and y as shares of the picture's sides, detection by detection. */
    readonly centres: ArrayLike<number>;
  };
  /** Tracks of `VideoState`, in its order, tracked to this frame. */
  readonly tracks: {
    /** Cells inside each one's cleaned mask. */
    readonly areas: ArrayLike<number>;
    /** Logits of whether each one is there. */
    readonly objectScores: ArrayLike<number>;
  };
  /**
   * Objects that were born on this frame when it was computed before: they are born with their ids again, each of a
   * detection of its prompt with its score. Not in `VideoState`.
   */
  readonly bornBefore: readonly Pick<Track, "id" | "prompt" | "score">[];
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
  /**
   * Ids hotstart takes back: they are in no result of this or an earlier, still held frame, and no longer in the new
   * state. Their masks still take part where this frame's masks give way to each other before they are remembered.
   */
  readonly removed: readonly number[];
  /** Ids whose mask is taken as empty from here on, in memory and in results: they lie over an object that was seen more steadily. */
  readonly hidden: readonly number[];
  /** Ids that stay out of this frame's result only: their keep-alive count is used up. */
  readonly suppressed: readonly number[];
  /**
   * Tracks whose frame becomes a conditioning frame. The detection's mask, as it is, is what results show; what is
   * remembered is the track's cleaned mask (empty where `hidden`), or with `reconditionOnTrackMasks: false` the detection's.
   */
  readonly reconditioned: readonly { readonly id: number; readonly detection: number }[];
  /** Ids of each detection's tracks, in the order of the tracks; all empty on a frame without tracks. */
  readonly matches: readonly (readonly number[])[];
  /** Ids with a mask that no detection matched. */
  readonly unmatched: readonly number[];
  /** Ids with an empty mask. */
  readonly empty: readonly number[];
  /** Objects that no frame is to show, for how many frames; see `confirmationFrames`. */
  readonly unconfirmed: readonly Unconfirmed[];
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
export function planFrame(
  rules: VideoRules,
  state: VideoState,
  input: FrameInput,
): { readonly plan: FramePlan; readonly state: VideoState } {
  const { frame, detections, tracks } = input;
  const found = associate(rules, {
    detections,
    tracks: { prompts: state.tracks.map((track) => track.prompt), areas: tracks.areas },
    iou: input.detectionIou,
  });
  const room = rules.maxObjects - state.tracks.length - input.clickedObjects;
  const fresh = found.fresh.filter((detection) =>
    isInside(rules.boundaryMargin, detections.centres, detection),
  );
  const taken = limitObjects(fresh, detections.scores, room);
  let { nextId } = state;
  const bornBefore = [...input.bornBefore];
  const born = taken.map((detection) => {
    const prompt = detections.prompts[detection] as number;
    const score = detections.scores[detection] as number;
    const again = bornBefore.findIndex(
      (one) => one.prompt === prompt && Math.abs(one.score - score) < SAME_SCORE,
    );
    const id = again >= 0 ? (bornBefore.splice(again, 1)[0] as { id: number }).id : nextId++;
    return { id, detection, prompt, score };
  });

  const hotstart = stepHotstart(rules, state.tracks, { ...input, ...found });
  const { removed } = hotstart;
  const occlusion = stepOcclusion(rules, hotstart.tracks, {
    ...input,
    areas: tracks.areas,
    removed,
    iou: input.trackIou,
  });
  const idOf = (index: number) => (state.tracks[index] as Track).id;
  const matched = new Set(found.matches.flat().map(idOf));
  const staying = occlusion.tracks.filter((track) => !removed.includes(track.id));
  const confirmation = stepConfirmation(rules, staying, matched);
  const reconditioned = reconditionedTracks(rules, frame, found.confirmed, tracks.objectScores)
    .map(({ track, detection }) => ({ id: idOf(track), detection }))
    .filter(({ id }) => !removed.includes(id));

  return {
    plan: {
      born,
      removed,
      hidden: occlusion.hidden,
      suppressed: hotstart.suppressed,
      reconditioned,
      matches: found.matches.map((indices) => indices.map(idOf)),
      unmatched: found.unmatched.map(idOf),
      empty: found.empty.map(idOf),
      unconfirmed: confirmation.unconfirmed,
      dropped: fresh.length - taken.length,
    },
    state: {
      nextId,
      tracks: [...confirmation.tracks, ...born.map((object) => newTrack(rules, frame, object))],
    },
  };
}

/** Scores of one detection, computed twice, differ by rounding at most. */
const SAME_SCORE = 1e-3;

function isInside(margin: number, centres: ArrayLike<number>, detection: number): boolean {
  if (margin <= 0) return true;
  const [x, y] = [centres[2 * detection] as number, centres[2 * detection + 1] as number];
  return [x, y].every((share) => share > margin && share < 1 - margin);
}

function newTrack(rules: VideoRules, frame: number, born: FramePlan["born"][number]): Track {
  return {
    id: born.id,
    prompt: born.prompt,
    score: born.score,
    firstFrame: frame,
    settled: false,
    unmatched: 0,
    seenInRow: 1,
    confirmed: rules.confirmationFrames <= 1,
    keepAlive: rules.keepAliveInitial,
    sharedWith: [],
    lastOccluded: null,
  };
}
