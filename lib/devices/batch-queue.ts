import { onAbort, throwIfAborted } from "../abort.js";
import { Sam3Error } from "../errors.js";

/** How items wait and gather. */
export interface BatchLimits {
  /** Most items in one batch. */
  readonly maxBatch: number;
  /** Most milliseconds an item waits for others while the device is idle. */
  readonly maxDelayMs: number;
  /** Most milliseconds an item waits for its turn; 0 = as long as it takes. */
  readonly queueTimeoutMs: number;
}

/** One item on its way through a stage. */
export interface BatchItem<I, O> {
  readonly input: I;
  /** Called when the item is stopped while it runs. */
  cancel: () => void;
  resolve(value: O): void;
  reject(error: unknown): void;
}

/** Runs a batch of one stage: settles every item, never rejects. */
export type BatchRunner<S extends string> = (
  stage: S,
  items: readonly BatchItem<never, never>[],
) => Promise<void>;

/** What is seen of a batch when it starts. */
export interface BatchSeen<S extends string> {
  readonly stage: S;
  readonly items: number;
  /** Milliseconds each item waited. */
  readonly waitedMs: readonly number[];
}

/** Who asks. */
export interface Asker {
  /** Stops the item. */
  readonly signal?: AbortSignal | undefined;
  /** When the call it belongs to began; now when left out. */
  readonly startedAt?: number | undefined;
}

interface Waiting extends BatchItem<never, never> {
  /** When it came. */
  readonly since: number;
  /** When its call began. */
  readonly startedAt: number;
}

/** Batches given to the device at once: one runs, the next lies ready. More would only make later decisions impossible. */
const DEPTH = 2;

/**
 * Gathers what a replica is asked into batches, each stage apart. While the device works, items wait and gather by
 * themselves. While it is idle, an item waits for others only if some are known to be on their way (`expect`), and never
 * longer than the delay; a lone call is not held up. Older calls go first, so that what was begun is finished before
 * more is begun: a thousand calls must not hold a thousand pictures' features. How many may wait is decided where calls
 * come in (`Admission`): an item of a call that was let in is never refused.
 */
export class BatchQueue<S extends string> {
  readonly #limits: (stage: S) => BatchLimits;
  readonly #run: BatchRunner<S>;
  readonly #seen: (batch: BatchSeen<S>) => void;
  readonly #waiting = new Map<S, Waiting[]>();
  readonly #expected = new Map<S, number>();
  #running = 0;
  #runningItems = 0;
  #timer: NodeJS.Timeout | undefined;
  #turn: NodeJS.Immediate | undefined;
  #closedBy: unknown;

  constructor(
    limits: (stage: S) => BatchLimits,
    run: BatchRunner<S>,
    seen: (batch: BatchSeen<S>) => void = () => {},
  ) {
    this.#limits = limits;
    this.#run = run;
    this.#seen = seen;
  }

