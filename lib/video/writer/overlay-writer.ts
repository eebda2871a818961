import { extname } from "node:path";
import sharp from "sharp";
import { Sam3Error } from "../../errors.js";
import { canWriteText } from "../../image/overlay.js";
import type { Mask } from "../../masks/mask.js";
import { overlaySvg } from "../../masks/overlay-svg.js";
import type { DecoderChoice, DecoderSearch } from "../sources/choose-decoder.js";
import type { VideoFrame, VideoSource } from "../sources/video-source.js";
import { openFolderSink } from "./folder-sink.js";
import type { FrameSink } from "./frame-sink.js";
import { openVideoSink } from "./video-sink.js";

/** What is drawn on one frame. */
export interface OverlayFrame {
  readonly index: number;
  readonly objects: readonly {
    readonly id: number;
    readonly text: string;
    readonly score: number;
    readonly mask: Mask;
  }[];
}

/** Where an overlay goes. */
export interface OverlayWriterOptions {
  /** The video, opened with `rgb: true`; it is not disposed here. */
  readonly video: VideoSource;
  /** A video file, or a folder for pictures. */
  readonly out: string;
  /** What writes videos. */
  readonly choice: DecoderChoice;
  readonly search: DecoderSearch;
  readonly signal: AbortSignal;
}

/** How much a mask covers. */
const OPACITY = 0.45;

/**
 * Draws what was found on the frames of its video: masks, boxes, and `#id text score` at each object. An object keeps its
 * colour. Frames come in rising order.
 */
export class OverlayWriter {
  readonly #video: VideoSource;
  readonly #sink: FrameSink;
  readonly #signal: AbortSignal;
  readonly #labels: boolean;
  #frames: AsyncIterator<VideoFrame> | undefined;

  private constructor(video: VideoSource, sink: FrameSink, signal: AbortSignal, labels: boolean) {
    this.#video = video;
    this.#sink = sink;
    this.#signal = signal;
    this.#labels = labels;
  }

  /** Throws `DECODER_NOT_FOUND`, `UNSUPPORTED`, `INVALID_ARGUMENT` and `OUTPUT_FAILED`. */
  static async open({ video, out, choice, search, signal }: OverlayWriterOptions): Promise<OverlayWriter> {
    const { width, height, fps } = video.info;
    const format = { width, height, fps: fps ?? 25 };
    const sink =
      extname(out) === ""
        ? await openFolderSink(out, format)
        : await openVideoSink({ ...format, path: out, signal }, choice, search);
    return new OverlayWriter(video, sink, signal, await canWriteText());
  }

  async write({ index, objects }: OverlayFrame): Promise<void> {
    const { width, height } = this.#video.info;
    const { pixels } = await this.#frame(index);
    const drawn = objects.map(({ id, text, score, mask }) => ({
      text: `#${id} ${text}`,
      score,
      box: mask.box,
      mask,
      colour: id,
    }));
    const style = {
      width,
      height,
      scale: 1,
      boxes: true,
      labels: this.#labels,
      opacity: OPACITY,
      points: [],
    };
    const shown = drawn.filter(({ mask }) => mask.area > 0);
    this.#signal.throwIfAborted();
    const picture = sharp(pixels.data, { raw: { width, height, channels: 3 }, limitInputPixels: false });
    const rgb =
      shown.length === 0
        ? Buffer.from(pixels.data)
        : await picture
            .composite([{ input: Buffer.from(await overlaySvg(shown, style)), top: 0, left: 0 }])
            .removeAlpha()
            .raw()
            .toBuffer();
    await this.#sink.write(index, rgb);
  }

  /** Finishes the file. */
  async close(): Promise<void> {
    await this.#frames?.return?.();
    await this.#sink.close();
  }

  /** Gives up; half a file does not stay. */
  async abort(): Promise<void> {
    await this.#frames?.return?.();
    await this.#sink.abort();
  }

  /** The frame of that index; frames in between are passed over. */
  async #frame(index: number): Promise<VideoFrame> {
    this.#frames ??= this.#video.frames({ start: index, signal: this.#signal })[Symbol.asyncIterator]();
    for (;;) {
      const { done, value } = await this.#frames.next();
      if (done || value.index > index) {
        throw new Sam3Error("INTERNAL", `Frame ${index} came after a later one.`);
      }
      if (value.index === index) return value;
    }
  }
}
