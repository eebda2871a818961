import { extname } from "node:path";
import { Sam3Error } from "../../errors.js";

/** How frames are encoded. */
export interface VideoEncoder {
  /** As FFmpeg calls it. */
  readonly name: string;
  /** Its options, as FFmpeg's libraries name them: what looks as the drawn frame does, quickly. */
  readonly options: Readonly<Record<string, string>>;
}

/** A kind of video file. */
export interface VideoContainer {
  /** FFmpeg's name of it. */
  readonly muxer: string;
  /** Those that are tried, best first. */
  readonly encoders: readonly VideoEncoder[];
}

/** FFmpeg's unit of quantisers (`FF_QP2LAMBDA`): `-q 3` of its command line is this times three. */
const QP_TO_LAMBDA = 118;

const X264 = { name: "libx264", options: { preset: "veryfast", crf: "18" } };
const OPENH264 = { name: "libopenh264", options: {} };
const VIDEOTOOLBOX = { name: "h264_videotoolbox", options: {} };
const MEDIA_FOUNDATION = { name: "h264_mf", options: {} };
const MPEG4 = { name: "mpeg4", options: { flags: "+qscale", global_quality: String(3 * QP_TO_LAMBDA) } };
const VP9 = { name: "libvpx-vp9", options: { crf: "24", b: "0", deadline: "realtime", "cpu-used": "6" } };
const VP8 = { name: "libvpx", options: { crf: "8", b: "8M", deadline: "realtime" } };
const H264 = [X264, OPENH264, VIDEOTOOLBOX, MEDIA_FOUNDATION, MPEG4];

/** Containers by how a file's name ends. */
const CONTAINERS: Readonly<Record<string, VideoContainer>> = {
  ".mp4": { muxer: "mp4", encoders: H264 },
  ".mov": { muxer: "mov", encoders: H264 },
  ".mkv": { muxer: "matroska", encoders: [X264, OPENH264, MPEG4] },
  ".webm": { muxer: "webm", encoders: [VP9, VP8] },
  ".avi": { muxer: "avi", encoders: [MPEG4] },
};

/** How names of video files that can be written end. */
export const VIDEO_ENDINGS = Object.keys(CONTAINERS);

/**
 * What a file of that name is to be.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT`
 */
export function containerOf(path: string): VideoContainer {
  const container = CONTAINERS[extname(path).toLowerCase()];
  if (container) return container;
  throw new Sam3Error("INVALID_ARGUMENT", `${path} must end in ${VIDEO_ENDINGS.join(", ")}, or be a folder.`);
}

/** Most players want even sizes; a line at the border is repeated rather than the picture scaled. */
export const EVEN_SIDES = "ceil(iw/2)*2:ceil(ih/2)*2";
