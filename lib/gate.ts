import { onAbort, throwIfAborted } from "./abort.js";

/** Bounds of a gate; what is left out is not bounded. */
export interface GateLimits {
  /** Most callers that work at a time. */
  readonly atOnce?: number;
  /** While those inside weigh more than this together, nobody else is let in. */
  readonly maxWeight?: number;
  /** Most milliseconds in line, after which `late` is thrown; 0 = as long as it takes. */
  readonly timeoutMs?: number;
  readonly late?: (waitedMs: number) => Error;
}

interface InLine {
  readonly weight: number;
  readonly admit: () => void;
}

/** Lets a limited number of callers work at a time; the others wait in line, holding nothing but their place. */
export class Gate {
  readonly #limits: GateLimits;
  readonly #waiting: InLine[] = [];
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
   * Runs `work` when there is room. Rejects with the signal's reason when it is aborted in line.
   *
   * @param work may correct what it weighs once it knows
   * @param weight what it weighs as far as is known before; counted from the moment it is let in
   */
  async pass<T>(
    signal: AbortSignal | undefined,
    work: (weigh: (weight: number) => void) => Promise<T>,
    weight = 0,
  ): Promise<T> {
    await this.#enter(signal, weight);
    let own = weight;
    try {
      return await work((known) => {
        this.#weight += known - own;
        own = known;
      });
    } finally {
      this.#inside--;
      this.#weight -= own;
      this.#admit();
    }
  }

  #hasRoom(): boolean {
    const { atOnce = Number.POSITIVE_INFINITY, maxWeight = Number.POSITIVE_INFINITY } = this.#limits;
    // One is always let in, however heavy the last one was.
    return this.#inside === 0 || (this.#inside < atOnce && this.#weight <= maxWeight);
  }

  #letIn(weight: number): void {
    this.#inside++;
    this.#weight += weight;
  }

  #admit(): void {
    while (this.#hasRoom()) {
      const next = this.#waiting.shift();
      if (!next) return;
      this.#letIn(next.weight);
      next.admit();
    }
  }

  async #enter(signal: AbortSignal | undefined, weight: number): Promise<void> {
    throwIfAborted(signal);
    if (this.#waiting.length === 0 && this.#hasRoom()) {
      this.#letIn(weight);
      return;
    }
    const { timeoutMs = 0, late } = this.#limits;
    const since = performance.now();
    await new Promise<void>((resolve, reject) => {
      const over = () => {
        clearTimeout(timer);
        forget();
      };
      const leave = (error: unknown) => {
        over();
        this.#waiting.splice(this.#waiting.indexOf(inLine), 1);
        reject(error);
      };
      const inLine: InLine = {
        weight,
        admit: () => {
          over();
          resolve();
        },
      };
      const timer =
        timeoutMs > 0 && late
          ? setTimeout(() => leave(late(performance.now() - since)), timeoutMs)
          : undefined;
      const forget = onAbort(signal, () => leave(signal?.reason));
      this.#waiting.push(inLine);
    });
  }
}
