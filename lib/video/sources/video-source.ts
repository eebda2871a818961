import type { ImageInput } from "../../image/take-image.js";
import type { NativePixels } from "../../native/addon.js";

/** One frame, decoded. Its pixels belong to whoever took the frame; the source keeps nothing of it. */
export interface VideoFrame {
  /** Counts from 0 in the order of presentation. */
  readonly index: number;
  /** When it is shown, in seconds, as the container says it (`pts_time` of ffprobe); a video need not begin at 0. */
  readonly time: number;
  /** RGB, or planar YUV 4:2:0 with its matrix and range; turned as the video's rotation says. */
  readonly pixels: NativePixels;
}

/** What is known of a video. */
export interface VideoInfo {
  /** `file`: decoded from a video file; `pictures`: a folder or a list; `live`: frames come as they come. */
  readonly kind: "file" | "pictures" | "live";
  /** Frames that can be decoded, never an estimate from the frame rate; null for a live source. */
  readonly frameCount: number | null;
  /** True average, frames divided by the time they cover; null for a live source and where there is one frame only. */
  readonly fps: number | null;
  /** Whether the time between frames differs by more than the container's rounding; null for a live source. */
  readonly variableFrameRate: boolean | null;
  /** Pixels of every frame, turned as the rotation says. */
  readonly width: number;
  readonly height: number;
  /** Seconds from the start of the first frame to the end of the last; null for a live source. */
  readonly duration: number | null;
  /** `h264`, `hevc`, `vp9`, … in FFmpeg's words; null for pictures and live sources. */
  readonly codec: string | null;
  /** `mov,mp4,m4a,3gp,3g2,mj2`, `matroska,webm`, `avi`, … in FFmpeg's words; null for pictures and live sources. */
  readonly container: string | null;
  /** Degrees clockwise by which the stored frames were turned. */
  readonly rotation: 0 | 90 | 180 | 270;
  /** Whether there is sound in it; it is not decoded. */
  readonly hasAudio: boolean;
  /** What decodes: `node-av`, `ffmpeg`, or `sharp` for pictures; null for a live source. */
  readonly decoder: "node-av" | "ffmpeg" | "sharp" | null;
}

/** Which frames, in which order. */
export interface FramesOptions {
  /** Index of the first frame; 0 when left out, the last one when going backward. */
  readonly start?: number | undefined;
  /** `"backward"` hands out falling indexes; runs of frames are decoded forward and handed out reversed. */
  readonly direction?: "forward" | "backward" | undefined;
  /** Most frames; all that there are when left out. */
  readonly count?: number | undefined;
  /** Stops decoding at once; the iteration then throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * A video, whatever it comes from. Several iterations and single frames can be asked for at the same time, except from
 * a live source.
 */
export interface VideoSource {
  /** The count of frames can still be put right by decoding, where a container lies. */
  readonly info: VideoInfo;
  /** False for a live source: its frames come once, forward, from the first. */
  readonly seekable: boolean;
  /**
   * Frames one after the other. Decoding runs ahead by a bounded number of frames, and stops when the iteration ends,
   * however it ends. A damaged or truncated video throws after its last good frame.
   *
   * @throws {Sam3Error} `FRAME_OUT_OF_RANGE`, `VIDEO_NOT_SEEKABLE`, `VIDEO_TRUNCATED`, `VIDEO_INVALID`, `VIDEO_STALLED`,
   *   `FRAME_SIZE`, `IMAGE_NOT_FOUND`, `IMAGE_INVALID`, `DISPOSED`
   */
  frames(options?: FramesOptions): AsyncIterable<VideoFrame>;
  /**
   * One frame, exactly the one that `frames()` gives with this index.
   *
   * @throws {Sam3Error} as `frames`
   */
  frame(index: number, signal?: AbortSignal): Promise<VideoFrame>;
  /**
   * For whoever took the frames that are there by their count and wants more: says whether frames are missing.
   *
   * @throws {Sam3Error} `VIDEO_TRUNCATED`, as `frames()` does after the last frame
   */
  assertWhole(): void;
  /** Stops what decodes and removes temporary files; whoever still iterates gets `DISPOSED`. Idempotent. */
  dispose(): Promise<void>;
}

/** A frame of a live source: a picture, or a picture with its time in seconds. */
export type LiveFrame = ImageInput | { readonly image: ImageInput; readonly time: number };

/**
 * Whatever is taken as a video: the path or `file:` URL of a video or of a folder of pictures, the bytes of a video, a
 * readable stream of them, a list of pictures, or frames as they come.
 *
 * A Node.js `Readable` that is not in object mode and a web `ReadableStream` are the bytes of a video; any other
 * async iterable gives frames.
 */
export type VideoInput =
  | string
  | URL
  | Uint8Array
  | NodeJS.ReadableStream
  | ReadableStream<Uint8Array>
  | readonly ImageInput[]
  | AsyncIterable<LiveFrame>;

/** How a video is opened; everything is optional. */
export interface VideoSourceOptions {
  /** What decodes files: `"auto"` takes node-av where it is installed, else ffmpeg. */
  readonly decoder?: "auto" | "node-av" | "ffmpeg" | undefined;
  /** The ffmpeg program; looked for on the path when left out. */
  readonly ffmpeg?: string | undefined;
  /** RGB frames, whatever is stored; false when left out: the addon converts faster. */
  readonly rgb?: boolean | undefined;
  /** Frames per second of pictures, which have no times of their own; 25 when left out, as FFmpeg takes it. */
  readonly fps?: number | undefined;
  /** Most frames that decoding is ahead, 1–256; 8 when left out. */
  readonly readAhead?: number | undefined;
  /** Most milliseconds without a new frame, or without new bytes of a stream; after that `VIDEO_STALLED`. 0 = no limit; 60000 when left out. */
  readonly stallTimeoutMs?: number | undefined;
  /** Most bytes of a stream that are kept in a temporary file; 16 GiB when left out. */
  readonly maxBytes?: number | undefined;
  /** Frames with more pixels are refused. */
  readonly maxPixels?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}
