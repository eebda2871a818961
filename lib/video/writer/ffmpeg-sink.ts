import { spawn } from "node:child_process";
import { once } from "node:events";
import { rename, rm } from "node:fs/promises";
import { dirname, extname, resolve } from "node:path";
import { onAbort } from "../../abort.js";
import { Sam3Error } from "../../errors.js";
import { runToEnd } from "../sources/ffmpeg/child.js";
import { askFfmpeg, findFfmpeg } from "../sources/ffmpeg/find-ffmpeg.js";
import { makeFolder } from "./folder-sink.js";
import type { FrameFormat, FrameSink } from "./frame-sink.js";

/** Containers by how a file's name ends, and the encoders that are tried for each, best first. */
const CONTAINERS: Readonly<Record<string, { readonly muxer: string; readonly encoders: readonly string[] }>> =
  {
    ".mp4": { muxer: "mp4", encoders: ["libx264", "libopenh264", "h264_videotoolbox", "h264_mf", "mpeg4"] },
    ".mov": { muxer: "mov", encoders: ["libx264", "libopenh264", "h264_videotoolbox", "h264_mf", "mpeg4"] },
    ".mkv": { muxer: "matroska", encoders: ["libx264", "libopenh264", "mpeg4"] },
    ".webm": { muxer: "webm", encoders: ["libvpx-vp9", "libvpx"] },
    ".avi": { muxer: "avi", encoders: ["mpeg4"] },
  };

const QUALITY: Readonly<Record<string, readonly string[]>> = {
  libx264: ["-preset", "veryfast", "-crf", "18"],
  "libvpx-vp9": ["-crf", "24", "-b:v", "0", "-deadline", "realtime", "-cpu-used", "6"],
  libvpx: ["-crf", "8", "-b:v", "8M", "-deadline", "realtime"],
  mpeg4: ["-q:v", "3"],
};

/** How names of video files that can be written end. */
export const VIDEO_ENDINGS = Object.keys(CONTAINERS);

/** Which ffmpeg writes, and where. */
export interface FfmpegSinkOptions extends FrameFormat {
  readonly path: string;
  /** The program; looked for on the path when undefined. */
  readonly ffmpeg: string | undefined;
  readonly env: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
}

/**
 * Writes frames as a video, through an ffmpeg. The file appears under its name once it is whole.
 *
 * @throws {Sam3Error} `DECODER_NOT_FOUND` without ffmpeg, `UNSUPPORTED` where it has no encoder for this kind of file
 */
export async function openFfmpegSink(options: FfmpegSinkOptions): Promise<FrameSink> {
  const { path, env, signal, width, height, fps } = options;
  const ending = extname(path).toLowerCase();
  const container = CONTAINERS[ending];
  if (container === undefined) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `${path} must end in ${VIDEO_ENDINGS.join(", ")}, or be a folder.`,
    );
  }
  const found = options.ffmpeg ?? (await findFfmpeg(env));
  const program = found === undefined ? undefined : await askFfmpeg(found, signal);
  if (program === undefined) {
    throw new Sam3Error(
      "DECODER_NOT_FOUND",
      `Writing ${ending} needs an ffmpeg, and ${found ?? "none on the path"} was found to run. Install one, or name a folder: it gets pictures.`,
    );
  }
  const encoder = await chooseEncoder(program.path, container.encoders, signal);
  if (encoder === undefined) {
    throw new Sam3Error(
      "UNSUPPORTED",
      `${program.path} has none of the encoders ${container.encoders.join(", ")} for ${ending}. Choose another ending, or name a folder: it gets pictures.`,
    );
  }
  await makeFolder(dirname(resolve(path)));
  const partial = `${path}.partial`;
  // Most players want even sizes; a line at the border is repeated rather than the picture scaled.
  const even = "pad=ceil(iw/2)*2:ceil(ih/2)*2";
  return start(program.path, path, partial, signal, [
    ...["-nostdin", "-nostats", "-hide_banner", "-loglevel", "error", "-y"],
    ...[
      "-f",
      "rawvideo",
      "-pix_fmt",
      "rgb24",
      "-s",
      `${width}x${height}`,
      "-r",
      fps.toFixed(6),
      "-i",
      "pipe:0",
    ],
    ...["-an", "-vf", `${even},scale=out_color_matrix=bt709:out_range=tv`, "-pix_fmt", "yuv420p"],
    ...["-colorspace", "bt709", "-color_range", "tv", "-c:v", encoder, ...(QUALITY[encoder] ?? [])],
    ...["-f", container.muxer, `file:${resolve(partial)}`],
  ]);
}

function start(
  program: string,
  path: string,
  partial: string,
  signal: AbortSignal,
  args: readonly string[],
): FrameSink {
  const child = spawn(program, args, { stdio: ["pipe", "ignore", "pipe"], windowsHide: true });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(-2000);
  });
  const ended = new Promise<number | null>((done) => {
    child.once("error", () => done(-1));
    child.once("close", done);
  });
  // What breaks shows by the exit code.
  child.stdin.on("error", () => {});
  const forget = onAbort(signal, () => child.kill("SIGKILL"));
  const failed = async () => {
    await ended;
    signal.throwIfAborted();
    const why = said.trim().split("\n").at(-1) ?? "";
    return new Sam3Error("OUTPUT_FAILED", `${path} cannot be written: ${why || "ffmpeg stopped"}.`);
  };
  return {
    write: async (_, rgb) => {
      if (child.stdin.destroyed) throw await failed();
      if (!child.stdin.write(rgb)) await Promise.race([once(child.stdin, "drain").catch(() => {}), ended]);
      if (child.exitCode !== null) throw await failed();
    },
    close: async () => {
      child.stdin.end();
      const code = await ended;
      forget();
      if (code !== 0) throw await failed();
      await rename(partial, path);
    },
    abort: async () => {
      forget();
      child.kill("SIGKILL");
      await ended;
      await rm(partial, { force: true });
    },
  };
}

async function chooseEncoder(
  program: string,
  wanted: readonly string[],
  signal: AbortSignal,
): Promise<string | undefined> {
  const { stdout } = await runToEnd(program, ["-hide_banner", "-encoders"], signal);
  // ` V..... libx264   libx264 H.264 …`
  const there = new Set([...stdout.matchAll(/^ V\S{5} (\S+)/gm)].map(([, name]) => name));
  return wanted.find((name) => there.has(name));
}
