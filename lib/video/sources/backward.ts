import type { VideoFrame } from "./video-source.js";

/** Most bytes of frames that are held while they are handed out in reverse, and most and fewest frames. */
const HELD_BYTES = 192 * 2 ** 20;
const MOST = 64;
const FEWEST = 4;

/** A source that can decode runs of frames. */
export interface ForwardSource {
  /** Frames `from`–`to`, both included. */
  run(from: number, to: number, signal: AbortSignal): AsyncIterable<VideoFrame>;
  /** The best place in `from`–`to` to begin decoding at. */
  bestStart(from: number, to: number): number;
  readonly frameBytes: number;
}

/** Frames `from` down to `to`, both included: runs are decoded forward, held, and handed out reversed. */
export async function* backward(
  source: ForwardSource,
  from: number,
  to: number,
  signal: AbortSignal,
): AsyncGenerator<VideoFrame, void, void> {
  const length = Math.max(FEWEST, Math.min(MOST, Math.floor(HELD_BYTES / source.frameBytes)));
  for (let last = from; last >= to; ) {
    const first = source.bestStart(Math.max(to, last - length + 1), last);
    const held: VideoFrame[] = [];
    for await (const frame of source.run(first, last, signal)) held.push(frame);
    last = first - 1;
    for (let frame = held.pop(); frame !== undefined; frame = held.pop()) yield frame;
  }
}
