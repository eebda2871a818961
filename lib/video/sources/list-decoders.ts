import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Sam3Error } from "../../errors.js";
import { type DecoderChoice, type DecoderSearch, findDecoders, HERE } from "./choose-decoder.js";
import { askFfmpeg, findFfmpeg } from "./ffmpeg/find-ffmpeg.js";

/** What could decode video files here. */
export interface VideoDecoders {
  /** Null where it is not installed or does not load. */
  readonly nodeAv: {
    /** Of the package; null where that cannot be told. */
    readonly version: string | null;
    /** Version of the FFmpeg in it. */
    readonly ffmpeg: string;
  } | null;
  /** The program that was named, or else the first one on the path; null where there is none. */
  readonly ffmpeg: {
    readonly path: string;
    /** Null where it does not run, or is no ffmpeg. */
    readonly version: string | null;
  } | null;
  /** In the order they are tried: the next one where one lacks a codec. */
  readonly order: readonly ("node-av" | "ffmpeg")[];
}

/** Looks for everything that could decode a video file, and says what would be used. */
export async function listDecoders(
  choice: DecoderChoice,
  signal: AbortSignal,
  search: DecoderSearch = HERE,
): Promise<VideoDecoders> {
  const av = await search.nodeAv();
  const path = choice.ffmpeg ?? (await findFfmpeg(search.env));
  const program = path === undefined ? undefined : await askFfmpeg(path, signal);
  const found = await findDecoders(choice, search).catch((error: unknown) => {
    if (!Sam3Error.is(error, "DECODER_NOT_FOUND")) throw error;
    return [];
  });
  return {
    nodeAv: av === undefined ? null : { version: await packageVersion(), ffmpeg: av.getFFmpegInfo().version },
    ffmpeg: path === undefined ? null : { path, version: program?.version ?? null },
    order: found.map(({ name }) => name),
  };
}

/** The package does not export its package.json. */
async function packageVersion(): Promise<string | null> {
  let folder = dirname(createRequire(import.meta.url).resolve("node-av/lib"));
  for (let parent = dirname(folder); parent !== folder; folder = parent, parent = dirname(folder)) {
    const text = await readFile(join(folder, "package.json"), "utf8").catch(() => "{}");
    const { name, version } = JSON.parse(text) as { name?: string; version?: string };
    if (name === "node-av") return version ?? null;
  }
  return null;
}
