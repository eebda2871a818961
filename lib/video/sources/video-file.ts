import { linkSignals, until } from "../../abort.js";
import { backward, type ForwardSource } from "./backward.js";
import { type DecodedFrame, DecodingStopped, type VideoDecoder } from "./decoder.js";
import { FrameIndex } from "./frame-index.js";
import { checkIndex, type FrameRange, readFrames } from "./frame-range.js";
import { brokenOff, damaged, noFrames, outOfRange, sourceDisposed } from "./problems.js";
import { readAhead } from "./read-ahead.js";
import type { FramesOptions, VideoFrame, VideoInfo, VideoSource } from "./video-source.js";

/** What a video file is opened with, besides its decoder. */
export interface VideoFileOptions {
  /** How it is called in messages. */
  readonly name: string;
  readonly readAhead: number;
  readonly stallTimeoutMs: number;
  /** Fewer bytes than its own head says. */
  readonly truncated: boolean;
  /** Removes what was made for it. */
  readonly cleanUp: () => Promise<void>;
}

/**
 * A video in a file. Frames are numbered as they leave the decoder from the beginning; an index of their times makes it
 * possible to begin elsewhere, and every beginning is checked by the time of its first frame.
 */
export class VideoFile implements VideoSource {
  readonly seekable = true;
  readonly #decoder: VideoDecoder;
  readonly #options: VideoFileOptions;
  readonly #disposal = new AbortController();
  #index: FrameIndex;
  /** The index was made by decoding everything. */
  #measured: boolean;
  /** Seeking was seen to be wrong: from then on decoding always begins at the beginning. */
  #seeks = true;
  #measuring: Promise<void> | undefined;

  private constructor(
    decoder: VideoDecoder,
    options: VideoFileOptions,
    index: FrameIndex,
    measured: boolean,
  ) {
    this.#decoder = decoder;
    this.#options = options;
    this.#index = index;
    this.#measured = measured;
  }

  /** Makes the index. Throws `VIDEO_EMPTY`. */
  static async open(
    decoder: VideoDecoder,
    options: VideoFileOptions,
    signal: AbortSignal,
  ): Promise<VideoFile> {
    const packets = await decoder.packets(signal);
    // Of packets at a break nobody knows what can be decoded.
    const quick = options.truncated ? undefined : FrameIndex.fromPackets(packets, decoder.facts);
    const index = quick ?? FrameIndex.fromTicks(await decoder.ticks(signal), packets, decoder.facts);
    if (index.count === 0) throw noFrames(options.name);
    return new VideoFile(decoder, options, index, quick === undefined);
  }

  get info(): VideoInfo {
    const { facts, name } = this.#decoder;
    return {
      kind: "file",
      frameCount: this.#index.count,
      fps: this.#index.fps,
      variableFrameRate: this.#index.variable,
      width: facts.width,
      height: facts.height,
      duration: this.#index.duration,
      codec: facts.codec,
      container: facts.container,
      rotation: facts.rotation,
      hasAudio: facts.hasAudio,
      decoder: name,
    };
  }

