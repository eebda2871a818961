import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import installer from "@ffmpeg-installer/ffmpeg";
import { afterAll } from "vitest";
import type { NativePixels } from "../../lib/native/addon.js";

/** An ffmpeg that comes with the development packages: FFmpeg of 2018, with x264, x265 and vpx. */
export const FFMPEG: string = installer.path;

/** Frames of every clip that does not say otherwise: more than four groups of pictures. */
export const FRAMES = 50;

const BITS = 6;
const BLOCK = 12;

const folder = mkdtempSync(join(tmpdir(), "sam3-clips-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A path for a file of this test file. */
export function clipPath(name: string): string {
  return join(folder, name);
}

/** Runs the ffmpeg of the development packages. */
export async function ffmpeg(...args: string[]): Promise<{ stdout: Buffer; stderr: string }> {
  const run = promisify(execFile);
  const options = { encoding: "buffer" as const, maxBuffer: 1 << 30 };
  const { stdout, stderr } = await run(FFMPEG, ["-nostdin", "-hide_banner", "-y", ...args], options);
  return { stdout, stderr: stderr.toString() };
}

/** A folder's worth of raw frames: a number in white and black blocks, and a square that moves and changes its colour. */
export function drawFrames(width: number, height: number, count: number): Buffer {
  const out = Buffer.alloc(width * height * 3 * count);
  for (let n = 0; n < count; n++) {
    const base = n * width * height * 3;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const at = base + (y * width + x) * 3;
        const bit = Math.floor(x / BLOCK);
        if (y < BLOCK && bit < BITS) out.fill((n >> bit) & 1 ? 235 : 20, at, at + 3);
        else {
          const inside =
            Math.abs(x - ((7 * n) % width)) < 14 && Math.abs(y - 20 - ((3 * n) % (height - 20))) < 12;
          out[at] = inside ? 240 - 4 * n : 40 + x;
          out[at + 1] = inside ? 40 : 60 + y;
          out[at + 2] = inside ? 3 * n : 90;
        }
      }
    }
  }
  return out;
}

/** The number that is drawn on a frame, read from its pixels. */
export function numberOf({ data, width, yuv }: NativePixels): number {
  let number = 0;
  for (let bit = 0; bit < BITS; bit++) {
    const at = (BLOCK / 2) * width + bit * BLOCK + BLOCK / 2;
    if ((data[yuv ? at : at * 3] as number) > 128) number |= 1 << bit;
  }
  return number;
}

/** Encodes drawn frames; `output` is ffmpeg's options for the codec. A tone is added where `audio` is set. */
export async function makeClip(
  name: string,
  {
    width = 98,
    height = 66,
    count = FRAMES,
    audio = false,
    output,
  }: { width?: number; height?: number; count?: number; audio?: boolean; output: readonly string[] },
): Promise<string> {
  const raw = clipPath(`${width}x${height}x${count}.rgb`);
  await writeFile(raw, drawFrames(width, height, count));
  const path = clipPath(name);
  const video = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", `${width}x${height}`, "-r", "25", "-i", raw];
  const tone = audio ? ["-f", "lavfi", "-i", `sine=d=${count / 25}`, "-shortest"] : [];
  await ffmpeg("-v", "error", ...video, ...tone, ...output, path);
  return path;
}

/** What ffmpeg itself decodes from a file: every frame's pixels and time in seconds. */
export async function reference(
  path: string,
  format: "yuv420p" | "yuvj420p" | "rgb24",
): Promise<{ times: number[]; frames: Uint8Array[] }> {
  const { stdout, stderr } = await ffmpeg(
    ...["-copyts", "-i", path, "-map", "0:V:0", "-vsync", "passthrough", "-vf", "showinfo"],
    ...["-sws_flags", "bicubic+accurate_rnd+full_chroma_int", "-pix_fmt", format, "-f", "rawvideo", "-"],
  );
  const times = [...stderr.matchAll(/ pts_time:(\S+)/g)].map(([, time]) => Number(time));
  const bytes = stdout.length / times.length;
  return { times, frames: times.map((_, i) => stdout.subarray(i * bytes, (i + 1) * bytes)) };
}
