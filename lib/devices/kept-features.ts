import type { Cacheable } from "../cache/feature-cache.js";
import type { NativeFeatures, NativeTextFeatures } from "../native/addon.js";
import type { Replica } from "./replica.js";

/** What the cache keeps: features and the replica they belong to. */
export type Kept = PictureFeatures | TextFeatures;

/** Features of a picture. */
export class PictureFeatures implements Cacheable {
  readonly native: NativeFeatures;
  readonly replica: Replica;
  readonly decodeMs: number;
  readonly encodeMs: number;

  constructor(native: NativeFeatures, replica: Replica, decodeMs: number, encodeMs: number) {
    this.native = native;
    this.replica = replica;
    this.decodeMs = decodeMs;
    this.encodeMs = encodeMs;
  }

  get bytes(): number {
    return this.native.bytes;
  }

  /** Whether they can be moved to the host's memory and gain anything by it. */
  get movable(): boolean {
    return this.replica.device?.id !== "cpu";
  }

  async move(to: "host" | "device", signal: AbortSignal): Promise<PictureFeatures> {
    const moved = await this.replica.move(this.native, to, signal);
    return new PictureFeatures(moved, this.replica, this.decodeMs, this.encodeMs);
  }

  dispose(): void {
    if (!this.native.disposed) this.native.dispose();
  }
}

/** Features of a text. Small: they stay where they are until they are dropped. */
export class TextFeatures implements Cacheable {
  readonly native: NativeTextFeatures;
  readonly replica: Replica;

  constructor(native: NativeTextFeatures, replica: Replica) {
    this.native = native;
    this.replica = replica;
  }

  get bytes(): number {
    return this.native.bytes;
  }

  dispose(): void {
    if (!this.native.disposed) this.native.dispose();
  }
}
