import type { Readable } from "node:stream";

/** Cuts a stream of bytes into frames of one size; what is left at the end is no frame. */
export async function* readFrames(stream: Readable, bytes: number): AsyncGenerator<Uint8Array, void, void> {
  let frame = new Uint8Array(bytes);
  let filled = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    for (let at = 0; at < chunk.length; ) {
      const take = Math.min(bytes - filled, chunk.length - at);
      frame.set(chunk.subarray(at, at + take), filled);
      at += take;
      filled += take;
      if (filled < bytes) continue;
      yield frame;
      frame = new Uint8Array(bytes);
      filled = 0;
    }
  }
}