  /** Items that wait or run, and calls on their way: how busy the replica is. */
  get load(): number {
    let load = this.#runningItems;
    for (const items of this.#waiting.values()) load += items.length;
    for (const calls of this.#expected.values()) load += calls;
    return load;
  }

  /** Items that run at this moment. */
  get running(): number {
    return this.#runningItems;
  }

  waiting(stage: S): number {
    return this.#waiting.get(stage)?.length ?? 0;
  }

  /** Says that an item will come to a stage soon; call what is returned when it has come, or will not. */
  expect(stage: S): () => void {
    this.#expected.set(stage, (this.#expected.get(stage) ?? 0) + 1);
    let over = false;
    return () => {
      if (over) return;
      over = true;
      this.#expected.set(stage, (this.#expected.get(stage) ?? 1) - 1);
      this.#soon();
    };
  }

  /**
   * Puts an item in line. The promise settles when the work on it has really ended; while it waits it is rejected as
   * soon as the signal is aborted.
   */
  submit<I, O>(stage: S, input: I, { signal, startedAt }: Asker = {}): Promise<O> {
    return new Promise<O>((resolve, reject) => {
      throwIfAborted(signal);
      if (this.#closedBy !== undefined) throw this.#closedBy;
      const line = this.#line(stage);
      const since = performance.now();
      const leave = (error: unknown) => {
        const index = line.indexOf(item);
        if (index === -1) {
          item.cancel();
          return;
        }
        line.splice(index, 1);
        item.reject(error);
        this.#soon();
      };
      const { queueTimeoutMs } = this.#limits(stage);
      const timer =
        queueTimeoutMs > 0
          ? setTimeout(() => {
              if (line.includes(item)) leave(queueTimeout(stage, performance.now() - since));
            }, queueTimeoutMs)
          : undefined;
      const over = () => {
        clearTimeout(timer);
        forget();
      };
      const item: Waiting = {
        since,
        startedAt: startedAt ?? since,
        input: input as never,
        cancel: () => {},
        resolve: (value: O) => {
          over();
          resolve(value);
        },
        reject: (error) => {
          over();
          // What a stopped item failed with is that it was stopped.
          reject(signal?.aborted ? signal.reason : error);
        },
      };
      let place = line.length;
      while (place > 0 && (line[place - 1] as Waiting).startedAt > item.startedAt) place--;
      line.splice(place, 0, item);
      const forget = onAbort(signal, () => leave(signal?.reason));
      this.#soon();
    });
  }

  /** Rejects everything that waits, and whatever comes later. */
  close(error: unknown): void {
    if (this.#closedBy !== undefined) return;
    this.#closedBy = error;
    clearTimeout(this.#timer);
    for (const line of this.#waiting.values()) for (const item of line.splice(0)) item.reject(error);
  }

  #line(stage: S): Waiting[] {
    let line = this.#waiting.get(stage);
    if (!line) {
      line = [];
      this.#waiting.set(stage, line);
    }
    return line;
  }

  /** Decides after everything that happens at this moment has happened, so that calls made together go together. */
  #soon(): void {
    this.#turn ??= setImmediate(() => {
      this.#turn = undefined;
      this.#decide();
    });
  }

  #decide(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#running < DEPTH) {
      const stage = this.#nextStage();
      if (stage === undefined) break;
      this.#start(stage);
    }
    if (this.#running >= DEPTH) return;
    let due = Number.POSITIVE_INFINITY;
    for (const [stage, line] of this.#waiting) {
      due = Math.min(due, oldestOf(line) + this.#limits(stage).maxDelayMs);
    }
    if (due === Number.POSITIVE_INFINITY) return;
    const wait = due - performance.now();
    // What is due and still waits, waits for the device: its end decides anew.
    if (wait > 0) this.#timer = setTimeout(() => this.#decide(), Math.max(1, wait));
  }

  /**
   * The stage of the oldest call, of those that need not wait on. While the device works, only the oldest of all: until
   * it is idle nothing is gained by sending a younger one ahead.
   */
  #nextStage(): S | undefined {
    const now = performance.now();
    let best: { stage: S; startedAt: number } | undefined;
    for (const [stage, line] of this.#waiting) {
      const startedAt = line[0]?.startedAt;
      if (startedAt === undefined || (best && best.startedAt <= startedAt)) continue;
      if (this.#running > 0 || this.#isReady(stage, line, now)) best = { stage, startedAt };
    }
    if (!best) return undefined;
    return this.#isReady(best.stage, this.#line(best.stage), now) ? best.stage : undefined;
  }

  #isReady(stage: S, line: readonly Waiting[], now: number): boolean {
    const { maxBatch, maxDelayMs } = this.#limits(stage);
    if (line.length >= maxBatch) return true;
    if (this.#running === 0 && (this.#expected.get(stage) ?? 0) === 0) return true;
    // Half a millisecond, because timers count in whole ones.
    return now - oldestOf(line) >= maxDelayMs - 0.5;
  }

  #start(stage: S): void {
    const items = this.#line(stage).splice(0, this.#limits(stage).maxBatch);
    const now = performance.now();
    this.#running++;
    this.#runningItems += items.length;
    this.#seen({ stage, items: items.length, waitedMs: items.map(({ since }) => now - since) });
    void this.#run(stage, items).finally(() => {
      this.#running--;
      this.#runningItems -= items.length;
      this.#soon();
    });
  }
}

function oldestOf(line: readonly Waiting[]): number {
  return line.reduce((oldest, { since }) => Math.min(oldest, since), Number.POSITIVE_INFINITY);
}

/** The error of an item that waited too long for its turn. */
export function queueTimeout(stage: string, waitedMs: number): Sam3Error {
  return new Sam3Error(
    "TIMEOUT",
    `The call waited ${Math.round(waitedMs)} ms for its turn at "${stage}", longer than queueTimeoutMs (SAM3_QUEUE_TIMEOUT_MS) allows. Send less at once, or allow more.`,
    { details: { stage, waitedMs: Math.round(waitedMs) } },
  );
}
