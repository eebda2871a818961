import { readSignal } from "../../abort.js";
import { describe } from "../../describe.js";
import { Sam3Error } from "../../errors.js";
import { readOptions } from "../../read-options.js";
import { type DecoderSearch, findDecoders } from "./choose-decoder.js";
import { declaredSize, isCutOff } from "./declared-size.js";
import { holdsNoFrames } from "./empty-file.js";
import { LiveSource } from "./live-source.js";
import { listPictures, PictureSource } from "./picture-source.js";
import { codecUnsupported, noFrames } from "./problems.js";
import { spool } from "./temporary-file.js";
import { VideoFile } from "./video-file.js";
import { lookAt, takeVideo } from "./video-input.js";
import type { VideoInput, VideoSource, VideoSourceOptions } from "./video-source.js";

const DEFAULTS = {
  decoder: "auto",
  fps: 25,
  readAhead: 8,
  stallTimeoutMs: 60_000,
  maxBytes: 16 * 2 ** 30,
  maxPixels: 128_000_000,
  rgb: false,
} as const;
const NAMES = [...Object.keys(DEFAULTS), "ffmpeg", "signal"];

/**
 * Opens whatever is taken as a video. What it holds is known when this is done; what it decodes with must be disposed.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT`, `VIDEO_NOT_FOUND`, `VIDEO_INVALID`, `VIDEO_NO_STREAM`, `VIDEO_EMPTY`,
 *   `VIDEO_UNSUPPORTED`, `VIDEO_TOO_LARGE`, `VIDEO_STALLED`, `DECODER_NOT_FOUND`, `DISK_FULL`, `IMAGE_NOT_FOUND`,
 *   `IMAGE_INVALID`, `IMAGE_TOO_LARGE`; the signal's reason when it was aborted
 * @example
 * ```ts
 * const video = await openVideo("clip.mp4");
 * for await (const { index, time } of video.frames({ start: 100 })) console.log(index, time);
 * await video.dispose();
 * ```
 */
export async function openVideo(
  input: VideoInput,
  options: VideoSourceOptions = {},
  search?: DecoderSearch,
): Promise<VideoSource> {
  const read = readVideoOptions(options);
  const { signal } = read;
  signal?.throwIfAborted();
  const taken = takeVideo(input);
  if (taken.kind === "pictures") {
    return PictureSource.open(taken.pictures, { ...read, name: "The list of pictures" }, signal);
  }
  if (taken.kind === "live")
    return LiveSource.open(taken.frames, { ...read, name: "The live source" }, signal);
  if (taken.kind === "path") {
    const { path } = taken;
    if ((await lookAt(path)) === "file") return openFile(path, path, read, search, async () => {});
    return PictureSource.open(await listPictures(path), { ...read, name: path }, signal);
  }
  const { path, remove } = await spool(taken.stream, read);
  return openFile(path, "The video", read, search, remove).catch(async (error: unknown) => {
    await remove();
    throw error;
  });
}

type ReadOptions = ReturnType<typeof readVideoOptions>;

async function openFile(
  path: string,
  name: string,
  options: ReadOptions,
  search: DecoderSearch | undefined,
  cleanUp: () => Promise<void>,
): Promise<VideoSource> {
  const { rgb, maxPixels, readAhead, stallTimeoutMs } = options;
  const signal = options.signal ?? new AbortController().signal;
  const request = { path, name, rgb, maxPixels, signal };
  const truncated = await isCutOff(path, await declaredSize(path));
  const decoders = await findDecoders(options, search);
  const lacking: Sam3Error[] = [];
  for (const { open } of decoders) {
    try {
      const decoder = await open(request);
      return await VideoFile.open(decoder, { name, readAhead, stallTimeoutMs, truncated, cleanUp }, signal);
    } catch (error) {
      if (Sam3Error.is(error, "VIDEO_INVALID") && !truncated && (await holdsNoFrames(path))) {
        throw noFrames(name);
      }
      // What one decoder was built without, another may have.
      if (!Sam3Error.is(error, "VIDEO_UNSUPPORTED")) throw error;
      lacking.push(error);
    }
  }
  // Either of them may know what the codec is called.
  const best = lacking.find(({ details }) => details.known) ?? lacking[0];
  if (best === undefined) throw new Sam3Error("INTERNAL", "There is no decoder, and nobody said so.");
  const { codec, known } = best.details;
  throw codecUnsupported(
    name,
    String(codec),
    known === true,
    decoders.map((it) => it.name),
  );
}

/** Checks options and fills them up. Throws `INVALID_ARGUMENT`. */
export function readVideoOptions(options: VideoSourceOptions) {
  readOptions("openVideo", options, NAMES);
  const { decoder = DEFAULTS.decoder, ffmpeg, rgb = DEFAULTS.rgb } = options;
  if (!["auto", "node-av", "ffmpeg"].includes(decoder)) {
    throw bad("decoder", decoder, '"auto", "node-av" or "ffmpeg"');
  }
  if (ffmpeg !== undefined && (typeof ffmpeg !== "string" || ffmpeg === "")) {
    throw bad("ffmpeg", ffmpeg, "the path of the ffmpeg program");
  }
  if (typeof rgb !== "boolean") throw bad("rgb", rgb, "true or false");
  const { fps = DEFAULTS.fps } = options;
  if (typeof fps !== "number" || !(fps > 0 && fps <= 1000))
    throw bad("fps", fps, "a number above 0, at most 1000");
  const whole = (
    name: "readAhead" | "stallTimeoutMs" | "maxBytes" | "maxPixels",
    least: number,
    most: number,
  ) => {
    const value = options[name] ?? DEFAULTS[name];
    if (!Number.isInteger(value) || value < least || value > most) {
      throw bad(name, value, `a whole number from ${least} to ${most}`);
    }
    return value;
  };
  return {
    decoder,
    ffmpeg,
    rgb,
    fps,
    readAhead: whole("readAhead", 1, 256),
    stallTimeoutMs: whole("stallTimeoutMs", 0, 2 ** 31 - 1),
    maxBytes: whole("maxBytes", 1, Number.MAX_SAFE_INTEGER),
    maxPixels: whole("maxPixels", 1, 2 ** 31 - 1),
    signal: readSignal(options.signal),
  };
}

function bad(name: string, value: unknown, what: string): Sam3Error {
  return new Sam3Error("INVALID_ARGUMENT", `${name} is ${describe(value)}; it must be ${what}.`);
}
