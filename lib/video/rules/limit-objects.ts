/**
 * The detections there is room for: all in their order, or else the best ones, best first (of equal scores the first).
 */
export function limitObjects(
  fresh: readonly number[],
  scores: ArrayLike<number>,
  room: number,
): readonly number[] {
  if (fresh.length <= room) return fresh;
  const score = (detection: number) => scores[detection] as number;
  return [...fresh].sort((a, b) => score(b) - score(a)).slice(0, Math.max(0, room));
}
