import { readdir } from "node:fs/promises";
import { extname, join } from "node:path";
import { Sam3Error } from "../../errors.js";
import { decodeImage } from "../../image/decode-image.js";
import { type ImageInput, takeImage } from "../../image/take-image.js";
import type { NativePixels } from "../../native/addon.js";
import { checkIndex, readFrames } from "./frame-range.js";
import { naturalOrder } from "./natural-order.js";
import { noFrames, otherSize, sourceDisposed } from "./problems.js";
import { readAhead } from "./read-ahead.js";
import type { FramesOptions, VideoFrame, VideoInfo, VideoSource } from "./video-source.js";

/** What a folder's pictures end in. */
const ENDINGS = [".jpg", ".jpeg", ".png", ".webp", ".avif", ".tif", ".tiff", ".gif"];

/** How pictures become a video. */
export interface PictureSourceOptions {
  /** How the video is called in messages. */
  readonly name: string;
  readonly fps: number;
  readonly readAhead: number;
  readonly stallTimeoutMs: number;
  readonly maxPixels: number;
}

/**
 * The pictures of a folder, in the natural order of their names. Hidden files and what is no picture by its ending are
 * left out.
 *
 * @throws {Sam3Error} `VIDEO_EMPTY`
 */
export async function listPictures(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const names = entries
    .filter((it) => !it.isDirectory() && !it.name.startsWith("."))
    .map(({ name }) => name)
    .filter((name) => ENDINGS.includes(extname(name).toLowerCase()));
  if (names.length === 0) {
    throw new Sam3Error(
      "VIDEO_EMPTY",
      `${folder} has no pictures in it. They must end in ${ENDINGS.join(", ")}.`,
    );
  }
  return names.sort(naturalOrder).map((name) => join(folder, name));
}

/** Pictures as the frames of a video. Each is decoded when its turn comes; all must have the size of the first. */
export class PictureSource implements VideoSource {
  readonly seekable = true;
  readonly info: VideoInfo;
  readonly #pictures: readonly ImageInput[];
  readonly #options: PictureSourceOptions;
  readonly #disposal = new AbortController();

  private constructor(pictures: readonly ImageInput[], info: VideoInfo, options: PictureSourceOptions) {
    this.#pictures = pictures;
    this.#options = options;
    this.info = info;
  }

  /** Decodes the first picture. Throws `VIDEO_EMPTY` and what decoding a picture throws. */
  static async open(
    pictures: readonly ImageInput[],
    options: PictureSourceOptions,
    signal: AbortSignal | undefined,
  ): Promise<PictureSource> {
    const [first] = pictures;
    if (first === undefined) throw noFrames(options.name, "it is an empty list");
    const { width, height } = await decode(first, options, signal);
    const { fps } = options;
    return new PictureSource(
      [...pictures],
      {
        kind: "pictures",
        frameCount: pictures.length,
        fps,
        variableFrameRate: false,
        width,
        height,
        duration: pictures.length / fps,
        codec: null,
        container: null,
        rotation: 0,
        hasAudio: false,
        decoder: "sharp",
      },
      options,
    );
  }

  async *frames(options?: FramesOptions): AsyncGenerator<VideoFrame, void, void> {
    const { name, readAhead: most, stallTimeoutMs } = this.#options;
    this.#assertOpen();
    const range = readFrames(options, name, this.#pictures.length);
    if (range === undefined) return;
    const { from, to, backward, signal } = range;
    const decodeAll = (stop: AbortSignal) => this.#decodeAll(from, to, backward ? -1 : 1, stop);
    const ahead = readAhead(decodeAll, { most, stallTimeoutMs, name, signal });
    for await (const frame of ahead) {
      this.#assertOpen();
      yield frame;
    }
  }

  async frame(index: number, signal?: AbortSignal): Promise<VideoFrame> {
    this.#assertOpen();
    return this.#decodeOne(checkIndex(index, "index", this.#options.name, this.#pictures.length), signal);
  }

  assertWhole(): void {
    // Nothing says that there should be more pictures than there are.
  }

  async dispose(): Promise<void> {
    this.#disposal.abort();
  }

  async *#decodeAll(
    from: number,
    to: number,
    step: 1 | -1,
    signal: AbortSignal,
  ): AsyncGenerator<VideoFrame, void, void> {
    for (let index = from; step > 0 ? index <= to : index >= to; index += step) {
      yield await this.#decodeOne(index, signal);
    }
  }

  async #decodeOne(index: number, signal: AbortSignal | undefined): Promise<VideoFrame> {
    const pixels = await decode(this.#pictures[index] as ImageInput, this.#options, signal);
    const { width, height } = this.info;
    if (pixels.width !== width || pixels.height !== height) {
      throw otherSize(this.#options.name, index, pixels, this.info);
    }
    return { index, time: index / this.#options.fps, pixels };
  }

  #assertOpen(): void {
    if (this.#disposal.signal.aborted) throw sourceDisposed(this.#options.name);
  }
}

async function decode(
  picture: ImageInput,
  { maxPixels }: PictureSourceOptions,
  signal: AbortSignal | undefined,
): Promise<NativePixels> {
  const limits = { maxPixels };
  const { data, width, height } = await decodeImage(takeImage(picture, limits), limits, signal);
  return { data, width, height };
}
