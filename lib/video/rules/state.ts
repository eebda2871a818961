/**
 * What the policy keeps from frame to frame: plain JSON, so that a session can be saved, and no larger than the live
 * tracks need, however long the clip is. Only objects found by concept prompts are in it; objects made by clicks are
 * nobody's group and follow no rule, they only take their ids from it (`takeId`).
 */
export interface VideoState {
  /** The id the next object gets, of a concept or of clicks. Counts up, never reused. */
  readonly nextId: number;
  /** Live tracks, in the order they were born; `FrameInput` speaks of them in this order. */
  readonly tracks: readonly Track[];
}

/** One live object of a concept prompt. */
export interface Track {
  readonly id: number;
  /** Whose object it is: the caller's number of the prompt. Prompts do not see each other's objects. */
  readonly prompt: number;
  /** Score of the detection it was born from, 0–1. */
  readonly score: number;
  /** Frame it was born on. */
  readonly firstFrame: number;
  /** Never taken back by hotstart any more; see `settleTracks`. */
  readonly settled: boolean;
  /** Frames on which it had a mask that no detection matched. */
  readonly unmatched: number;
  /** On how many frames in a row it had a detection; counted until it is confirmed. */
  readonly seenInRow: number;
  /** It had a detection on `confirmationFrames` frames in a row, or the user showed it. */
  readonly confirmed: boolean;
  /** Up with every match, down with every unmatched frame. */
  readonly keepAlive: number;
  /** On how many frames it shared a detection with each older object. */
  readonly sharedWith: readonly { readonly id: number; readonly frames: number }[];
  /** Last frame on which its mask was empty or hidden; -1 = on none so far; null = not tracked to any frame yet. */
  readonly lastOccluded: number | null;
}

/** The state of a session that has seen nothing. The first object gets id 0, as in transformers. */
export const EMPTY_STATE: VideoState = { nextId: 0, tracks: [] };

/** An id for an object that clicks, a box or a mask make. */
export function takeId(state: VideoState): { readonly id: number; readonly state: VideoState } {
  return { id: state.nextId, state: { ...state, nextId: state.nextId + 1 } };
}

/** The state without the objects the caller took away; ids that are not in it are ignored. */
export function removeTracks(state: VideoState, ids: Iterable<number>): VideoState {
  const gone = new Set(ids);
  return { ...state, tracks: state.tracks.filter((track) => !gone.has(track.id)) };
}

/** Marks objects the user showed, or corrected: they are what they are, whatever detection says. */
export function vouchFor(state: VideoState, ids: Iterable<number>): VideoState {
  const shown = new Set(ids);
  return {
    ...state,
    tracks: state.tracks.map((track) =>
      shown.has(track.id) ? { ...track, settled: true, confirmed: true } : track,
    ),
  };
}

/**
 * Marks objects hotstart shall not take back any more. Call it for objects that were given out, and for all objects when
 * the direction of time changes: their frames were given out, and what they missed in one direction says nothing about
 * the other. (transformers knows no such thing: it counts on, and takes a long-lived object back at once if the
 * other pass began within `hotstartDelay` frames of its birth.)
 */
export function settleTracks(state: VideoState, ids: Iterable<number>): VideoState {
  const settled = new Set(ids);
  return {
    ...state,
    tracks: state.tracks.map((track) => (settled.has(track.id) ? { ...track, settled: true } : track)),
  };
}
