import { Sam3Error } from "../../errors.js";
import type { VideoRules } from "./options.js";
import type { Track } from "./state.js";
import { reaches } from "./thresholds.js";

/** The tracks' masks on one frame. */
export interface Appearance {
  readonly frame: number;
  readonly reverse: boolean;
  readonly areas: ArrayLike<number>;
  /** Ids hotstart takes back on this frame. */
  readonly removed: readonly number[];
  /** IoU, track by track; null where `needsTrackIou` is false. */
  readonly iou: ArrayLike<number> | null;
}

/**
 * Of two objects of a prompt with nearly the same mask, both of which were gone or hidden before, hides the one that
 * was so last: it is the one that jumped onto the other. Also notes who is gone or hidden on this frame.
 *
 * Backwards in time "last" means last in the order of the pass. transformers turns the comparison round there, but not
 * its "never" (-1), so that an object that was never gone loses against one that was; that is not followed.
 */
export function stepOcclusion(
  rules: VideoRules,
  tracks: readonly Track[],
  appearance: Appearance,
): { readonly tracks: readonly Track[]; readonly hidden: readonly number[] } {
  if (rules.recentOcclusionIou <= 0) return { tracks, hidden: [] };
  const hidden = new Set(overlappedTracks(rules, tracks, appearance));
  return {
    tracks: tracks.map((track, index) => ({
      ...track,
      lastOccluded:
        hidden.has(index) || appearance.areas[index] === 0 ? appearance.frame : (track.lastOccluded ?? NEVER),
    })),
    hidden: tracks.filter((_, index) => hidden.has(index)).map((track) => track.id),
  };
}

/** Whether the coming frame's plan depends on how its tracks overlap: where two of one prompt were hidden or gone before. */
export function needsTrackIou(rules: VideoRules, state: { readonly tracks: readonly Track[] }): boolean {
  if (rules.recentOcclusionIou <= 0) return false;
  const prompts = state.tracks
    // A track that hotstart takes back on the first frame it is tracked to counts as hidden.
    .filter(({ lastOccluded }) => (lastOccluded === null ? rules.hotstartDelay > 0 : lastOccluded !== NEVER))
    .map((track) => track.prompt);
  return new Set(prompts).size < prompts.length;
}

const NEVER = -1;

function overlappedTracks(rules: VideoRules, tracks: readonly Track[], appearance: Appearance): number[] {
  if (!needsTrackIou(rules, { tracks })) return [];
  const { iou, removed, reverse } = appearance;
  if (iou === null) throw new Sam3Error("INTERNAL", "The overlap of tracks is needed and was not given.");
  // The later in the order of the pass, the larger; null cannot win or lose.
  const lastGone = tracks.map(({ id, lastOccluded }) => {
    if (lastOccluded === null) return removed.includes(id) ? Number.POSITIVE_INFINITY : null;
    if (lastOccluded === NEVER) return null;
    return reverse ? -lastOccluded : lastOccluded;
  });
  const all = tracks.map((_, index) => index);
  return all.filter((index) =>
    all.some((other) => {
      const [own, others] = [lastGone[index] ?? null, lastGone[other] ?? null];
      if (own === null || others === null || own <= others) return false;
      if ((tracks[index] as Track).prompt !== (tracks[other] as Track).prompt) return false;
      return reaches(iou[index * tracks.length + other] as number, rules.recentOcclusionIou);
    }),
  );
}
