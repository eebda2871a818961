import { Sam3Error } from "../../../errors.js";
import { checkPixelCount } from "../../../image/take-image.js";
import { isKnown, nameCodec } from "../codec-name.js";
import { frameBytes, planesOf, SCALER_FLAGS, type Yuv } from "../colour.js";
import {
  CONTAINERS,
  type DecodedFrame,
  type DecodeRequest,
  DecodingStopped,
  type OpenRequest,
  type StoredPacket,
  type StreamFacts,
  type TimeBase,
  type VideoDecoder,
} from "../decoder.js";
import { codecUnsupported, noFrames, notAVideo, noVideoStream } from "../problems.js";
import { type Banner, BannerReader, readShown, type ShownFrame } from "./banner.js";
import { Child } from "./child.js";
import type { FfmpegProgram } from "./find-ffmpeg.js";
import { readFrames } from "./frame-reader.js";
import { readPackets } from "./packet-list.js";

/**
 * Opens a file with an ffmpeg program. Times come from its `showinfo` filter and from its list of packets, never from
 * a frame rate.
 *
 * @throws {Sam3Error} `VIDEO_INVALID`, `VIDEO_NO_STREAM`, `VIDEO_UNSUPPORTED`, `VIDEO_EMPTY`, `IMAGE_TOO_LARGE`
 */
export async function openWithFfmpeg(program: FfmpegProgram, request: OpenRequest): Promise<VideoDecoder> {
  const { name, signal, maxPixels } = request;
  const { banner, packets, timeBase } = await listPackets(program, request);
  const first = await probe(program, request, banner);
  const { width, height } = first;
  checkPixelCount(width, height, name, { maxPixels });
  const yuv = request.rgb ? undefined : planesOf(banner.format, banner.matrix, banner.range);
  const facts: StreamFacts = {
    codec: banner.codec,
    container: banner.container,
    timeBase,
    rotation: banner.rotation,
    hasAudio: banner.hasAudio,
    width,
    height,
    frameBytes: frameBytes(width, height, yuv),
  };
  signal.throwIfAborted();
  return new FfmpegDecoder(program, request, { facts, start: banner.start, yuv, packets });
}

/** What opening found out about a file. */
interface Found {
  readonly facts: StreamFacts;
  readonly start: number;
  readonly yuv: Yuv | undefined;
  readonly packets: readonly StoredPacket[];
}

class FfmpegDecoder implements VideoDecoder {
  readonly name = "ffmpeg";
  readonly facts: StreamFacts;
  readonly #program: FfmpegProgram;
  readonly #request: OpenRequest;
  readonly #start: number;
  readonly #yuv: Yuv | undefined;
  /** Those that opening has listed, until they are asked for. */
  #packets: readonly StoredPacket[] | undefined;

  constructor(program: FfmpegProgram, request: OpenRequest, { facts, start, yuv, packets }: Found) {
    this.#program = program;
    this.#request = request;
    this.facts = facts;
    this.#start = start;
    this.#yuv = yuv;
    this.#packets = packets;
  }

