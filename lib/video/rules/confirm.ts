import type { VideoRules } from "./options.js";
import type { Track } from "./state.js";

/** Frames of a track that are shown to nobody: so many, the one that was planned being the last of them. */
export interface Unconfirmed {
  readonly id: number;
  readonly frames: number;
}

/**
 * Counts on how many frames in a row each track had a detection: one that had for long enough is confirmed for good, and shown
 * from the first of them. Gives the frames that ended in none.
 */
export function stepConfirmation(
  { confirmationFrames }: Pick<VideoRules, "confirmationFrames">,
  tracks: readonly Track[],
  matched: ReadonlySet<number>,
): { readonly tracks: readonly Track[]; readonly unconfirmed: readonly Unconfirmed[] } {
  const unconfirmed: Unconfirmed[] = [];
  const counted = tracks.map((track) => {
    if (track.confirmed) return track;
    if (matched.has(track.id)) {
      const seenInRow = track.seenInRow + 1;
      return { ...track, seenInRow, confirmed: seenInRow >= confirmationFrames };
    }
    unconfirmed.push({ id: track.id, frames: track.seenInRow + 1 });
    return { ...track, seenInRow: 0 };
  });
  return { tracks: counted, unconfirmed };
}
