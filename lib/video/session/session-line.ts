import { linkSignals, throwIfAborted } from "../../abort.js";
import type { Replica } from "../../devices/replica.js";
import { Sam3Error } from "../../errors.js";
import { Gate } from "../../gate.js";
import { TrackerCalls } from "./tracker-calls.js";

/** A pass that is under way. */
export interface RunningPass {
  /** Of frames encoded ahead. */
  readonly deviceBytes: number;
  /** Stops it and frees what was read ahead. */
  close(): Promise<void>;
}

/**
 * How long a pass may stand still, because its caller does not ask for the next frame, while another one waits. A loop
 * that was left without `return()`, or that waits itself for the other pass, would hold it up for ever.
 */
const MOST_IDLE_MS = 30_000;

/** Who is next: a session's operations run one after the other, in the order they came, and its passes too. */
export class SessionLine {
  lastUsedAt = Date.now();
  /** What must be closed before the session is. */
  readonly running = new Set<RunningPass>();
  readonly #replica: Replica;
  readonly #line = new Gate({ atOnce: 1 });
  readonly #passes = new Gate({ atOnce: 1 });
  readonly #stop = new AbortController();
  /** When the pass under way gave a frame that its caller has not come back from yet. */
  #idleSince: number | undefined;
  #working = 0;
  #failure: Sam3Error | undefined;

  constructor(replica: Replica) {
    this.#replica = replica;
  }

  /** `error`: its device failed, and with it what the session held there. */
  get condition(): "ready" | "processing" | "error" | "closed" {
    if (this.#stop.signal.aborted) return "closed";
    if (this.#failure) return "error";
    return this.#working > 0 ? "processing" : "ready";
  }

  /** Why it is in `error`. */
  get failure(): Sam3Error | undefined {
    return this.#failure;
  }

  /** Aborted when the session is closed; its reason is the error to throw. */
  get stopped(): AbortSignal {
    return this.#stop.signal;
  }

  /** Throws why the session cannot be used. */
  assertUsable(): void {
    throwIfAborted(this.#stop.signal);
    if (this.#failure) throw this.#failure;
  }

  /** Runs an operation when its turn comes; the signal ends it in line or at work. */
  async operate<T>(signal: AbortSignal | undefined, work: (calls: TrackerCalls) => Promise<T>): Promise<T> {
    this.assertUsable();
    const { controller, unlink } = linkSignals(signal, this.#stop.signal);
    try {
      return await this.#line.pass(controller.signal, async () => {
        this.assertUsable();
        this.#working++;
        try {
          return await work(new TrackerCalls(this.#replica, controller.signal));
        } catch (error) {
          throw this.#judge(error);
        } finally {
          this.#working--;
          this.lastUsedAt = Date.now();
        }
      });
    } finally {
      unlink();
    }
  }

  /** Notes that the pass under way has given a frame, or was asked for the next one. */
  passIsIdle(isIdle: boolean): void {
    this.#idleSince = isIdle ? Date.now() : undefined;
  }

  /**
   * Waits until no pass over the clip is under way; the answer ends the own one.
   *
   * @throws {Sam3Error} `SESSION_BUSY` where the one under way stands still
   */
  async beginPass(signal: AbortSignal | undefined): Promise<() => void> {
    this.assertUsable();
    let end = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const { controller, unlink } = linkSignals(signal, this.#stop.signal);
    const watch = setInterval(() => {
      if (Date.now() - (this.#idleSince ?? Number.POSITIVE_INFINITY) >= MOST_IDLE_MS)
        controller.abort(standsStill());
    }, MOST_IDLE_MS / 30);
    try {
      await new Promise<void>((resolve, reject) => {
        this.#passes
          .pass(controller.signal, () => {
            resolve();
            return ended;
          })
          .catch(reject);
      });
    } finally {
      clearInterval(watch);
      unlink();
    }
    return () => {
      this.#idleSince = undefined;
      end();
    };
  }

  /** Stops what runs and what waits, and resolves when it has ended: what runs holds handles. */
  async close(reason: Sam3Error): Promise<void> {
    this.#stop.abort(reason);
    await Promise.allSettled([...this.running].map((pass) => pass.close()));
    await this.#line.pass(undefined, async () => {});
  }

  /** A failure of the device ends the session; any other failure is the operation's alone. */
  #judge(error: unknown): unknown {
    if (this.#stop.signal.aborted) return this.#stop.signal.reason;
    const fault = this.#replica.state === "faulted" ? this.#replica.reason : undefined;
    if (fault) this.#failure ??= fault;
    return this.#failure ?? error;
  }
}

function standsStill(): Sam3Error {
  return new Sam3Error(
    "SESSION_BUSY",
    `Another pass over this session is under way, and nobody has asked it for a frame for ${MOST_IDLE_MS / 1000} s. Passes take turns: finish its loop, or leave it with break or return().`,
  );
}
