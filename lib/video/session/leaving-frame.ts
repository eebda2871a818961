import { Mask } from "../../masks/mask.js";
import { areaOf } from "../../masks/runs.js";
import { FrameResult, VideoObject } from "../frame-result.js";
import { exclusiveMasks } from "../rules/exclusive-masks.js";
import type { FrameEntry, StoredObject } from "./result-store.js";
import type { SessionCore } from "./session-core.js";
import type { SessionTrack } from "./session-track.js";

/** A frame that is on its way out; results it holds may still be taken back. */
export interface LeavingFrame {
  readonly index: number;
  readonly time: number;
  /** Of the video. */
  readonly size: SessionCore["size"];
  /** The session's, when it was made: after a reset, ids are other objects'. */
  readonly epoch: number;
  readonly objects: readonly StoredObject[];
  /** Ids that were taken back on it. */
  readonly removed: readonly number[];
  /** Objects that are shown as new though the session has not taken them in, by id. */
  readonly newcomers?: ReadonlyMap<number, ShownTrack>;
}

/** What is told of an object beside its mask. */
type ShownTrack = Pick<SessionTrack, "prompt" | "score" | "firstFrame">;

/** What is given out of a frame. */
export interface OutputChoice {
  /** Objects wanted; all when undefined. */
  readonly objects: ReadonlySet<number> | undefined;
  /** Prompts wanted; all when undefined. */
  readonly prompts: ReadonlySet<number> | undefined;
  /** Whether objects that are not to be seen are listed too, with empty masks. */
  readonly empty: boolean;
}

export const ALL_OUTPUTS: OutputChoice = { objects: undefined, prompts: undefined, empty: false };

/** A frame as it is known now. */
export function leavingFrame(
  { size, epoch }: SessionCore,
  { index, time, objects, removed }: FrameEntry,
): LeavingFrame {
  return { index, time, size, epoch, objects: [...objects.values()], removed: [...removed] };
}

/** Makes of a frame what callers get: its live objects by id, pixels given to one object of a concept each. */
export function frameResult(core: SessionCore, frame: LeavingFrame, choice: OutputChoice): FrameResult {
  const { newcomers, size } = frame;
  const { width, height } = size;
  const tracks = frame.epoch === core.epoch ? core.tracks : undefined;
  const trackOf = (id: number): ShownTrack | undefined => newcomers?.get(id) ?? tracks?.get(id);
  const shown = frame.objects
    .filter(({ id }) => trackOf(id) && (newcomers?.has(id) || core.isConfirmed(id, frame.index)))
    .filter(({ area, suppressed }) => choice.empty || (area > 0 && !suppressed))
    .sort((a, b) => a.id - b.id);
  const masks = exclusiveMasks(
    shown.map(({ id, trackScore, counts, suppressed }) => ({
      group: trackOf(id)?.prompt ?? null,
      score: trackScore,
      counts: suppressed ? Uint32Array.of(width * height) : counts,
    })),
  );
  const objects = shown.flatMap(({ id, trackScore }, i) => {
    const track = trackOf(id);
    const counts = masks[i];
    if (!track || !counts) return [];
    if (choice.objects && !choice.objects.has(id)) return [];
    if (choice.prompts && (track.prompt === null || !choice.prompts.has(track.prompt))) return [];
    const { prompt, score, firstFrame } = track;
    return new VideoObject({
      id,
      prompt,
      text: prompt === null ? undefined : core.prompts.get(prompt)?.text,
      score: score ?? trackScore,
      trackScore,
      mask: Mask.trusted(counts, width, height, areaOf(counts)),
      isNew: firstFrame === frame.index,
    });
  });
  return new FrameResult({
    index: frame.index,
    time: frame.time,
    image: { width, height },
    objects,
    removedIds: frame.removed,
  });
}