  async *frames(options?: FramesOptions): AsyncGenerator<VideoFrame, void, void> {
    this.#assertOpen();
    const range = readFrames(options, this.#options.name, this.#index.count);
    if (range !== undefined) yield* this.#ahead(range);
  }

  async frame(index: number, signal?: AbortSignal): Promise<VideoFrame> {
    this.#assertOpen();
    const { name } = this.#options;
    checkIndex(index, "index", name, this.#index.count);
    for await (const frame of this.#ahead({ from: index, to: index, backward: false, open: false, signal })) {
      return frame;
    }
    throw noFrames(name);
  }

  assertWhole(): void {
    const { name, truncated } = this.#options;
    if (truncated) throw brokenOff(name, this.#index.count);
  }

  async dispose(): Promise<void> {
    if (this.#disposal.signal.aborted) return;
    this.#disposal.abort(sourceDisposed(this.#options.name));
    await this.#options.cleanUp();
  }

  async *#ahead(range: FrameRange): AsyncGenerator<VideoFrame, void, void> {
    const { name, readAhead: most, stallTimeoutMs } = this.#options;
    const { controller, unlink } = linkSignals(range.signal, this.#disposal.signal);
    try {
      yield* readAhead((signal) => this.#produce(range, signal), {
        most,
        stallTimeoutMs,
        name,
        signal: controller.signal,
      });
    } finally {
      unlink();
    }
  }

  #produce(range: FrameRange, signal: AbortSignal): AsyncIterable<VideoFrame> {
    const { from, to } = range;
    return range.backward ? backward(this.#forward(), from, to, signal) : this.#toEnd(range, signal);
  }

  #forward(): ForwardSource {
    return {
      run: (from, to, signal) => this.#run(from, to, signal),
      bestStart: (from, to) => this.#index.firstKeyIn(from, to),
      frameBytes: this.#decoder.facts.frameBytes,
    };
  }

  /** Who asks for more than is there is told why it is not. */
  async *#toEnd({ from, to, open }: FrameRange, signal: AbortSignal): AsyncGenerator<VideoFrame, void, void> {
    yield* this.#run(from, to, signal);
    if (open) this.assertWhole();
  }

  /** Frames `from`–`to`. What turns out to be wrong with the index or a seek is put right, and decoding begins anew. */
  async *#run(from: number, to: number, signal: AbortSignal): AsyncGenerator<VideoFrame, void, void> {
    for (let next: number | undefined = from; next !== undefined; ) {
      next = yield* this.#attempt(next, to, signal);
      if (next !== undefined && next >= this.#index.count) {
        if (next === from) throw outOfRange(this.#options.name, from, this.#index.count);
        return;
      }
    }
  }

  /** Frames from `from` on, as long as they are what the index says; returns where to go on, undefined at the end. */
  async *#attempt(
    from: number,
    to: number,
    signal: AbortSignal,
  ): AsyncGenerator<VideoFrame, number | undefined, void> {
    let next = from;
    let problem = "";
    for (const seek of from > 0 && this.#seeks ? this.#index.seeksFor(from) : [null]) {
      const fromTick = this.#index.ticks[from] as number;
      const decoding = this.#decoder.decode({ seek, fromTick, skip: seek === null ? from : 0, signal });
      try {
        for await (const frame of decoding) {
          const fits = frame.tick === this.#index.ticks[next];
          // This seek landed late: the next one begins further back.
          if (!fits && seek !== null && next === from) break;
          // Counting from the beginning is the truth, once the times are those of the frames themselves.
          if (!fits && !(this.#measured && seek === null)) return await this.#correct(next, seek, signal);
          yield this.#numbered(frame, next);
          next++;
          if (next > to) return undefined;
        }
      } catch (error) {
        if (!(error instanceof DecodingStopped)) throw error;
        problem = error.message;
      }
      if (next > from) break;
    }
    if (!this.#measured || this.#seeks) return this.#correct(next, null, signal);
    throw damaged(this.#options.name, next, problem);
  }

  /** The index or a seek was wrong at a frame. Returns the frame, from which to go on. */
  async #correct(next: number, seek: number | null, signal: AbortSignal): Promise<number> {
    // The times of the frames themselves are known, so it was the seek.
    if (this.#measured || seek !== null) this.#seeks = false;
    if (!this.#measured) {
      this.#measuring ??= this.#measure();
      await until(signal, this.#measuring);
    }
    return next;
  }

  async #measure(): Promise<void> {
    const { signal } = this.#disposal;
    const packets = await this.#decoder.packets(signal);
    const ticks = await this.#decoder.ticks(signal);
    this.#index = FrameIndex.fromTicks(ticks, packets, this.#decoder.facts);
    this.#measured = true;
  }

  #numbered({ pixels }: DecodedFrame, index: number): VideoFrame {
    return { index, time: this.#index.timeOf(index), pixels };
  }

  #assertOpen(): void {
    if (this.#disposal.signal.aborted) throw sourceDisposed(this.#options.name);
  }
}
