/**
 * How much a frame is worth remembering, 0–1: the guessed IoU of its mask times how sure the track is to be there at
 * all (the logit's probability, 0.5 taken as nothing). The official tracker means it over objects born together; here
 * every track has its own.
 */
export function effectiveIou(objectScore: number, quality: number): number {
  if (objectScore <= 0) return 0;
  return (2 / (1 + Math.exp(-objectScore)) - 1) * quality;
}
