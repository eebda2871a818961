import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { runToEnd } from "./child.js";

/** An ffmpeg program that runs. */
export interface FfmpegProgram {
  readonly path: string;
  /** As it says it; builds from git have a hash. */
  readonly version: string;
  /** FFmpeg 6 and newer: some options are called otherwise than before. */
  readonly modern: boolean;
}

/** The first ffmpeg on the search path; undefined where there is none. */
export async function findFfmpeg(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const names = process.platform === "win32" ? ["ffmpeg.exe"] : ["ffmpeg"];
  for (const folder of (env.PATH ?? env.Path ?? "").split(delimiter)) {
    for (const name of names) {
      const path = join(folder, name);
      if (folder !== "" && (await isProgram(path))) return path;
    }
  }
  return undefined;
}

/** Asks a program whether it is ffmpeg, and of which age; undefined where it does not run. */
export async function askFfmpeg(path: string, signal: AbortSignal): Promise<FfmpegProgram | undefined> {
  const { code, stdout } = await runToEnd(path, ["-hide_banner", "-version"], signal).catch((error) => {
    signal.throwIfAborted();
    return { code: 1, stdout: String(error) };
  });
  const version = /^ffmpeg version (\S+)/m.exec(stdout)?.[1];
  // Builds from git have no version number; libraries always have.
  const library = /^libavutil\s+(\d+)\./m.exec(stdout);
  if (code !== 0 || library === null || version === undefined) return undefined;
  return { path, version, modern: Number(library[1]) >= 58 };
}

function isProgram(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
