import { resolve } from "node:path";
import type { CodecContext, FilterGraph, FormatContext, Stream } from "node-av/lib";
import { type FilterChain, linkFilters } from "../sources/node-av/link-filters.js";
import type { NodeAv } from "../sources/node-av/load-node-av.js";
import { messageOf } from "../sources/node-av/reader.js";
import {
  cannotWriteVideo,
  dropPartial,
  type FrameSink,
  nameVideo,
  partialOf,
  type VideoSinkFormat,
} from "./frame-sink.js";
import { EVEN_SIDES, type VideoContainer, type VideoEncoder } from "./video-container.js";

/** The first encoder that node-av's FFmpeg has; undefined where it has none of them. */
export function nodeAvEncoder(av: NodeAv, { encoders }: VideoContainer): VideoEncoder | undefined {
  return encoders.find(({ name }) => av.Codec.findEncoderByName(name as never) !== null);
}

/**
 * Writes frames as a video inside of this process, off the event loop. The file appears under its name once it is whole.
 *
 * @throws {Sam3Error} `OUTPUT_FAILED`
 */
export async function openNodeAvSink(
  av: NodeAv,
  container: VideoContainer,
  encoder: VideoEncoder,
  format: VideoSinkFormat,
): Promise<FrameSink> {
  const { path, signal } = format;
  const writer = new VideoFile(av, path);
  try {
    await writer.open(container, encoder, format);
  } catch (error) {
    await writer.free();
    await dropPartial(path);
    throw error;
  }
  // What is given up in the middle of a frame is freed once that frame is done.
  let working: Promise<void> = Promise.resolve();
  return {
    write: (_, rgb) => {
      signal.throwIfAborted();
      working = writer.write(rgb);
      return working;
    },
    close: async () => {
      try {
        await writer.finish();
      } finally {
        await writer.free();
      }
      await nameVideo(path);
    },
    abort: async () => {
      await working.catch(() => {});
      await writer.free();
      await dropPartial(path);
    },
  };
}

/** An encoder, the filters before it and the container behind it. */
class VideoFile {
  readonly #av: NodeAv;
  readonly #path: string;
  readonly #format: FormatContext;
  readonly #codec: CodecContext;
  readonly #graph: FilterGraph;
  #size = { width: 0, height: 0 };
  #stream: Stream | undefined;
  #chain: FilterChain | undefined;
  #frames = 0;
  #isFree = false;

  constructor(av: NodeAv, path: string) {
    this.#av = av;
    this.#path = path;
    this.#format = new av.FormatContext();
    this.#codec = new av.CodecContext();
    this.#graph = new av.FilterGraph();
  }

  async open(
    { muxer }: VideoContainer,
    { name, options }: VideoEncoder,
    { width, height, fps }: VideoSinkFormat,
  ): Promise<void> {
    const { Codec, Dictionary, Rational, constants: c } = this.#av;
    this.#size = { width, height };
    const rate = new Rational(Math.max(1, Math.round(fps * 1000)), 1000);
    const step = new Rational(rate.den, rate.num);
    await this.#openFilters(step);
    const codec = Codec.findEncoderByName(name as never);
    if (codec === null) throw cannotWriteVideo(this.#path, `the encoder ${name} is gone`);
    const context = this.#codec;
    context.allocContext3(codec);
    context.width = width + (width % 2);
    context.height = height + (height % 2);
    context.pixelFormat = c.AV_PIX_FMT_YUV420P;
    context.timeBase = step;
    context.framerate = rate;
    context.colorSpace = c.AVCOL_SPC_BT709;
    context.colorRange = c.AVCOL_RANGE_MPEG;
    // As many threads as there are cores.
    context.threadCount = 0;
    this.#check(this.#format.allocOutputContext2(null, muxer, `file:${resolve(partialOf(this.#path))}`));
    if (((this.#format.oformat?.flags ?? 0) & c.AVFMT_GLOBALHEADER) !== 0) {
      context.setFlags(c.AV_CODEC_FLAG_GLOBAL_HEADER);
    }
    const chosen = Dictionary.fromObject({ ...options });
    const opened = await context.open2(codec, chosen);
    chosen.free();
    this.#check(opened);
    const stream = this.#format.newStream(null);
    stream.timeBase = step;
    stream.avgFrameRate = rate;
    this.#check(stream.codecpar.fromContext(context));
    this.#stream = stream;
    this.#check(await this.#format.openOutput());
    this.#check(await this.#format.writeHeader(null));
  }

  async write(rgb: Buffer): Promise<void> {
    const { Frame, constants: c } = this.#av;
    const given = new Frame();
    const made = new Frame();
    given.alloc();
    made.alloc();
    try {
      given.width = this.#size.width;
      given.height = this.#size.height;
      given.format = c.AV_PIX_FMT_RGB24;
      this.#check(given.allocBuffer());
      this.#check(given.fromBuffer(rgb));
      given.pts = BigInt(this.#frames++);
      this.#check((await this.#chain?.source.buffersrcAddFrame(given, c.AV_BUFFERSRC_FLAG_KEEP_REF)) ?? -1);
      // Filters pad in place what nobody else holds, beyond its end: `given` must live until then.
      this.#check((await this.#chain?.sink.buffersinkGetFrame(made)) ?? -1);
      this.#check(await this.#codec.sendFrame(made));
    } finally {
      given.free();
      made.free();
    }
    await this.#writePackets();
  }

  /** Writes what the encoder still has, and the container's end. */
  async finish(): Promise<void> {
    this.#check(await this.#codec.sendFrame(null));
    await this.#writePackets();
    this.#check(await this.#format.writeTrailer());
  }

  /** Closes the file and frees everything, once. */
  async free(): Promise<void> {
    if (this.#isFree) return;
    this.#isFree = true;
    await this.#format.closeOutput();
    this.#format.freeContext();
    this.#codec.freeContext();
    this.#graph.free();
  }

  async #openFilters({ num, den }: { readonly num: number; readonly den: number }): Promise<void> {
    const { constants: c } = this.#av;
    const { width, height } = this.#size;
    const graph = this.#graph;
    graph.alloc();
    const source = `video_size=${width}x${height}:pix_fmt=${c.AV_PIX_FMT_RGB24}:time_base=${num}/${den}:pixel_aspect=1/1`;
    const steps = [
      ["buffer", source],
      ["pad", EVEN_SIDES],
      ["scale", "out_color_matrix=bt709:out_range=tv"],
      ["format", "pix_fmts=yuv420p"],
      ["buffersink", ""],
    ] as const;
    this.#chain = await linkFilters(this.#av, graph, steps, (why) => cannotWriteVideo(this.#path, why));
  }

  async #writePackets(): Promise<void> {
    const { Packet, constants: c } = this.#av;
    const packet = new Packet();
    packet.alloc();
    try {
      for (;;) {
        const received = await this.#codec.receivePacket(packet);
        if (received === c.AVERROR_EOF || received === c.AVERROR_EAGAIN) return;
        this.#check(received);
        packet.streamIndex = 0;
        if (this.#stream) packet.rescaleTs(this.#codec.timeBase, this.#stream.timeBase);
        this.#check(await this.#format.interleavedWriteFrame(packet));
        packet.unref();
      }
    } finally {
      packet.free();
    }
  }

  #check(result: number): void {
    if (result < 0) throw cannotWriteVideo(this.#path, messageOf(this.#av, result));
  }
}
