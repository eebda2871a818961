import type { VideoRules } from "./options.js";
import { reaches } from "./thresholds.js";

/** Detections and tracks of one frame. */
export interface Candidates {
  /** Prompt and score of each detection. */
  readonly detections: { readonly prompts: ArrayLike<number>; readonly scores: ArrayLike<number> };
  /** Prompt and area of each track. */
  readonly tracks: { readonly prompts: ArrayLike<number>; readonly areas: ArrayLike<number> };
  /** IoU, detection by detection. */
  readonly iou: ArrayLike<number>;
}

/** Who belongs to whom; indices of detections and tracks. */
export interface Association {
  /** Detections that are objects nobody tracks yet. */
  readonly fresh: readonly number[];
  /** Tracks of each detection. */
  readonly matches: readonly (readonly number[])[];
  /** Tracks with a mask that no detection matched. */
  readonly unmatched: readonly number[];
  /** Tracks with an empty mask. */
  readonly empty: readonly number[];
  /** Track to the detection that confirms it: sure of itself and nearly the same mask. The last one where several do. */
  readonly confirmed: ReadonlyMap<number, number>;
}

/**
 * Matches detections with the tracks of their own prompt. One detection can belong to several tracks and the other way
 * round; without any track every detection is fresh, whatever its score.
 */
export function associate(rules: VideoRules, { detections, tracks, iou }: Candidates): Association {
  const trackCount = tracks.areas.length;
  const matches: number[][] = [];
  const fresh: number[] = [];
  const matched = new Set<number>();
  const confirmed = new Map<number, number>();
  for (let detection = 0; detection < detections.scores.length; detection++) {
    const score = detections.scores[detection] as number;
    const own: number[] = [];
    let bestTrack = 0;
    let bestIou = 0;
    for (let track = 0; track < trackCount; track++) {
      if (detections.prompts[detection] !== tracks.prompts[track]) continue;
      const overlap = iou[detection * trackCount + track] as number;
      if (reaches(overlap, rules.associationIou)) own.push(track);
      if (reaches(overlap, rules.matchedIou)) matched.add(track);
      if (overlap > bestIou) [bestTrack, bestIou] = [track, overlap];
    }
    matches.push(own);
    if (trackCount === 0 || (own.length === 0 && reaches(score, rules.newObjectScore))) fresh.push(detection);
    else if (reaches(score, rules.reconditionScore) && reaches(bestIou, rules.reconditionIou))
      confirmed.set(bestTrack, detection);
  }
  const all = Array.from({ length: trackCount }, (_, track) => track);
  const isEmpty = (track: number) => tracks.areas[track] === 0;
  return {
    fresh,
    matches,
    unmatched: all.filter((track) => !isEmpty(track) && !matched.has(track)),
    empty: all.filter(isEmpty),
    confirmed,
  };
}
