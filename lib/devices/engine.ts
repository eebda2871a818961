import type { Manifest } from "../bundle/manifest.js";
import type { TextTokenizer } from "../bundle/tokenizer.js";
import type { Call, CallOptions } from "../call.js";
import type { Logger } from "../logger.js";
import type { NativeConceptObjects, NativeObjectMasks } from "../native/addon.js";
import type { ConceptRequest, FeatureLease, ObjectRequest, PictureRequest, Settled } from "./requests.js";

/** The model as the image layer uses it. Becomes a class with these members. */
export interface Engine {
  readonly manifest: Manifest;
  readonly tokenizer: TextTokenizer;
  readonly logger: Logger;
  /** Score above which objects are returned where a prompt names no threshold. */
  readonly threshold: number;
  readonly maxPixels: number;
  /** Throws `DISPOSED` once closing has begun. */
  assertOpen(): void;
  /**
   * Runs a public call: checks its options and that the engine is open, starts its clock, makes its id, counts it, and
   * turns what fails into a `Sam3Error` with the stack of whoever called `entry`.
   */
  call<T>(
    operation: string,
    entry: (...args: never[]) => unknown,
    options: CallOptions | undefined,
    work: (call: Call) => Promise<T>,
  ): Promise<T>;
  /** Features of a picture: from the cache, from an encode that is under way, or from one of its own. */
  acquire(request: PictureRequest, call: Call): Promise<FeatureLease>;
  /** Decodes concept prompts in one batch; each fails alone. Throws only what hits all: the signal's reason, `DISPOSED`. */
  segmentConcepts(
    lease: FeatureLease,
    requests: readonly ConceptRequest[],
    call: Call,
  ): Promise<Settled<NativeConceptObjects>[]>;
  /** Likewise for object prompts. */
  segmentObjects(
    lease: FeatureLease,
    requests: readonly ObjectRequest[],
    call: Call,
  ): Promise<Settled<NativeObjectMasks>[]>;
  close(): Promise<void>;
}
