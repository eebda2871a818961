import { onAbort, throwIfAborted } from "./abort.js";

/** Bounds of a gate; what is left out is not bounded. */
export interface GateLimits {
  /** Most callers that work at a time. */
  readonly atOnce: number;
  /** While those inside weigh more than this together, nobody else is let in. */
  readonly maxWeight?: number;
  /** Most callers in line; `full` is thrown to one more. */
  readonly maxWaiting?: number;
  readonly full?: (waiting: number) => Error;
  /** Most milliseconds in line, after which `late` is thrown; 0 = as long as it takes. */
  readonly timeoutMs?: number;
  readonly late?: (waitedMs: number) => Error;
}

/** Lets a limited number of callers work at a time; the others wait in line, holding nothing but their place. */
export class Gate {
  readonly #limits: GateLimits;
  readonly #waiting: (() => void)[] = [];
  #inside = 0;
  #weight = 0;

  constructor(limits: GateLimits) {
    this.#limits = limits;
  }

  /** Callers in line. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /**
   * Runs `work` when there is room; it may say what it weighs once it knows. Rejects with the signal's reason when it is
   * aborted in line.
   */
  async pass<T>(
    signal: AbortSignal | undefined,
    work: (weigh: (weight: number) => void) => Promise<T>,
  ): Promise<T> {
    await this.#enter(signal);
    let own = 0;
    try {
      return await work((weight) => {
        this.#weight += weight - own;
        own = weight;
      });
    } finally {
      this.#inside--;
      this.#weight -= own;
      this.#admit();
    }
  }

  #hasRoom(): boolean {
    const { atOnce, maxWeight } = this.#limits;
    // One is always let in, however heavy the last one was.
    return (
      this.#inside < atOnce && (this.#inside === 0 || maxWeight === undefined || this.#weight <= maxWeight)
    );
  }

  #admit(): void {
    while (this.#waiting.length > 0 && this.#hasRoom()) {
      this.#inside++;
      this.#waiting.shift()?.();
    }
  }

  async #enter(signal: AbortSignal | undefined): Promise<void> {
    throwIfAborted(signal);
    if (this.#waiting.length === 0 && this.#hasRoom()) {
      this.#inside++;
      return;
    }
    const { maxWaiting, full, timeoutMs = 0, late } = this.#limits;
    if (maxWaiting !== undefined && full && this.#waiting.length >= maxWaiting)
      throw full(this.#waiting.length);
    const since = performance.now();
    await new Promise<void>((resolve, reject) => {
      const over = () => {
        clearTimeout(timer);
        forget();
      };
      const leave = (error: unknown) => {
        over();
        this.#waiting.splice(this.#waiting.indexOf(admit), 1);
        reject(error);
      };
      const admit = () => {
        over();
        resolve();
      };
      const timer =
        timeoutMs > 0 && late
          ? setTimeout(() => leave(late(performance.now() - since)), timeoutMs)
          : undefined;
      const forget = onAbort(signal, () => leave(signal?.reason));
      this.#waiting.push(admit);
    });
  }
}
