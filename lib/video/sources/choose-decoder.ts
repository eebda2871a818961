import type { OpenRequest, VideoDecoder } from "./decoder.js";
import { askFfmpeg, findFfmpeg } from "./ffmpeg/find-ffmpeg.js";
import { openWithFfmpeg } from "./ffmpeg/open-ffmpeg.js";
import { loadNodeAv, type NodeAv } from "./node-av/load-node-av.js";
import { openWithNodeAv } from "./node-av/open-node-av.js";
import { decoderUnusable, noDecoder } from "./problems.js";

/** A decoder that can be tried. */
interface FoundDecoder {
  readonly name: VideoDecoder["name"];
  /** Opens a file with it. */
  readonly open: (request: OpenRequest) => Promise<VideoDecoder>;
}

/** What was asked for. */
export interface DecoderChoice {
  readonly decoder: "auto" | VideoDecoder["name"];
  /** The program; looked for on the path when left out. */
  readonly ffmpeg: string | undefined;
}

/** Where decoders are looked for; tests look elsewhere. */
export interface DecoderSearch {
  readonly env: NodeJS.ProcessEnv;
  /** Imports node-av; undefined where it is not installed. */
  readonly nodeAv: () => Promise<NodeAv | undefined>;
}

/** This machine. */
export const HERE: DecoderSearch = { env: process.env, nodeAv: loadNodeAv };

/**
 * The decoders that can be tried, best first: node-av, where it is installed, works inside of this process and seeks
 * faster; an ffmpeg that is named by the caller comes before it.
 *
 * @throws {Sam3Error} `DECODER_NOT_FOUND`
 */
export async function findDecoders(
  { decoder, ffmpeg }: DecoderChoice,
  { env, nodeAv }: DecoderSearch = HERE,
): Promise<FoundDecoder[]> {
  const found: FoundDecoder[] = [];
  if (decoder !== "ffmpeg") {
    const av = await nodeAv();
    if (av !== undefined) found.push({ name: "node-av", open: (request) => openWithNodeAv(av, request) });
    else if (decoder === "node-av") throw decoderUnusable("node-av", "it is not installed or does not load");
  }
  if (decoder !== "node-av") {
    const path = ffmpeg ?? (await findFfmpeg(env));
    if (path === undefined && decoder === "ffmpeg") {
      throw decoderUnusable("ffmpeg", "there is none on the path");
    }
    if (path !== undefined) {
      const open = async (request: OpenRequest) => {
        const program = await askFfmpeg(path, request.signal);
        if (program === undefined) throw decoderUnusable("ffmpeg", `${path} is no ffmpeg that can be run`);
        return openWithFfmpeg(program, request);
      };
      if (ffmpeg === undefined) found.push({ name: "ffmpeg", open });
      else found.unshift({ name: "ffmpeg", open });
    }
  }
  if (found.length === 0) throw noDecoder();
  return found;
}
