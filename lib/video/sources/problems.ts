import { Sam3Error } from "../../errors.js";

// Messages that both decoders share. `name` is what the video is called: its path, or "the video".

/** What to do where a decoder is missing. */
const INSTALL =
  "Install ffmpeg (it must be on the path, or named by the option ffmpeg), or the package node-av (npm install node-av)";

export function notAVideo(name: string, why: string): Sam3Error {
  const reason = why === "" ? "" : ` (${why.replace(/\.$/, "")})`;
  return new Sam3Error(
    "VIDEO_INVALID",
    `${name} is not a video that can be read, or its beginning is damaged${reason}. MP4, MOV, MKV, WEBM, AVI, FLV and WMV can.`,
  );
}

export function noVideoStream(name: string): Sam3Error {
  return new Sam3Error("VIDEO_NO_STREAM", `${name} has no video stream in it; there is nothing to look at.`);
}

export function noFrames(name: string, why = ""): Sam3Error {
  const reason = why === "" ? "" : ` (${why.replace(/\.$/, "")})`;
  return new Sam3Error("VIDEO_EMPTY", `${name} has no frame that can be decoded${reason}.`);
}

/**
 * @param codec as `nameCodec` calls it
 * @param known whether FFmpeg has a name for it; otherwise it is the file's own
 * @param tried the decoders that cannot decode it
 */
export function codecUnsupported(
  name: string,
  codec: string,
  known: boolean,
  tried: readonly ("node-av" | "ffmpeg")[],
): Sam3Error {
  const what = known ? codec : codec === "unknown" ? "a codec without a name" : `a codec "${codec}"`;
  const both = tried.length > 1;
  const [decoder = "ffmpeg"] = tried;
  const cannot = known ? "cannot decode" : "does not know";
  const who = both ? "neither node-av nor this ffmpeg can decode" : `this ${decoder} ${cannot}`;
  const other = both
    ? "Install an ffmpeg that was built with a decoder for it, or convert the video"
    : decoder === "ffmpeg"
      ? "Install an ffmpeg that was built with a decoder for it, or the package node-av, or convert the video"
      : 'Install an ffmpeg that has a decoder for it and pass decoder: "ffmpeg", or convert the video';
  return new Sam3Error(
    "VIDEO_UNSUPPORTED",
    `${name} holds ${what}, which ${who}. ${other}, for example to H.264.`,
    { details: { codec, known, decoder: tried.join() } },
  );
}

export function noDecoder(): Sam3Error {
  return new Sam3Error(
    "DECODER_NOT_FOUND",
    `Videos need a decoder, and neither node-av nor ffmpeg was found. ${INSTALL}. Folders and lists of pictures need neither.`,
  );
}

export function decoderUnusable(decoder: string, what: string): Sam3Error {
  return new Sam3Error("DECODER_NOT_FOUND", `${decoder} was asked for, but ${what}. ${INSTALL}.`);
}

export function outOfRange(name: string, index: number, count: number): Sam3Error {
  return new Sam3Error(
    "FRAME_OUT_OF_RANGE",
    `${name} has no frame ${index}: it has ${count}, counted from 0.`,
    { details: { index, count } },
  );
}

export function brokenOff(name: string, frames: number): Sam3Error {
  return new Sam3Error(
    "VIDEO_TRUNCATED",
    `${name} breaks off after ${frames} frame${frames === 1 ? "" : "s"}: the file is shorter than it says itself. What could be decoded was delivered; copy the file again.`,
    { details: { frames } },
  );
}

export function damaged(name: string, frames: number, why: string): Sam3Error {
  const reason = why === "" ? "" : ` (${why.replace(/\.$/, "")})`;
  return new Sam3Error(
    "VIDEO_INVALID",
    `${name} is damaged: decoding ended after ${frames} frame${frames === 1 ? "" : "s"}${reason}.`,
    { details: { frames } },
  );
}

interface Size {
  readonly width: number;
  readonly height: number;
}

export function otherSize(name: string, index: number, found: Size, expected: Size): Sam3Error {
  return new Sam3Error(
    "FRAME_SIZE",
    `Frame ${index} of ${name} has ${found.width}×${found.height} pixels, the first one ${expected.width}×${expected.height}; all frames of a video must have one size.`,
    { details: { index, width: found.width, height: found.height } },
  );
}

export function sourceDisposed(name: string): Sam3Error {
  return new Sam3Error("DISPOSED", `${name} was closed.`);
}
