import { until } from "../../abort.js";
import { describe } from "../../describe.js";
import { Sam3Error } from "../../errors.js";
import { decodeImage } from "../../image/decode-image.js";
import { type ImageInput, takeImage } from "../../image/take-image.js";
import { readFrames } from "./frame-range.js";
import { noFrames, otherSize, sourceDisposed } from "./problems.js";
import { stalled } from "./read-ahead.js";
import type { FramesOptions, LiveFrame, VideoFrame, VideoInfo, VideoSource } from "./video-source.js";

/** How frames are taken. */
export interface LiveSourceOptions {
  readonly name: string;
  readonly stallTimeoutMs: number;
  readonly maxPixels: number;
}

/**
 * Frames as they come, from a camera for example: once, forward, as many as there will be. One frame is taken ahead, so
 * that little time passes between the camera and the answer. An iteration that ends early loses nothing: the next one
 * goes on.
 */
export class LiveSource implements VideoSource {
  readonly seekable = false;
  readonly info: VideoInfo;
  readonly #iterator: AsyncIterator<LiveFrame>;
  readonly #options: LiveSourceOptions;
  readonly #began = performance.now();
  readonly #disposal = new AbortController();
  #next = 0;
  #pending: Promise<VideoFrame | undefined> | undefined;
  #iterating = false;

  private constructor(iterator: AsyncIterator<LiveFrame>, first: VideoFrame, options: LiveSourceOptions) {
    const { width, height } = first.pixels;
    this.#iterator = iterator;
    this.#options = options;
    this.#pending = Promise.resolve(first);
    this.info = {
      kind: "live",
      frameCount: null,
      fps: null,
      variableFrameRate: null,
      width,
      height,
      duration: null,
      codec: null,
      container: null,
      rotation: 0,
      hasAudio: false,
      decoder: null,
    };
  }

  /** Waits for the first frame, which says the size. Throws `VIDEO_EMPTY` and `VIDEO_STALLED`. */
  static async open(
    frames: AsyncIterable<LiveFrame>,
    options: LiveSourceOptions,
    signal: AbortSignal | undefined,
  ): Promise<LiveSource> {
    const iterator = frames[Symbol.asyncIterator]();
    try {
      const first = takeFrame(iterator, options, 0, () => 0, undefined);
      const frame = await until(signal, inTime(first, options));
      if (frame === undefined) throw noFrames(options.name, "it ended before the first one");
      return new LiveSource(iterator, frame, options);
    } catch (error) {
      release(iterator);
      throw error;
    }
  }

  async *frames(options?: FramesOptions): AsyncGenerator<VideoFrame, void, void> {
    const { name } = this.#options;
    this.#assertOpen();
    const { start = this.#next, direction } = options ?? {};
    if (direction === "backward") throw notSeekable(name, "go backward");
    if (start !== this.#next) throw notSeekable(name, `begin at frame ${describe(start)}`);
    if (this.#iterating) throw notSeekable(name, "be iterated twice at the same time");
    const range = readFrames({ ...options, start: 0 }, name, Number.MAX_SAFE_INTEGER);
    if (range === undefined) return;
    this.#iterating = true;
    try {
      for (let left = range.to + 1; left > 0; left--) {
        this.#pending ??= this.#take();
        const frame = await until(range.signal, inTime(this.#pending, this.#options));
        this.#assertOpen();
        if (frame === undefined) return;
        this.#next = frame.index + 1;
        this.#pending = left > 1 ? this.#take() : undefined;
        yield frame;
      }
    } catch (error) {
      // What failed is not asked for again; what was only not waited for any longer still comes.
      if (range.signal?.aborted !== true) this.#pending = undefined;
      throw error;
    } finally {
      this.#iterating = false;
    }
  }

  async frame(): Promise<VideoFrame> {
    throw notSeekable(this.#options.name, "give a frame by its index");
  }

  assertWhole(): void {
    // Nobody knows how many frames a live source was to give.
  }

  async dispose(): Promise<void> {
    if (this.#disposal.signal.aborted) return;
    this.#disposal.abort(sourceDisposed(this.#options.name));
    this.#pending = undefined;
    release(this.#iterator);
  }

  #take(): Promise<VideoFrame | undefined> {
    const clock = () => (performance.now() - this.#began) / 1000;
    const taking = takeFrame(this.#iterator, this.#options, this.#next, clock, this.info);
    const frame = until(this.#disposal.signal, taking);
    // Taken ahead: whoever asks for it gets the error.
    frame.catch(() => {});
    return frame;
  }

  #assertOpen(): void {
    if (this.#disposal.signal.aborted) throw sourceDisposed(this.#options.name);
  }
}

async function takeFrame(
  iterator: AsyncIterator<LiveFrame>,
  { name, maxPixels }: LiveSourceOptions,
  index: number,
  clock: () => number,
  size: { readonly width: number; readonly height: number } | undefined,
): Promise<VideoFrame | undefined> {
  const { done, value } = await iterator.next();
  if (done) return undefined;
  const arrived = clock();
  const { image, time } = isTimed(value) ? value : { image: value, time: arrived };
  if (typeof time !== "number" || !Number.isFinite(time)) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `time of frame ${index} is ${describe(time)}; it must be seconds.`,
    );
  }
  const { data, width, height } = await decodeImage(takeImage(image, { maxPixels }), { maxPixels });
  if (size !== undefined && (size.width !== width || size.height !== height)) {
    throw otherSize(name, index, { width, height }, size);
  }
  return { index, time, pixels: { data, width, height } };
}

function isTimed(value: LiveFrame): value is { readonly image: ImageInput; readonly time: number } {
  return typeof value === "object" && value !== null && "image" in value;
}

/** A promise that is waited for no longer than the source may take. */
async function inTime<T>(work: Promise<T>, { name, stallTimeoutMs }: LiveSourceOptions): Promise<T> {
  if (stallTimeoutMs === 0) return work;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, fail) => {
    timer = setTimeout(() => fail(stalled(name, stallTimeoutMs)), stallTimeoutMs);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

/** Tells the source that nobody wants more. Not waited for: a generator that stalls answers never. */
function release(iterator: AsyncIterator<LiveFrame>): void {
  iterator.return?.()?.then(undefined, () => {});
}

function notSeekable(name: string, what: string): Sam3Error {
  return new Sam3Error(
    "VIDEO_NOT_SEEKABLE",
    `${name} gives its frames once, in order, as they come; it cannot ${what}.`,
  );
}
