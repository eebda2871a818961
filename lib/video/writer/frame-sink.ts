import { rename, rm } from "node:fs/promises";
import { Sam3Error } from "../../errors.js";

/** Where drawn frames go, in their order. */
export interface FrameSink {
  /** @param rgb interleaved, 8 bits, of the video's size */
  write(index: number, rgb: Buffer): Promise<void>;
  /** Finishes what was written. */
  close(): Promise<void>;
  /** Gives up and removes what cannot be used. */
  abort(): Promise<void>;
}

/** What a sink must know of its frames. */
export interface FrameFormat {
  readonly width: number;
  readonly height: number;
  /** Frames per second, the average where the rate is variable. */
  readonly fps: number;
}

/** A video that is to be written. */
export interface VideoSinkFormat extends FrameFormat {
  readonly path: string;
  readonly signal: AbortSignal;
}

/** `OUTPUT_FAILED` for a video. */
export function cannotWriteVideo(path: string, why: string, cause?: unknown): Sam3Error {
  return new Sam3Error("OUTPUT_FAILED", `${path} cannot be written: ${why}.`, { cause });
}

/** Where a video is written until it is whole. */
export function partialOf(path: string): string {
  return `${path}.partial`;
}

/** Gives a video that is whole its name. Throws `OUTPUT_FAILED`, and then leaves nothing. */
export async function nameVideo(path: string): Promise<void> {
  try {
    await rename(partialOf(path), path);
  } catch (cause) {
    await dropPartial(path);
    throw cannotWriteVideo(path, (cause as Error).message, cause);
  }
}

/** Removes what is not whole. */
export async function dropPartial(path: string): Promise<void> {
  await rm(partialOf(path), { force: true });
}
