import { dirname, extname, resolve } from "node:path";
import { Sam3Error } from "../../errors.js";
import type { DecoderChoice, DecoderSearch } from "../sources/choose-decoder.js";
import { askFfmpeg, findFfmpeg } from "../sources/ffmpeg/find-ffmpeg.js";
import { ffmpegEncoder, openFfmpegSink } from "./ffmpeg-sink.js";
import { makeFolder } from "./folder-sink.js";
import type { FrameSink, VideoSinkFormat } from "./frame-sink.js";
import { nodeAvEncoder, openNodeAvSink } from "./node-av-sink.js";
import { containerOf } from "./video-container.js";

/**
 * Opens a video file for writing, with what decodes videos here, tried in the same order: an ffmpeg that was named, node-av,
 * an ffmpeg on the path.
 *
 * @throws {Sam3Error} `DECODER_NOT_FOUND` without any of them, `UNSUPPORTED` where none has an encoder for this kind of
 *   file, `INVALID_ARGUMENT`, `OUTPUT_FAILED`
 */
export async function openVideoSink(
  format: VideoSinkFormat,
  { decoder, ffmpeg }: DecoderChoice,
  { env, nodeAv }: DecoderSearch,
): Promise<FrameSink> {
  const { path, signal } = format;
  const container = containerOf(path);
  const lacking: string[] = [];
  const withNodeAv = async () => {
    const av = decoder === "ffmpeg" ? undefined : await nodeAv();
    if (av === undefined) return undefined;
    const encoder = nodeAvEncoder(av, container);
    if (encoder) return () => openNodeAvSink(av, container, encoder, format);
    lacking.push("node-av");
    return undefined;
  };
  const withFfmpeg = async () => {
    const found = decoder === "node-av" ? undefined : (ffmpeg ?? (await findFfmpeg(env)));
    const program = found === undefined ? undefined : await askFfmpeg(found, signal);
    if (program === undefined) return undefined;
    const encoder = await ffmpegEncoder(program, container, signal);
    if (encoder) return () => openFfmpegSink(program, container, encoder, format);
    lacking.push(program.path);
    return undefined;
  };
  for (const find of ffmpeg === undefined ? [withNodeAv, withFfmpeg] : [withFfmpeg, withNodeAv]) {
    const open = await find();
    if (!open) continue;
    await makeFolder(dirname(resolve(path)));
    return open();
  }
  const ending = extname(path);
  if (lacking.length === 0) {
    throw new Sam3Error(
      "DECODER_NOT_FOUND",
      `Writing ${ending} needs the package node-av or an ffmpeg${ffmpeg === undefined ? "" : `, and ${ffmpeg} is none that runs`}. Install one, or name a folder: it gets pictures.`,
    );
  }
  const wanted = container.encoders.map(({ name }) => name).join(", ");
  throw new Sam3Error(
    "UNSUPPORTED",
    `${lacking.join(" and ")} have none of the encoders ${wanted} for ${ending}. Choose another ending, or name a folder: it gets pictures.`,
  );
}
