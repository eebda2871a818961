import type { CodecContext, FormatContext, Frame, Packet, Stream } from "node-av/lib";
import type { Sam3Error } from "../../../errors.js";
import { isKnown, nameCodec } from "../codec-name.js";
import { CONTAINERS, type OpenRequest } from "../decoder.js";
import { codecUnsupported, notAVideo, noVideoStream } from "../problems.js";
import type { NodeAv } from "./load-node-av.js";

/** A file that is open: its demuxer and, once asked for, a decoder of its video stream. */
export class Reader {
  readonly format: FormatContext;
  readonly stream: Stream;
  readonly #av: NodeAv;
  readonly #request: OpenRequest;
  readonly #packet: Packet;
  readonly #frame: Frame;
  #codec: CodecContext | undefined;

  private constructor(av: NodeAv, request: OpenRequest, format: FormatContext, stream: Stream) {
    this.#av = av;
    this.#request = request;
    this.format = format;
    this.stream = stream;
    this.#packet = new av.Packet();
    this.#packet.alloc();
    this.#frame = new av.Frame();
    this.#frame.alloc();
  }

  /** Throws `VIDEO_INVALID` and `VIDEO_NO_STREAM`. */
  static async open(av: NodeAv, request: OpenRequest): Promise<Reader> {
    const { path, name, signal } = request;
    signal.throwIfAborted();
    const format = new av.FormatContext();
    const options = av.Dictionary.fromObject({ protocol_whitelist: "file", format_whitelist: CONTAINERS });
    const opened = await format.openInput(`file:${path}`, null, options);
    options.free();
    if (opened < 0) throw notAVideo(name, messageOf(av, opened));
    try {
      const found = await format.findStreamInfo(null);
      if (found < 0) throw notAVideo(name, messageOf(av, found));
      const stream = videoStreamOf(av, format);
      if (stream === undefined) throw noVideoStream(name);
      // The others are not read.
      for (const other of format.streams) {
        if (other.index !== stream.index) other.discard = av.constants.AVDISCARD_ALL;
      }
      return new Reader(av, request, format, stream);
    } catch (error) {
      await format.closeInput();
      throw error;
    }
  }

  /** The next packet of the stream until `use` is done; undefined at the end. Returns a message where reading failed. */
  async nextPacket(use: (packet: Packet) => void | Promise<void>): Promise<"packet" | "end" | string> {
    for (;;) {
      const result = await this.format.readFrame(this.#packet);
      if (result === this.#av.constants.AVERROR_EOF) return "end";
      if (result < 0) return messageOf(this.#av, result);
      try {
        if (this.#packet.streamIndex !== this.stream.index) continue;
        await use(this.#packet);
        return "packet";
      } finally {
        this.#packet.unref();
      }
    }
  }

  /** Opens the stream's decoder. Throws `VIDEO_UNSUPPORTED`. */
  async openCodec(): Promise<CodecContext> {
    const { codecpar, timeBase } = this.stream;
    const codec = this.#av.Codec.findDecoder(codecpar.codecId);
    if (codec === null) throw await this.#unsupported();
    const context = new this.#av.CodecContext();
    context.allocContext3(codec);
    context.parametersToContext(codecpar);
    context.pktTimebase = timeBase;
    // As many threads as there are cores.
    context.threadCount = 0;
    if ((await context.open2(codec, null)) < 0) {
      context.freeContext();
      throw await this.#unsupported();
    }
    this.#codec = context;
    return context;
  }

  /** Frames of the whole rest of the stream; each is only valid until the next is asked for. */
  async *frames(signal: AbortSignal): AsyncGenerator<Frame, void, void> {
    const codec = this.#codec as CodecContext;
    const { AVERROR_EOF } = this.#av.constants;
    const again = this.#av.FFmpegError.AVERROR(this.#av.PosixError.EAGAIN);
    for (let ended = false; !ended; ) {
      signal.throwIfAborted();
      const read = await this.nextPacket(async (packet) => {
        // A packet that cannot be decoded is passed over, as ffmpeg does: the decoder conceals what is missing.
        await codec.sendPacket(packet);
      });
      ended = read !== "packet";
      if (ended) await codec.sendPacket(null);
      for (;;) {
        const received = await codec.receiveFrame(this.#frame);
        if (received === again || received === AVERROR_EOF) break;
        // A picture that could not be decoded: others may follow, decoders work on several at a time.
        if (received < 0) continue;
        signal.throwIfAborted();
        try {
          yield this.#frame;
        } finally {
          this.#frame.unref();
        }
      }
    }
  }

  async #unsupported(): Promise<Sam3Error> {
    const { path, name } = this.#request;
    const { codecId, codecTagString } = this.stream.codecpar;
    const codec = this.#av.avGetCodecName(codecId) ?? "unknown";
    const called = await nameCodec(path, { codec, tag: codecTagString ?? "" });
    return codecUnsupported(name, called, isKnown(codec), ["node-av"]);
  }

  /** Frees everything. Nothing may run on it any more. */
  async close(): Promise<void> {
    this.#packet.free();
    this.#frame.free();
    this.#codec?.freeContext();
    await this.format.closeInput();
  }
}

function videoStreamOf(av: NodeAv, format: FormatContext): Stream | undefined {
  const { AVMEDIA_TYPE_VIDEO, AV_DISPOSITION_ATTACHED_PIC } = av.constants;
  return format.streams.find(
    ({ codecpar, disposition }) =>
      codecpar.codecType === AVMEDIA_TYPE_VIDEO && (disposition & AV_DISPOSITION_ATTACHED_PIC) === 0,
  );
}

/** FFmpeg's words for one of its error numbers. */
export function messageOf(av: NodeAv, code: number): string {
  return new av.FFmpegError(code).message;
}
