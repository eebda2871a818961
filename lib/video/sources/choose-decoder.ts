import type { OpenRequest, VideoDecoder } from "./decoder.js";
import { askFfmpeg, findFfmpeg } from "./ffmpeg/find-ffmpeg.js";
import { openWithFfmpeg } from "./ffmpeg/open-ffmpeg.js";
import { loadNodeAv, type NodeAv } from "./node-av/load-node-av.js";
import { openWithNodeAv } from "./node-av/open-node-av.js";
import { decoderUnusable, noDecoder } from "./problems.js";

/** Opens a file with one decoder. */
export type OpenDecoder = (request: OpenRequest) => Promise<VideoDecoder>;

/** Where decoders are looked for; tests look elsewhere. */
export interface DecoderSearch {
  readonly env: NodeJS.ProcessEnv;
  /** Imports node-av; undefined where it is not installed. */
  readonly nodeAv: () => Promise<NodeAv | undefined>;
}

/**
 * The decoders that can be tried, best first: node-av, where it is installed, works inside of this process and seeks
 * faster; an ffmpeg that is named by the caller comes before it.
 *
 * @throws {Sam3Error} `DECODER_NOT_FOUND`
 */
export async function findDecoders(
  {
    decoder,
    ffmpeg,
  }: { readonly decoder: "auto" | "node-av" | "ffmpeg"; readonly ffmpeg: string | undefined },
  { env, nodeAv }: DecoderSearch = { env: process.env, nodeAv: loadNodeAv },
): Promise<OpenDecoder[]> {
  const found: OpenDecoder[] = [];
  if (decoder !== "ffmpeg") {
    const av = await nodeAv();
    if (av !== undefined) found.push((request) => openWithNodeAv(av, request));
    else if (decoder === "node-av") throw decoderUnusable("node-av", "it is not installed or does not load");
  }
  if (decoder !== "node-av") {
    const path = ffmpeg ?? (await findFfmpeg(env));
    if (path === undefined && decoder === "ffmpeg") {
      throw decoderUnusable("ffmpeg", "there is none on the path");
    }
    if (path !== undefined) {
      const open: OpenDecoder = async (request) => {
        const program = await askFfmpeg(path, request.signal);
        if (program === undefined) throw decoderUnusable("ffmpeg", `${path} is no ffmpeg that can be run`);
        return openWithFfmpeg(program, request);
      };
      if (ffmpeg === undefined) found.push(open);
      else found.unshift(open);
    }
  }
  if (found.length === 0) throw noDecoder();
  return found;
}
