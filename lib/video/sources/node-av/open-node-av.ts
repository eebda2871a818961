import type { Frame } from "node-av/lib";
import { checkPixelCount } from "../../../image/take-image.js";
import { frameBytes } from "../colour.js";
import type {
  DecodedFrame,
  DecodeRequest,
  OpenRequest,
  StoredPacket,
  StreamFacts,
  VideoDecoder,
} from "../decoder.js";
import { noFrames } from "../problems.js";
import { Converter, yuvOf } from "./converter.js";
import { readDisplayMatrix, type Turn } from "./display-matrix.js";
import type { NodeAv } from "./load-node-av.js";
import { Reader } from "./reader.js";

/**
 * Opens a file with node-av, through its low-level interface: the high-level one loses timestamps when it scales.
 *
 * @throws {Sam3Error} `VIDEO_INVALID`, `VIDEO_NO_STREAM`, `VIDEO_UNSUPPORTED`, `VIDEO_EMPTY`, `IMAGE_TOO_LARGE`
 */
export async function openWithNodeAv(av: NodeAv, request: OpenRequest): Promise<VideoDecoder> {
  const { name, maxPixels, signal } = request;
  const reader = await Reader.open(av, request);
  try {
    const { format, stream } = reader;
    await reader.openCodec();
    const { AVMEDIA_TYPE_AUDIO, AV_PKT_DATA_DISPLAYMATRIX } = av.constants;
    const turn = readDisplayMatrix(stream.codecpar.getCodedSideData(AV_PKT_DATA_DISPLAYMATRIX));
    const lying = turn.rotation % 180 !== 0;
    for await (const frame of reader.frames(signal)) {
      const [width, height] = lying ? [frame.height, frame.width] : [frame.width, frame.height];
      checkPixelCount(width, height, name, { maxPixels });
      const { num, den } = stream.timeBase;
      const facts: StreamFacts = {
        codec: av.avGetCodecName(stream.codecpar.codecId) ?? "unknown",
        container: format.iformat?.name ?? "unknown",
        timeBase: { num, den },
        rotation: turn.rotation,
        hasAudio: format.streams.some(({ codecpar }) => codecpar.codecType === AVMEDIA_TYPE_AUDIO),
        width,
        height,
        frameBytes: frameBytes(width, height, request.rgb ? undefined : yuvOf(av, frame)),
      };
      return new NodeAvDecoder(av, request, facts, turn);
    }
    throw noFrames(name);
  } finally {
    await reader.close();
  }
}

class NodeAvDecoder implements VideoDecoder {
  readonly name = "node-av";
  readonly facts: StreamFacts;
  readonly #av: NodeAv;
  readonly #request: OpenRequest;
  readonly #turn: Turn;

  constructor(av: NodeAv, request: OpenRequest, facts: StreamFacts, turn: Turn) {
    this.#av = av;
    this.#request = request;
    this.facts = facts;
    this.#turn = turn;
  }

  async packets(signal: AbortSignal): Promise<readonly StoredPacket[]> {
    const { AV_PKT_FLAG_DISCARD } = this.#av.constants;
    const packets: StoredPacket[] = [];
    const reader = await Reader.open(this.#av, { ...this.#request, signal });
    try {
      for (let result = "packet"; result === "packet"; ) {
        signal.throwIfAborted();
        result = await reader.nextPacket(({ pts, duration, isKeyframe, flags }) => {
          packets.push({
            tick: this.#tick(pts),
            duration: Number(duration),
            key: isKeyframe,
            discard: (flags & AV_PKT_FLAG_DISCARD) !== 0,
          });
        });
      }
      return packets;
    } finally {
      await reader.close();
    }
  }

  async ticks(signal: AbortSignal): Promise<readonly (number | null)[]> {
    const ticks: (number | null)[] = [];
    const reader = await Reader.open(this.#av, { ...this.#request, signal });
    try {
      await reader.openCodec();
      for await (const frame of reader.frames(signal)) ticks.push(this.#tickOf(frame));
      return ticks;
    } finally {
      await reader.close();
    }
  }

  async *decode({ seek, fromTick, skip, signal }: DecodeRequest): AsyncGenerator<DecodedFrame, void, void> {
    const { width, height } = this.facts;
    const lying = this.facts.rotation % 180 !== 0;
    const reader = await Reader.open(this.#av, { ...this.#request, signal });
    const stored = lying ? { width: height, height: width } : { width, height };
    const converter = new Converter(this.#av, reader.stream, {
      turn: this.#turn,
      rgb: this.#request.rgb,
      size: stored,
    });
    try {
      await reader.openCodec();
      if (seek !== null) await this.#seek(reader, seek);
      let left = seek === null ? skip : 0;
      for await (const frame of reader.frames(signal)) {
        if (left > 0) left--;
        else {
          const tick = this.#tickOf(frame);
          if (seek !== null && tick !== null && tick < fromTick) continue;
          yield { tick, pixels: await converter.convert(frame) };
        }
      }
    } finally {
      converter.free();
      await reader.close();
    }
  }

  /** Where seeking fails, decoding begins at the beginning: the first frame's time tells. */
  async #seek({ format, stream }: Reader, tick: number): Promise<void> {
    await format.seekFrame(stream.index, BigInt(tick), this.#av.constants.AVSEEK_FLAG_BACKWARD);
  }

  #tickOf({ bestEffortTimestamp }: Frame): number | null {
    return this.#tick(bestEffortTimestamp);
  }

  #tick(value: bigint): number | null {
    return value === this.#av.constants.AV_NOPTS_VALUE ? null : Number(value);
  }
}
