import type { NativeFeatures } from "../../native/addon.js";
import type { VideoFrame } from "../sources/video-source.js";
import { disposeOnce } from "./handles.js";

/** A frame that came, with its features where they were wanted. They are the caller's. */
export interface FedFrame {
  readonly index: number;
  readonly time: number;
  readonly features: NativeFeatures | undefined;
}

export interface FeedParts {
  readonly frames: AsyncIterable<VideoFrame>;
  readonly encode: (frame: VideoFrame) => Promise<NativeFeatures>;
  /** Whether a frame's features are needed. */
  readonly wanted: (index: number) => boolean;
  /** Most frames that are read and encoded ahead of the one asked for. */
  readonly ahead: number;
}

/** Reads and encodes the coming frames while the caller works on the last one: a bounded number of them. */
export class FrameFeed {
  readonly #parts: FeedParts;
  readonly #frames: AsyncIterator<VideoFrame>;
  readonly #coming: Promise<FedFrame | undefined>[] = [];
  /** Features that came and were not given out yet. */
  readonly #waiting = new Set<NativeFeatures>();
  #reading: Promise<unknown> = Promise.resolve();
  #ended = false;
  #failure: unknown;

  constructor(parts: FeedParts) {
    this.#parts = parts;
    this.#frames = parts.frames[Symbol.asyncIterator]();
  }

  /** Bytes on the device of what was encoded ahead. */
  get bytes(): number {
    let bytes = 0;
    for (const features of this.#waiting) bytes += features.bytes;
    return bytes;
  }

  /** What reading frames failed with; undefined when it did not, and when only encoding failed. */
  get failure(): unknown {
    return this.#failure;
  }

  /** The next frame; undefined at the end. Throws what reading or encoding it failed with. */
  async next(): Promise<FedFrame | undefined> {
    this.#fill(1);
    const coming = this.#coming.shift();
    const frame = await coming;
    if (frame?.features) this.#waiting.delete(frame.features);
    if (frame) this.#fill(this.#parts.ahead);
    else this.#ended = true;
    return frame;
  }

  /** Stops reading and frees what came and was not asked for. Whoever stops early aborts the signal of reading before. */
  async close(): Promise<void> {
    this.#ended = true;
    const ends = await Promise.allSettled(this.#coming.splice(0));
    for (const end of ends) {
      if (end.status !== "fulfilled" || !end.value?.features) continue;
      this.#waiting.delete(end.value.features);
      disposeOnce(end.value.features);
    }
    await this.#frames.return?.();
  }

  #fill(count: number): void {
    while (!this.#ended && this.#coming.length < count) {
      const coming = this.#pull();
      // Whoever asks for it hears of a failure; until then it must not count as unheard.
      coming.catch(() => {});
      this.#coming.push(coming);
    }
  }

  async #pull(): Promise<FedFrame | undefined> {
    const read = this.#reading.then(() => this.#frames.next());
    this.#reading = read.catch((error: unknown) => {
      this.#ended = true;
      this.#failure ??= error;
    });
    const { done, value } = await read;
    if (done) {
      this.#ended = true;
      return undefined;
    }
    const { index, time } = value;
    const features = this.#parts.wanted(index) ? await this.#parts.encode(value) : undefined;
    if (features) this.#waiting.add(features);
    return { index, time, features };
  }
}
