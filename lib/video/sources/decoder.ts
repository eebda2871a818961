import type { NativePixels } from "../../native/addon.js";

/** Seconds of one tick are `num / den`. */
export interface TimeBase {
  readonly num: number;
  readonly den: number;
}

/** What a container says of the stream that is decoded. */
export interface StreamFacts {
  readonly codec: string;
  readonly container: string;
  readonly timeBase: TimeBase;
  /** Degrees clockwise that frames are turned by while decoding. */
  readonly rotation: 0 | 90 | 180 | 270;
  readonly hasAudio: boolean;
  /** Pixels of every frame that is decoded, turned. */
  readonly width: number;
  readonly height: number;
  /** Bytes of a frame as it is handed out. */
  readonly frameBytes: number;
}

/** A stored unit of the stream, in the order of storage. */
export interface StoredPacket {
  /** When it is shown; null where the container does not say. */
  readonly tick: number | null;
  /** 0 where the container does not say. */
  readonly duration: number;
  /** Decoding can begin here. */
  readonly key: boolean;
  /** Decoded, but not shown: an edit list cuts it off. */
  readonly discard: boolean;
}

/** A frame as it leaves the decoder, in the order of presentation. */
export interface DecodedFrame {
  /** Null where nobody knows. */
  readonly tick: number | null;
  readonly pixels: NativePixels;
}

/** Where decoding begins and what is handed out. */
export interface DecodeRequest {
  /** Tick of the keyframe to begin at; null: the first packet. */
  readonly seek: number | null;
  /** With `seek`: frames before this tick are left out. */
  readonly fromTick: number;
  /** Without `seek`: so many frames at the beginning are left out. */
  readonly skip: number;
  readonly signal: AbortSignal;
}

/**
 * What a backend does with one file. Every call has a reader of its own, so calls can overlap; a call ends early by its
 * signal or by `return()` of its iterator.
 */
export interface VideoDecoder {
  readonly name: "node-av" | "ffmpeg";
  readonly facts: StreamFacts;
  /** Every packet of the stream, without decoding. There are many of a long one: nobody is to keep them. */
  packets(signal: AbortSignal): Promise<readonly StoredPacket[]>;
  /** The tick of every frame, by decoding them all. */
  ticks(signal: AbortSignal): Promise<readonly (number | null)[]>;
  /** Frames; throws `DecodingStopped` after the last one where decoding ended with an error. */
  decode(request: DecodeRequest): AsyncGenerator<DecodedFrame, void, void>;
}

/** What a decoder opens a file with. */
export interface OpenRequest {
  /** Absolute. */
  readonly path: string;
  /** How the video is called in messages. */
  readonly name: string;
  /** Frames as RGB, whatever is stored. */
  readonly rgb: boolean;
  readonly maxPixels: number;
  readonly signal: AbortSignal;
}

/** Decoding ended before the end of the video; inside of this folder only. */
export class DecodingStopped extends Error {
  override readonly name = "DecodingStopped";
}

/**
 * Containers that are opened, in FFmpeg's words. Playlists, scripts and text are not among them: they would let a file
 * that somebody sent name other files of this machine.
 */
export const CONTAINERS = [
  "mov,mp4,m4a,3gp,3g2,mj2",
  "matroska,webm",
  "avi",
  "flv",
  "asf",
  "mpegts",
  "mpeg",
  "ogg",
  "mxf",
  "gif",
  "h264",
  "hevc",
  "ivf",
].join(",");
