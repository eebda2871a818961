import type { Replica } from "../../devices/replica.js";
import type {
  NativeCompareRequest,
  NativeComparison,
  NativeDetections,
  NativeDetectRequest,
  NativeFeatures,
  NativeMaskRow,
  NativeMasks,
  NativePixels,
  NativeReadMask,
  NativeRememberRequest,
  NativeSeedRequest,
  NativeTextFeatures,
  NativeTracked,
  NativeTrackMemory,
  NativeTrackRequest,
} from "../../native/addon.js";

/** What a session asks of its replica, with the signal of the operation that asks. */
export class TrackerCalls {
  /** Ends the operation. */
  readonly signal: AbortSignal;
  readonly #replica: Replica;

  constructor(replica: Replica, signal: AbortSignal) {
    this.#replica = replica;
    this.signal = signal;
  }

  /** Features of a frame; frames of several sessions go to the encoder together. */
  async encode(pixels: NativePixels): Promise<NativeFeatures> {
    const { value } = await this.#replica.submit("encodeImages", { pixels }, { signal: this.signal });
    return value;
  }

  async encodeText(ids: Int32Array): Promise<NativeTextFeatures> {
    const { value } = await this.#replica.submit("encodeTexts", { ids }, { signal: this.signal });
    return value;
  }

  detect(request: Omit<NativeDetectRequest, "token">): Promise<NativeDetections> {
    return this.#replica.track(
      "detectConcepts",
      (native, token) => native.detectConcepts({ ...request, token }),
      this.signal,
    );
  }

  track(request: Omit<NativeTrackRequest, "token">): Promise<NativeTracked> {
    return this.#replica.track(
      "trackObjects",
      (native, token) => native.trackObjects({ ...request, token }),
      this.signal,
    );
  }

  seed(request: Omit<NativeSeedRequest, "token">): Promise<NativeTracked> {
    return this.#replica.track(
      "seedObjects",
      (native, token) => native.seedObjects({ ...request, token }),
      this.signal,
    );
  }

  remember(request: Omit<NativeRememberRequest, "token">): Promise<readonly NativeTrackMemory[]> {
    return this.#replica.track(
      "rememberObjects",
      (native, token) => native.rememberObjects({ ...request, token }),
      this.signal,
    );
  }

  compare(request: Omit<NativeCompareRequest, "token">): Promise<NativeComparison> {
    return this.#replica.track(
      "compareMasks",
      (native, token) => native.compareMasks({ ...request, token }),
      this.signal,
    );
  }

  clean(rows: readonly NativeMaskRow[], area: number): Promise<NativeMasks> {
    return this.#replica.track(
      "cleanMasks",
      (native, token) => native.cleanMasks({ rows, area, token }),
      this.signal,
    );
  }

  read(rows: readonly NativeMaskRow[], width: number, height: number): Promise<readonly NativeReadMask[]> {
    return this.#replica.track(
      "readMasks",
      (native, token) => native.readMasks({ rows, width, height, token }),
      this.signal,
    );
  }

  move(memories: readonly NativeTrackMemory[], to: "host" | "device"): Promise<readonly NativeTrackMemory[]> {
    return this.#replica.track(
      "moveMemories",
      (native, token) => native.moveMemories(memories, to, token),
      this.signal,
    );
  }

  save(memories: readonly NativeTrackMemory[]): Promise<readonly Uint8Array[]> {
    return this.#replica.track(
      "saveMemories",
      (native, token) => native.saveMemories(memories, token),
      this.signal,
    );
  }

  restore(blocks: readonly Uint8Array[]): Promise<readonly NativeTrackMemory[]> {
    return this.#replica.track(
      "restoreMemories",
      (native, token) => native.restoreMemories(blocks, token),
      this.signal,
    );
  }
}
