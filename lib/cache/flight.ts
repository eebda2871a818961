import { onAbort } from "../abort.js";

/**
 * Work that several callers wait for. One that leaves does not disturb the others; when the last one leaves, the work is
 * told to stop. Each gets a claim of its own on what was made.
 */
export class Flight<T, C> {
  readonly #work: (signal: AbortSignal) => Promise<T>;
  readonly #stop = new AbortController();
  readonly #waiting = new Set<{ resolve: (made: T) => void; reject: (error: unknown) => void }>();
  readonly #ended: { promise: Promise<void>; resolve: () => void };
  /** What it makes is thrown away after this use. */
  stale = false;

  constructor(work: (signal: AbortSignal) => Promise<T>) {
    this.#work = work;
    let resolve = () => {};
    const promise = new Promise<void>((done) => {
      resolve = done;
    });
    this.#ended = { promise, resolve };
  }

  /** Nobody waits any more, and the work was told to stop. */
  get abandoned(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Fulfilled when the work has ended, however. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Begins the work. `left` is given what was made after everyone who waited has claimed it. */
  start(left: (made: T) => void): void {
    // In a promise, so that what the work throws at once is a rejection as well.
    Promise.resolve()
      .then(() => this.#work(this.#stop.signal))
      .then(
        (made) => {
          for (const { resolve } of this.#waiting) resolve(made);
          this.#waiting.clear();
          left(made);
        },
        (error: unknown) => {
          for (const { reject } of this.#waiting) reject(error);
          this.#waiting.clear();
        },
      )
      .finally(() => this.#ended.resolve());
  }

  /** Waits for the work; `claim` is called at the moment it is done, before anything else can happen to what was made. */
  join(signal: AbortSignal | undefined, claim: (made: T) => C): Promise<C> {
    return new Promise<C>((resolve, reject) => {
      const leave = () => {
        this.#waiting.delete(waiter);
        reject(signal?.reason);
        if (this.#waiting.size === 0) this.#stop.abort(signal?.reason);
      };
      const waiter = {
        resolve: (made: T) => {
          forget();
          resolve(claim(made));
        },
        reject: (error: unknown) => {
          forget();
          reject(error);
        },
      };
      this.#waiting.add(waiter);
      const forget = onAbort(signal, leave);
    });
  }
}
