import type { Call } from "../call.js";
import { Gate } from "../gate.js";
import { Admission } from "./admission.js";
import { type BatchLimits, queueTimeout } from "./batch-queue.js";

/** Reading and hashing keep a disk and a core busy; more at once would only hold more bytes. */
const READ_AT_ONCE = 4;

/** Pictures are decoded while those at the encoder weigh no more than this; a few large ones must not fill the memory. */
const MAX_DECODED_BYTES = 256 * 2 ** 20;

/** Pictures that are cut into tiles are held decoded while those that are weigh no more than this. */
const MAX_TILED_BYTES = 256 * 2 ** 20;

/** How many pictures may be on their way. */
export interface PictureLimits extends Pick<BatchLimits, "maxBatch" | "queueTimeoutMs"> {
  readonly replicas: number;
  readonly maxQueue: number;
}

/**
 * How pictures come in. A call that brings one is counted before anything of it is copied or read; then it waits to be
 * read, a few at a time, and, where its features are not kept, to be decoded and encoded.
 */
export class PictureLine {
  /** Pictures that are decoded and encoded at a time: while one batch runs, the next one gathers on every replica. */
  readonly atOnce: number;
  readonly #calls: Admission;
  readonly #inside = new WeakSet<Call>();
  readonly #reading: Gate;
  readonly #encoding: Gate;
  readonly #tiling: Gate;

  constructor({ maxBatch, queueTimeoutMs, replicas, maxQueue }: PictureLimits) {
    this.atOnce = 2 * maxBatch * replicas;
    this.#calls = new Admission({ atWork: this.atOnce, maxQueue });
    const patience = (stage: string) => ({
      timeoutMs: queueTimeoutMs,
      late: (waitedMs: number) => queueTimeout(stage, waitedMs),
    });
    this.#reading = new Gate({ atOnce: READ_AT_ONCE, ...patience("readImages") });
    this.#encoding = new Gate({
      atOnce: this.atOnce,
      maxWeight: MAX_DECODED_BYTES,
      ...patience("encodeImages"),
    });
    this.#tiling = new Gate({ maxWeight: MAX_TILED_BYTES, ...patience("cutTiles") });
  }

  /** Pictures that wait to be read, to be decoded or to be cut into tiles. */
  get waiting(): number {
    return this.#reading.waiting + this.#encoding.waiting + this.#tiling.waiting;
  }

  /** Whether a call was let in and has not ended. */
  has(call: Call): boolean {
    return this.#inside.has(call);
  }

  /**
   * Lets a call in that brings a picture; call what is returned when it has ended.
   *
   * @throws {Sam3Error} `QUEUE_FULL`
   */
  enter(call: Call): () => void {
    const leave = this.#calls.enter("encodeImages");
    this.#inside.add(call);
    return () => {
      this.#inside.delete(call);
      leave();
    };
  }

  /** Reads a picture when its turn comes. */
  read<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    return this.#reading.pass(signal, work);
  }

  /** Decodes and encodes a picture when its turn comes and there is room for its pixels. */
  encode<T>(
    signal: AbortSignal,
    pixelBytes: number,
    work: (weigh: (pixelBytes: number) => void) => Promise<T>,
  ): Promise<T> {
    return this.#encoding.pass(signal, work, pixelBytes);
  }

  /**
   * Works on a picture that stays decoded for many tiles, when there is room for its pixels. The tiles go through `encode`
   * like any other picture; not the other way round, or both lines could wait for each other.
   */
  cut<T>(signal: AbortSignal, pixelBytes: number, work: () => Promise<T>): Promise<T> {
    return this.#tiling.pass(signal, work, pixelBytes);
  }
}
