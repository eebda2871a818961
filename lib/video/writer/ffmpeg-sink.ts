import { spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { onAbort } from "../../abort.js";
import { runToEnd } from "../sources/ffmpeg/child.js";
import type { FfmpegProgram } from "../sources/ffmpeg/find-ffmpeg.js";
import {
  cannotWriteVideo,
  dropPartial,
  type FrameSink,
  nameVideo,
  partialOf,
  type VideoSinkFormat,
} from "./frame-sink.js";
import { EVEN_SIDES, type VideoContainer, type VideoEncoder } from "./video-container.js";

/** Writes frames as a video, through an ffmpeg. The file appears under its name once it is whole. */
export function openFfmpegSink(
  program: FfmpegProgram,
  container: VideoContainer,
  encoder: VideoEncoder,
  { path, width, height, fps, signal }: VideoSinkFormat,
): FrameSink {
  const options = Object.entries(encoder.options).flatMap(([name, value]) => [`-${name}:v`, value]);
  return start(program.path, path, signal, [
    ...["-nostdin", "-nostats", "-hide_banner", "-loglevel", "error", "-y"],
    ...["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", `${width}x${height}`, "-r", fps.toFixed(6)],
    ...["-i", "pipe:0"],
    ...["-an", "-vf", `pad=${EVEN_SIDES},scale=out_color_matrix=bt709:out_range=tv`, "-pix_fmt", "yuv420p"],
    ...["-colorspace", "bt709", "-color_range", "tv", "-c:v", encoder.name, ...options],
    ...["-f", container.muxer, `file:${resolve(partialOf(path))}`],
  ]);
}

/** The first encoder that a program has; undefined where it has none of them. */
export async function ffmpegEncoder(
  { path }: FfmpegProgram,
  { encoders }: VideoContainer,
  signal: AbortSignal,
): Promise<VideoEncoder | undefined> {
  const { stdout } = await runToEnd(path, ["-hide_banner", "-encoders"], signal);
  // ` V..... libx264   libx264 H.264 …`
  const there = new Set([...stdout.matchAll(/^ V\S{5} (\S+)/gm)].map(([, name]) => name));
  return encoders.find(({ name }) => there.has(name));
}

function start(program: string, path: string, signal: AbortSignal, args: readonly string[]): FrameSink {
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
    return cannotWriteVideo(path, said.trim().split("\n").at(-1) || "ffmpeg stopped");
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
      await nameVideo(path);
    },
    abort: async () => {
      forget();
      child.kill("SIGKILL");
      await ended;
      await dropPartial(path);
    },
  };
}
