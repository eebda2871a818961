import { execFileSync } from "node:child_process";
import { chmodSync, writeFileSync } from "node:fs";
import { askFfmpeg } from "../../lib/video/sources/ffmpeg/find-ffmpeg.js";
import { pythonWith } from "./python.js";
import { clipPath, FFMPEG } from "./video-clips.js";

/** A program to decode with, and how it is called in the names of tests. */
interface Program {
  readonly name: string;
  readonly path: string;
}

/**
 * An FFmpeg of version 6 or newer, whose options are called otherwise: `SAM3_TEST_FFMPEG`, or the one that the Python
 * package imageio-ffmpeg holds where the tests' Python has it, or else the old one behind a script that takes the new options.
 */
const MODERN: Program = (await named()) ?? (await ofPython()) ?? pretended();

/** Every way to decode a file that tests go through; `options` are those of `openVideo`. */
export const DECODERS = [
  { name: "node-av", options: { decoder: "node-av" } },
  { name: "ffmpeg", options: { decoder: "ffmpeg", ffmpeg: FFMPEG } },
  { name: MODERN.name, options: { decoder: "ffmpeg", ffmpeg: MODERN.path } },
] as const;

async function named(): Promise<Program | undefined> {
  const path = process.env.SAM3_TEST_FFMPEG;
  if (!path) return undefined;
  const program = await modern(path);
  if (program === undefined) throw new Error(`SAM3_TEST_FFMPEG: ${path} is no FFmpeg 6 or newer that runs`);
  return program;
}

async function ofPython(): Promise<Program | undefined> {
  const found = pythonWith(["imageio_ffmpeg"]);
  if ("reason" in found) return undefined;
  const ask = "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())";
  return modern(execFileSync(found.python, ["-c", ask], { encoding: "utf8" }).trim());
}

async function modern(path: string): Promise<Program | undefined> {
  const program = await askFfmpeg(path, new AbortController().signal);
  return program?.modern ? { name: `ffmpeg ${program.version}`, path } : undefined;
}

/** Takes the options of new versions only; what it says and writes is the old one's. */
function pretended(): Program {
  console.log(
    "not run: a real FFmpeg of version 6 or newer (SAM3_TEST_FFMPEG, or pip install imageio-ffmpeg)",
  );
  const path = clipPath("modern-ffmpeg");
  const script = `#!/bin/sh
case "$*" in *-version*) ${FFMPEG} -version | sed 's/^libavutil .*/libavutil 60. 8.100 \\/ 60. 8.100/'; exit;; esac
for word do
  shift
  case "$word" in
    -vsync) echo "Unrecognized option 'vsync'." >&2; exit 8;;
    -fps_mode) word=-vsync;;
    *showinfo=checksum=0*) word=$(printf %s "$word" | sed 's/showinfo=checksum=0/showinfo/');;
  esac
  set -- "$@" "$word"
done
exec ${FFMPEG} "$@"
`;
  writeFileSync(path, script);
  chmodSync(path, 0o755);
  return { name: "ffmpeg of new options", path };
}
