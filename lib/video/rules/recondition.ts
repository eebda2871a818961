import type { VideoRules } from "./options.js";
import { exceeds } from "./thresholds.js";

/** The tracks, as indices, whose frame becomes a conditioning frame, each with the detection that confirms it. */
export function reconditionedTracks(
  rules: VideoRules,
  frame: number,
  confirmed: ReadonlyMap<number, number>,
  objectScores: ArrayLike<number>,
): readonly { readonly track: number; readonly detection: number }[] {
  if (rules.reconditionEvery <= 0 || frame % rules.reconditionEvery !== 0) return [];
  return [...confirmed]
    .filter(([track]) => exceeds(objectScores[track] as number, rules.reconditionScore))
    .map(([track, detection]) => ({ track, detection }));
}
