/** Counts of values up to each bound. */
export interface HistogramSnapshot {
  readonly count: number;
  readonly sum: number;
  /** Half of the values are at most about this; 0 when there are none. */
  readonly p50: number;
  readonly p99: number;
  /** `[bound, number of values up to it]`, bounds rising; values above the last bound are in `count` only. */
  readonly buckets: readonly (readonly [bound: number, count: number])[];
}

/** Counts values in fixed buckets: a few hundred bytes, however many values there are. */
export class Histogram {
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  #count = 0;
  #sum = 0;
  #max = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = bounds.map(() => 0);
  }

  add(value: number): void {
    this.#count++;
    this.#sum += value;
    this.#max = Math.max(this.#max, value);
    const bucket = this.#bounds.findIndex((bound) => value <= bound);
    if (bucket !== -1) (this.#counts[bucket] as number)++;
  }

  snapshot(): HistogramSnapshot {
    let below = 0;
    const buckets = this.#bounds.map((bound, i) => {
      below += this.#counts[i] as number;
      return [bound, below] as const;
    });
    return {
      count: this.#count,
      sum: this.#sum,
      p50: this.#quantile(0.5),
      p99: this.#quantile(0.99),
      buckets,
    };
  }

  /** Straight line between the bounds of the bucket the share falls into. */
  #quantile(share: number): number {
    const wanted = share * this.#count;
    let below = 0;
    for (let i = 0; i < this.#bounds.length; i++) {
      const here = this.#counts[i] as number;
      if (here > 0 && below + here >= wanted) {
        const from = i === 0 ? 0 : (this.#bounds[i - 1] as number);
        const to = Math.min(this.#bounds[i] as number, this.#max);
        return from + (Math.max(from, to) - from) * ((wanted - below) / here);
      }
      below += here;
    }
    return this.#max;
  }
}
