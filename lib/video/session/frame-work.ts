import type { NativeFeatures, NativeMaskRow, NativeRememberRow } from "../../native/addon.js";
import type { VideoRules } from "../rules/options.js";
import type { FramePlan } from "../rules/plan-frame.js";
import type { Track, VideoState } from "../rules/state.js";
import type { StoredObject } from "./result-store.js";
import type { SessionPrompt, SessionTrack } from "./session-track.js";
import type { TrackMemory } from "./track-memories.js";

/** What is to be computed of one frame, and with what. Nothing of the session is changed by computing it. */
export interface FrameWork {
  readonly frame: number;
  readonly features: NativeFeatures;
  readonly reverse: boolean;
  readonly streaming: boolean;
  /** Null where it is not known. */
  readonly clipLength: number | null;
  readonly rules: VideoRules;
  /** Concepts to look for. */
  readonly prompts: readonly SessionPrompt[];
  /** Their live objects, in the order of `state.tracks`. */
  readonly tracks: readonly SessionTrack[];
  /** Objects to track for themselves: those of clicks, and others that were refined. */
  readonly objects: readonly SessionTrack[];
  /** The state of those concepts alone. */
  readonly state: VideoState;
  /** Objects of those concepts that were born on this frame when it was computed before. */
  readonly bornBefore: readonly Track[];
  /** Objects of clicks in the whole session. */
  readonly clickedObjects: number;
}

/** What came of it. The memories are the caller's: `discard` disposes those it does not take. */
export interface FrameOutcome {
  readonly state: VideoState;
  readonly plan: FramePlan;
  /** What objects that were there before keep of this frame. */
  readonly memories: ReadonlyMap<SessionTrack, TrackMemory>;
  /** What the objects born on it keep, by id. */
  readonly births: ReadonlyMap<number, TrackMemory>;
  /** Every object's result, by id, empty masks among them. */
  readonly results: ReadonlyMap<number, StoredObject>;
  /** Disposes the memories. */
  discard(): void;
}

/** One object, tracked to the frame. */
export interface Tracked {
  readonly track: SessionTrack;
  /** As decoded. */
  readonly raw: NativeMaskRow;
  /** With small holes filled and specks removed. */
  readonly cleaned: NativeMaskRow;
  readonly pointers: Pick<NativeRememberRow, "pointers" | "pointerRow">;
  readonly objectScore: number;
  readonly quality: number;
  /** The user showed it on this very frame. */
  readonly prompted: boolean;
}
