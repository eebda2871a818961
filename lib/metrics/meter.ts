import { Histogram, type HistogramSnapshot } from "./histogram.js";

/** What is measured. Times are milliseconds. */
export type Measure =
  /** A public call from beginning to end, by operation. */
  | "call"
  /** A batch on the device, by stage. */
  | "work"
  /** An item's wait for its batch, by stage. */
  | "wait"
  /** Items in a batch, by stage. */
  | "batch";

const MILLISECONDS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 60_000, 120_000, 300_000,
];
const ITEMS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];

/** Upper bounds of a measure's buckets. */
export function boundsOf(measure: Measure): readonly number[] {
  return measure === "batch" ? ITEMS : MILLISECONDS;
}

/** Calls that ended, by how. */
export interface CallCounts {
  /** Calls that run at this moment. */
  readonly inFlight: number;
  readonly ok: number;
  /** Calls whose signal was aborted. */
  readonly aborted: number;
  /** Calls that failed, by error code. */
  readonly failed: Readonly<Record<string, number>>;
}

/** Hears of every value as it is measured. */
export type MeterListener = (measure: Measure, label: string, value: number) => void;

/** Counts and measures; reading it costs nothing to those who are measured. */
export class Meter {
  readonly #histograms = new Map<Measure, Map<string, Histogram>>();
  readonly #calls = new Map<
    string,
    { inFlight: number; ok: number; aborted: number; failed: Map<string, number> }
  >();
  readonly #listeners = new Set<MeterListener>();
  /** Recoveries from too little memory, whether they helped or not. */
  memoryRecoveries = 0;
  /** Work done again elsewhere because its device failed. */
  deviceRetries = 0;

  observe(measure: Measure, label: string, value: number): void {
    const byLabel = this.#histograms.get(measure) ?? new Map<string, Histogram>();
    this.#histograms.set(measure, byLabel);
    const histogram = byLabel.get(label) ?? new Histogram(boundsOf(measure));
    byLabel.set(label, histogram);
    histogram.add(value);
    for (const listener of this.#listeners) listener(measure, label, value);
  }

  /** Counts a call; the function returned is told how it ended: `ok`, `aborted` or an error code. */
  begin(operation: string): (outcome: string) => void {
    const counts = this.#calls.get(operation) ?? { inFlight: 0, ok: 0, aborted: 0, failed: new Map() };
    this.#calls.set(operation, counts);
    const start = performance.now();
    counts.inFlight++;
    return (outcome) => {
      counts.inFlight--;
      if (outcome === "ok" || outcome === "aborted") counts[outcome]++;
      else counts.failed.set(outcome, (counts.failed.get(outcome) ?? 0) + 1);
      this.observe("call", operation, performance.now() - start);
    };
  }

  /** Returns how to have the listener told no more. */
  listen(listener: MeterListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  calls(): Record<string, CallCounts> {
    return Object.fromEntries(
      [...this.#calls].map(([operation, { failed, ...counts }]) => [
        operation,
        { ...counts, failed: Object.fromEntries(failed) },
      ]),
    );
  }

  histograms(measure: Measure): Record<string, HistogramSnapshot> {
    return Object.fromEntries(
      [...(this.#histograms.get(measure) ?? [])].map(([label, histogram]) => [label, histogram.snapshot()]),
    );
  }
}
