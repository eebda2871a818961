import type { FilterGraph, Frame, Stream } from "node-av/lib";
import type { NativePixels } from "../../../native/addon.js";
import { planesOf, SCALER_FLAGS, type Yuv } from "../colour.js";
import { DecodingStopped } from "../decoder.js";
import type { Turn } from "./display-matrix.js";
import { type FilterChain, linkFilters } from "./link-filters.js";
import type { NodeAv } from "./load-node-av.js";

/** What frames become. */
export interface ConverterOptions {
  readonly turn: Turn;
  readonly rgb: boolean;
  /** Of every frame before it is turned; others are made to fit. */
  readonly size: { readonly width: number; readonly height: number };
}

interface Chain extends FilterChain {
  /** What frames it was made for. */
  readonly key: string;
  readonly graph: FilterGraph;
  readonly out: Frame;
}

/** Turns decoded frames into pixels: planes are copied as they are; turning, scaling and RGB are left to FFmpeg's filters, off the event loop. */
export class Converter {
  readonly #av: NodeAv;
  readonly #stream: Stream;
  readonly #options: ConverterOptions;
  #chain: Chain | undefined;

  constructor(av: NodeAv, stream: Stream, options: ConverterOptions) {
    this.#av = av;
    this.#stream = stream;
    this.#options = options;
  }

  async convert(frame: Frame): Promise<NativePixels> {
    const { turn, rgb, size } = this.#options;
    const yuv = rgb ? undefined : yuvOf(this.#av, frame);
    const fits = size.width === frame.width && size.height === frame.height;
    const format = this.#av.avGetPixFmtName(frame.format as never);
    const planar = format === "yuv420p" || format === "yuvj420p";
    if (yuv !== undefined && planar && fits && turn.filters.length === 0) return copyOf(frame, yuv);
    const chain = await this.#chainFor(frame, yuv);
    if ((await chain.source.buffersrcAddFrame(frame, this.#av.constants.AV_BUFFERSRC_FLAG_KEEP_REF)) < 0) {
      throw new DecodingStopped("a frame could not be converted");
    }
    try {
      if ((await chain.sink.buffersinkGetFrame(chain.out)) < 0) {
        throw new DecodingStopped("a frame could not be converted");
      }
      return copyOf(chain.out, yuv);
    } finally {
      chain.out.unref();
    }
  }

  free(): void {
    this.#chain?.out.free();
    this.#chain?.graph.free();
    this.#chain = undefined;
  }

  /** The filters for frames like this one; streams may change in the middle. */
  async #chainFor(frame: Frame, yuv: Yuv | undefined): Promise<Chain> {
    const { width, height, format, colorSpace, colorRange } = frame;
    const key = [width, height, format, colorSpace, colorRange].join();
    if (this.#chain?.key === key) return this.#chain;
    this.free();
    const { turn, size } = this.#options;
    const { num, den } = this.#stream.timeBase;
    const graph = new this.#av.FilterGraph();
    graph.alloc();
    graph.scaleSwsOpts = `flags=${SCALER_FLAGS}`;
    const source = `video_size=${width}x${height}:pix_fmt=${format}:time_base=${num}/${den}:pixel_aspect=1/1:colorspace=${colorSpace}:range=${colorRange}`;
    const steps: (readonly [string, string])[] = [
      ["buffer", source],
      ["scale", `${size.width}:${size.height}:flags=${SCALER_FLAGS}`],
      ...turn.filters,
      ["format", `pix_fmts=${yuv ? "yuv420p|yuvj420p" : "rgb24"}`],
      ["buffersink", ""],
    ];
    const chain = await linkFilters(this.#av, graph, steps, (why) => new DecodingStopped(why));
    const out = new this.#av.Frame();
    out.alloc();
    this.#chain = { key, graph, out, ...chain };
    return this.#chain;
  }
}

/** How a frame leaves as planes; undefined where only as RGB. */
export function yuvOf({ constants: c, avGetPixFmtName }: NodeAv, frame: Frame): Yuv | undefined {
  const matrix =
    frame.colorSpace === c.AVCOL_SPC_BT709
      ? "bt709"
      : [c.AVCOL_SPC_UNSPECIFIED, c.AVCOL_SPC_BT470BG, c.AVCOL_SPC_SMPTE170M].includes(
            frame.colorSpace as never,
          )
        ? "unknown"
        : "other";
  const range = frame.colorRange === c.AVCOL_RANGE_JPEG ? "pc" : "tv";
  return planesOf(avGetPixFmtName(frame.format as never) ?? "", matrix, range);
}

/** Planes without gaps; a copy, because a frame's memory is gone with the frame. */
function copyOf(frame: Frame, yuv: Yuv | undefined): NativePixels {
  const { width, height } = frame;
  return { data: frame.toBuffer(), width, height, ...(yuv ? { yuv } : {}) };
}
