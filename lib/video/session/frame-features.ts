import type { NativeFeatures } from "../../native/addon.js";
import { disposeOnce } from "./handles.js";

/** Features of the frames used last, within a budget of bytes, for further prompts on the same frame. */
export class FrameFeatures {
  readonly #maxBytes: number;
  /** Least recently used first. */
  readonly #kept = new Map<number, NativeFeatures>();
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Bytes on the device. */
  get bytes(): number {
    return this.#bytes;
  }

  has(frame: number): boolean {
    return this.#kept.has(frame);
  }

  /** Takes the features of a frame out: they are the caller's. */
  take(frame: number): NativeFeatures | undefined {
    const features = this.#kept.get(frame);
    if (!features) return undefined;
    this.#kept.delete(frame);
    this.#bytes -= features.bytes;
    return features;
  }

  /** Puts features in; what is over the budget goes, the newest included. */
  give(frame: number, features: NativeFeatures): void {
    const before = this.take(frame);
    if (before) disposeOnce(before);
    this.#kept.set(frame, features);
    this.#bytes += features.bytes;
    for (const index of [...this.#kept.keys()]) {
      if (this.#bytes <= this.#maxBytes) break;
      const dropped = this.take(index);
      if (dropped) disposeOnce(dropped);
    }
  }

  dispose(): void {
    for (const index of [...this.#kept.keys()]) {
      const features = this.take(index);
      if (features) disposeOnce(features);
    }
  }
}
