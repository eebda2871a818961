import type { VideoRules } from "./options.js";
import type { Track } from "./state.js";

/** What association said of the tracks, as their indices. */
export interface Sightings {
  readonly frame: number;
  readonly reverse: boolean;
  readonly streaming: boolean;
  readonly matches: readonly (readonly number[])[];
  readonly unmatched: readonly number[];
  readonly empty: readonly number[];
}

/**
 * Counts what happened to each track on a frame and says which young ones were a mistake: those that detection did not
 * see again and again, and those that share their detections with an older one. Only counts are kept, not frames: when a
 * count reaches its limit is all a decision ever looks at.
 */
export function stepHotstart(
  rules: VideoRules,
  tracks: readonly Track[],
  sightings: Sightings,
): {
  readonly tracks: readonly Track[];
  readonly removed: readonly number[];
  readonly suppressed: readonly number[];
} {
  const { frame, reverse, streaming } = sightings;
  const matched = new Set(sightings.matches.flat());
  const unmatched = new Set(sightings.unmatched);
  const empty = new Set(rules.decreaseKeepAliveForEmpty ? sightings.empty : []);
  const shares = sharedDetections(tracks, sightings.matches, reverse);

  const counted = tracks.map((track, index): Track => {
    let { keepAlive } = track;
    if (matched.has(index)) keepAlive = Math.min(rules.keepAliveMax, keepAlive + 1);
    if (unmatched.has(index)) keepAlive = Math.max(rules.keepAliveMin, keepAlive - 1);
    if (empty.has(index)) keepAlive = Math.max(rules.keepAliveMin, keepAlive - 1);
    return {
      ...track,
      keepAlive,
      unmatched: track.unmatched + (unmatched.has(index) ? 1 : 0),
      sharedWith: addShares(track.sharedWith, shares.get(index) ?? []),
    };
  });

  const isYoung = (track: Track) =>
    reverse ? track.firstFrame < frame + rules.hotstartDelay : track.firstFrame > frame - rules.hotstartDelay;
  const isMistake = (track: Track) =>
    (track.unmatched > 0 && track.unmatched >= rules.hotstartUnmatched) ||
    track.sharedWith.some(({ frames }) => frames >= rules.hotstartDuplicate);
  const isRemoved = (track: Track) => !streaming && !track.settled && isYoung(track) && isMistake(track);
  const isUsedUp = (track: Track) =>
    !rules.suppressUnmatchedOnlyWithinHotstart && track.unmatched > 0 && track.keepAlive <= 0;

  const ids = (test: (track: Track) => boolean) => counted.filter(test).map((track) => track.id);
  return {
    tracks: counted,
    removed: ids(isRemoved),
    suppressed: ids((track) => isUsedUp(track) && !isRemoved(track)),
  };
}

/** Of each track, the older ones it shares a detection with, once per detection. */
function sharedDetections(
  tracks: readonly Track[],
  matches: readonly (readonly number[])[],
  reverse: boolean,
): ReadonlyMap<number, readonly number[]> {
  const shares = new Map<number, number[]>();
  const birth = (index: number) => (tracks[index] as Track).firstFrame * (reverse ? -1 : 1);
  for (const together of matches) {
    if (together.length < 2) continue;
    const oldest = together.reduce((best, index) => (birth(index) < birth(best) ? index : best));
    for (const index of together)
      if (index !== oldest) shares.set(index, [...(shares.get(index) ?? []), (tracks[oldest] as Track).id]);
  }
  return shares;
}

function addShares(counts: Track["sharedWith"], ids: readonly number[]): Track["sharedWith"] {
  if (ids.length === 0) return counts;
  const frames = new Map(counts.map((count) => [count.id, count.frames]));
  for (const id of ids) frames.set(id, (frames.get(id) ?? 0) + 1);
  return [...frames].map(([id, count]) => ({ id, frames: count }));
}
