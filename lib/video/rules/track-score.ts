/**
 * A track's score on a frame, 0–1, from its object score logit. In single precision, as everywhere upstream: there two
 * tracks that are sure of themselves are often equal. On the frame an object is born its detection's score stands in.
 */
export function trackScore(objectScore: number): number {
  return Math.fround(1 / (1 + Math.exp(-objectScore)));
}
