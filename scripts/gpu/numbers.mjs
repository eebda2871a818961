// Small sums over measurements.

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Runs `work` some times to warm up, then `rounds` times; the median of the milliseconds it returns. */
export async function medianOf({ warmUp, rounds }, work) {
  const values = [];
  for (let round = -warmUp; round < rounds; round++) {
    const ms = await work(round + warmUp);
    if (round >= 0) values.push(ms);
  }
  return median(values);
}
