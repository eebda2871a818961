import { readSignal } from "../abort.js";
import { captureCaller, forCaller } from "../caller.js";
import { Sam3Error } from "../errors.js";
import { INSPECT } from "../inspect.js";
import type { NativeFeatures } from "../native/addon.js";
import type { ConceptPrompt } from "./concept-prompt.js";
import { ConceptResult } from "./concept-result.js";
import type { Encoding, ImageEngine, PreparedPrompt } from "./image-engine.js";
import type { ImageInput } from "./take-image.js";

/** What every call that takes time accepts. */
export interface CallOptions {
  /** Stops the call; its promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

interface Abandoned {
  readonly engine: ImageEngine;
  readonly features: NativeFeatures;
}

// The safety net for a picture that was never disposed: its features are freed when it is collected, and a line says so.
const abandoned = new FinalizationRegistry<Abandoned>(({ engine, features }) => {
  if (features.disposed) return;
  engine.logger.warn(
    `An encoded image of ${features.width}×${features.height} was never disposed; its ${features.bytes} bytes are freed now. Use "await using", or call dispose().`,
  );
  engine.release(features);
});

/**
 * A picture the image encoder has seen: any number of prompts can be asked of it, each costing only the decoder. Holds
 * `bytes` on the device until it is disposed.
 *
 * @example
 * ```ts
 * await using picture = await sam.image.encode("street.jpg");
 * const wheels = await picture.segmentConcept({ text: "wheel" });
 * const cars = await picture.segmentConcept({ text: "car", threshold: 0.3 });
 * ```
 */
export class EncodedImage {
  /** Width of the original picture in pixels, turned as its EXIF says. */
  readonly width: number;
  /** Height of the original picture in pixels. */
  readonly height: number;
  /** Bytes its features hold on the device. */
  readonly bytes: number;
  /** Milliseconds spent reading and decoding the picture. */
  readonly decodeMs: number;
  /** Milliseconds spent in the image encoder. */
  readonly encodeMs: number;
  readonly #engine: ImageEngine;
  readonly #features: NativeFeatures;
  readonly #source: ImageInput;
  #disposed = false;
  readonly #running = new Set<Promise<unknown>>();

  /** @internal */
  constructor(engine: ImageEngine, encoding: Encoding, source: ImageInput, decodeMs: number) {
    const { features, encodeMs } = encoding;
    this.width = features.width;
    this.height = features.height;
    this.bytes = features.bytes;
    this.decodeMs = decodeMs;
    this.encodeMs = encodeMs;
    this.#engine = engine;
    this.#features = features;
    this.#source = source;
    abandoned.register(this, { engine, features }, this);
  }

  /** Whether `dispose` was called. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /**
   * Finds every instance of a concept in this picture.
   *
   * @param prompt words, example boxes in pixels of the original picture, or both
   * @throws {Sam3Error} `INVALID_PROMPT`, `INVALID_BOX`, `INVALID_ARGUMENT`, `DISPOSED`, `OUT_OF_MEMORY`,
   *   `DEVICE_FAULT`, `MODEL_FAILED`; the signal's reason when it was aborted
   * @example
   * ```ts
   * const { objects } = await picture.segmentConcept({
   *   text: "wheel",
   *   exemplars: [{ box: [10, 20, 60, 70], label: "negative" }],
   * });
   * ```
   */
  segmentConcept(prompt: ConceptPrompt, options: CallOptions = {}): Promise<ConceptResult> {
    const caller = captureCaller(this.segmentConcept);
    return forCaller(caller, options?.signal, async () => {
      const signal = readSignal(options?.signal);
      this.#assertUsable();
      return this.segmentPrepared(this.#engine.prepare(prompt, this), signal);
    });
  }

  /**
   * `segmentConcept` for a prompt that was checked before.
   *
   * @internal
   */
  async segmentPrepared(prompt: PreparedPrompt, signal: AbortSignal | undefined): Promise<ConceptResult> {
    const start = performance.now();
    const work = this.#engine.segment(this.#features, prompt, signal);
    this.#running.add(work);
    try {
      const found = await work;
      const segmentMs = performance.now() - start;
      return new ConceptResult({
        image: this,
        found,
        timings: { decodeMs: this.decodeMs, encodeMs: this.encodeMs, segmentMs },
        source: this.#source,
        maxPixels: this.#engine.maxPixels,
      });
    } finally {
      this.#running.delete(work);
      if (this.#disposed) this.#freeWhenIdle();
    }
  }

  /** Frees the features, after the calls that are running have ended. More than once does nothing. */
  dispose(): void {
    this.#disposed = true;
    abandoned.unregister(this);
    this.#freeWhenIdle();
  }

  /** `dispose`, and waits for the calls that are running. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
    await Promise.allSettled(this.#running);
  }

  [INSPECT](): string {
    const state = this.#disposed ? "disposed" : `${(this.bytes / 2 ** 20).toFixed(1)} MiB`;
    return `EncodedImage { ${this.width}×${this.height}, ${state}, encoded in ${Math.round(this.encodeMs)} ms }`;
  }

  #freeWhenIdle(): void {
    if (this.#running.size === 0) this.#engine.release(this.#features);
  }

  #assertUsable(): void {
    this.#engine.assertOpen();
    if (this.#disposed)
      throw new Sam3Error("DISPOSED", "This encoded image was disposed. Encode the picture again.");
  }
}
