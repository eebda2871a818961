// Scores and IoUs come as single-precision numbers; a threshold such as 0.7 has to be rounded like them, or a score of
// exactly 0.7 would not reach it.

/** Whether a single-precision value is at least a threshold. */
export function reaches(value: number, threshold: number): boolean {
  return value >= Math.fround(threshold);
}

/** Whether a single-precision value is above a threshold. */
export function exceeds(value: number, threshold: number): boolean {
  return value > Math.fround(threshold);
}