  async packets(signal: AbortSignal): Promise<readonly StoredPacket[]> {
    const listed = this.#packets;
    this.#packets = undefined;
    return listed ?? (await listPackets(this.#program, { ...this.#request, signal })).packets;
  }

  async ticks(signal: AbortSignal): Promise<readonly (number | null)[]> {
    const ticks: (number | null)[] = [];
    const args = [...inputArgs(this.#request.path), ...this.#frameArgs("showinfo"), "-f", "null", "-"];
    const child = new Child(this.#program.path, args, signal, (line) => {
      const shown = readShown(line);
      if (shown) ticks.push(shown.tick);
    });
    child.stdout.resume();
    await child.ended;
    signal.throwIfAborted();
    return ticks;
  }

  async *decode({ seek, fromTick, skip, signal }: DecodeRequest): AsyncGenerator<DecodedFrame, void, void> {
    const { width, height } = this.facts;
    const shown: ShownFrame[] = [];
    let wake = () => {};
    const child = new Child(this.#program.path, this.#decodeArgs(seek, fromTick, skip), signal, (line) => {
      const frame = readShown(line);
      if (frame) shown.push(frame);
      wake();
    });
    const ended = child.ended.then(
      (code) => code,
      (error: Error) => error,
    );
    ended.then(() => wake());
    try {
      let over = false;
      ended.then(() => {
        over = true;
      });
      for await (const data of readFrames(child.stdout, this.facts.frameBytes)) {
        // The line on a frame is written before its pixels, but through another pipe.
        while (shown.length === 0 && !over) {
          await new Promise<void>((done) => {
            wake = done;
          });
        }
        const frame = shown.shift();
        yield {
          tick: frame?.tick ?? null,
          pixels: { data, width, height, ...(this.#yuv ? { yuv: this.#yuv } : {}) },
        };
      }
      signal.throwIfAborted();
      const end = await ended;
      signal.throwIfAborted();
      if (end !== 0) throw new DecodingStopped(end instanceof Error ? end.message : lastLine(child.said));
    } finally {
      child.kill();
    }
  }

  #decodeArgs(seek: number | null, fromTick: number, skip: number): string[] {
    const { width, height } = this.facts;
    const { num, den } = this.facts.timeBase;
    const trim = seek === null ? `trim=start_frame=${skip}` : `trim=start_pts=${fromTick}`;
    const formats = this.#yuv ? "yuv420p|yuvj420p" : "rgb24";
    // Frames of another size in the middle of a stream are made as large as the first.
    const scale = `scale=${width}:${height}:flags=${SCALER_FLAGS}`;
    const ahead =
      seek === null ? [] : ["-noaccurate_seek", "-ss", ((seek * num) / den - this.#start).toFixed(6)];
    return [
      ...inputArgs(this.#request.path, ahead),
      ...this.#frameArgs(`${trim},${showinfo(this.#program)},${scale},format=${formats}`),
      ...["-f", "rawvideo", "pipe:1"],
    ];
  }

  #frameArgs(filters: string): string[] {
    return frameArgs(this.#program, filters);
  }
}

/** Every frame that is decoded once, none dropped or repeated for a constant rate. */
function frameArgs({ modern }: FfmpegProgram, filters: string): string[] {
  const pass = modern ? ["-fps_mode", "passthrough"] : ["-vsync", "passthrough"];
  return ["-map", "0:V:0", "-an", "-sn", "-dn", "-vf", filters, ...pass];
}

function inputArgs(path: string, seek: readonly string[] = []): string[] {
  return [
    ...["-nostdin", "-nostats", "-hide_banner", "-loglevel", "info", "-copyts"],
    ...seek,
    ...["-protocol_whitelist", "file,pipe", "-format_whitelist", CONTAINERS, "-i", `file:${path}`],
  ];
}

/** Checksums are what costs most in `showinfo`; old versions cannot leave them out. */
function showinfo({ modern }: FfmpegProgram): string {
  return modern ? "showinfo=checksum=0" : "showinfo";
}

async function listPackets(
  program: FfmpegProgram,
  { path, name, signal }: OpenRequest,
): Promise<{ banner: Banner; packets: StoredPacket[]; timeBase: TimeBase }> {
  const reader = new BannerReader();
  const args = [
    ...inputArgs(path),
    ...["-map", "0:V:0", "-c", "copy", "-copyinkf", "-f", "framecrc", "pipe:1"],
  ];
  const child = new Child(program.path, args, signal, (line) => reader.read(line));
  try {
    const { packets, timeBase } = await readPackets(child);
    await child.ended;
    signal.throwIfAborted();
    const { banner } = reader;
    if (banner.container === "") throw notAVideo(name, lastLine(child.said));
    if (!banner.hasVideo) throw noVideoStream(name);
    if (!isKnown(banner.codec)) {
      throw codecUnsupported(name, await nameCodec(path, banner), false, ["ffmpeg"]);
    }
    if (packets.length === 0 || timeBase === undefined) throw noFrames(name);
    return { banner, packets, timeBase };
  } catch (error) {
    signal.throwIfAborted();
    throw Sam3Error.is(error) ? error : notAVideo(name, String(error));
  } finally {
    child.kill();
  }
}

/** Decodes the first frame: whether it can be, and how large frames are once they were turned. */
async function probe(
  program: FfmpegProgram,
  { path, name, signal }: OpenRequest,
  banner: Banner,
): Promise<ShownFrame> {
  let first: ShownFrame | undefined;
  const args = [
    ...inputArgs(path),
    ...frameArgs(program, "showinfo"),
    ...["-frames:v", "1", "-f", "null", "-"],
  ];
  const child = new Child(program.path, args, signal, (line) => {
    first ??= readShown(line);
  });
  child.stdout.resume();
  await child.ended;
  signal.throwIfAborted();
  if (first !== undefined) return first;
  const { said } = child;
  if (/no decoder found|Decoder .*not found|Unknown decoder|Unsupported codec/i.test(said)) {
    throw codecUnsupported(name, banner.codec, true, ["ffmpeg"]);
  }
  throw noFrames(name, lastLine(said));
}

/** The last thing said that is worth repeating. */
function lastLine(said: string): string {
  const lines = said.split("\n").filter((line) => line.trim() !== "");
  const telling = lines.filter((line) => /invalid|error|not found|corrupt|partial|unsupported/i.test(line));
  return (telling.at(-1) ?? lines.at(-1) ?? "").replace(/^\[[^\]]*\]\s*/, "").trim();
}
