import type { Call, CallOptions } from "../call.js";
import { captureCaller } from "../caller.js";
import { pictureDisposed } from "../devices/disposed.js";
import type { Engine } from "../devices/engine.js";
import type { Lease } from "../devices/lease.js";
import type { CacheOutcome, Settled } from "../devices/requests.js";
import { INSPECT } from "../inspect.js";
import type { Logger } from "../logger.js";
import { prepareConcept } from "./ask-concepts.js";
import { type ConceptOptions, readConceptOptions } from "./concept-options.js";
import type { ConceptPrompt } from "./concept-prompt.js";
import type { ConceptResult } from "./concept-result.js";
import type { LeasedPicture } from "./leased-picture.js";
import { type ObjectOptions, readObjectOptions } from "./object-options.js";
import type { ObjectPrompt } from "./object-prompt.js";
import type { ObjectResult } from "./object-result.js";
import {
  assertObjectPrompts,
  prepareConcepts,
  prepareObjects,
  type SingleConceptPrompt,
} from "./prepare-prompts.js";
import { allFulfilled, withCoded } from "./settle.js";

// The safety net for a picture that was never disposed: its features are given up when it is collected, and a line says so.
const abandoned = new FinalizationRegistry<{ readonly lease: Lease; readonly logger: Logger }>(
  ({ lease, logger }) => {
    if (lease.released) return;
    logger.warn(
      `An encoded image of ${lease.width}×${lease.height} was never disposed; its ${lease.bytes} bytes are given up now. Use "await using", or call dispose().`,
    );
    lease.release();
  },
);

/**
 * A picture the image encoder has seen: any number of prompts can be asked of it, each costing only a decoder. Holds
 * `bytes` on the device until it is disposed.
 *
 * @example
 * ```ts
 * await using picture = await sam.image.encode("street.jpg");
 * const wheels = await picture.segmentConcept({ text: "wheel" });
 * const clicked = await picture.segmentObject({ points: [{ x: 210, y: 340, label: "positive" }] });
 * ```
 */
export class EncodedImage {
  /** Width of the original picture in pixels, turned as its EXIF says. */
  readonly width: number;
  /** Height of the original picture in pixels. */
  readonly height: number;
  /** Bytes its features hold on the device. */
  readonly bytes: number;
  /** Milliseconds spent reading, hashing and decoding the picture. */
  readonly decodeMs: number;
  /** Milliseconds spent in the image encoder; 0 where the features were cached. */
  readonly encodeMs: number;
  /** Whether the features came from the cache (`hit`), were made for this picture (`miss`), or the cache is `off`. */
  readonly cache: CacheOutcome;
  readonly #engine: Engine;
  readonly #picture: LeasedPicture;
  #disposed = false;
  readonly #running = new Set<Promise<unknown>>();

  /** @internal */
  constructor(engine: Engine, picture: LeasedPicture) {
    const { lease, decodeMs } = picture;
    this.width = lease.width;
    this.height = lease.height;
    this.bytes = lease.bytes;
    this.decodeMs = decodeMs;
    this.encodeMs = lease.encodeMs;
    this.cache = lease.cache;
    this.#engine = engine;
    this.#picture = picture;
    abandoned.register(this, { lease, logger: engine.logger }, this);
  }

  /** Whether `dispose` was called. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /**
   * Finds every instance of a concept in this picture.
   *
   * @param prompt words, example boxes in pixels of the original picture, or both
   * @throws {Sam3Error} `INVALID_PROMPT`, `INVALID_BOX`, `INVALID_ARGUMENT`, `DISPOSED`, `QUEUE_FULL`, `TIMEOUT`,
   *   `OUT_OF_MEMORY`, `DEVICE_FAULT`, `MODEL_FAILED`; the signal's reason when it was aborted
   * @example
   * ```ts
   * const { objects } = await picture.segmentConcept({
   *   text: "wheel",
   *   exemplars: [{ box: [10, 20, 60, 70], label: "negative" }],
   * });
   * ```
   */
  segmentConcept(prompt: ConceptPrompt, options: ConceptOptions = {}): Promise<ConceptResult> {
    return this.#call("segmentConcept", this.segmentConcept, options, (call) => {
      const extras = readConceptOptions("segmentConcept", options);
      return this.#picture.concept(prepareConcept(this.#engine, prompt, this), extras, call);
    });
  }

  /**
   * Asks many concept prompts, each with its own text, exemplars and threshold, in one batch. The answers keep the
   * order, and a prompt that is bad or fails hurts no other. `object.prompt` is the index of its prompt.
   *
   * @param prompts 1 to 1,024
   * @returns as `Promise.allSettled` does: `{ status: "fulfilled", value }` or `{ status: "rejected", reason }` for each
   * @throws {Sam3Error} what hits all alike: `INVALID_PROMPT` for a list that is none or too long, `INVALID_ARGUMENT`,
   *   `DISPOSED`, `QUEUE_FULL`, `TIMEOUT`; the signal's reason when it was aborted
   * @example
   * ```ts
   * const answers = await picture.segmentConcepts(
   *   [{ text: "wheel" }, { text: "car", threshold: 0.3 }, { exemplars: [{ box: [10, 20, 60, 70] }] }],
   *   { suppressDuplicates: 0.8 },
   * );
   * for (const answer of answers) if (answer.status === "fulfilled") console.log(answer.value.objects);
   * ```
   */
  segmentConcepts(
    prompts: readonly SingleConceptPrompt[],
    options: ConceptOptions = {},
  ): Promise<Settled<ConceptResult>[]> {
    const caller = captureCaller(this.segmentConcepts);
    return this.#call("segmentConcepts", this.segmentConcepts, options, async (call) => {
      const extras = readConceptOptions("segmentConcepts", options);
      const answers = await this.#picture.concepts(
        prepareConcepts(this.#engine, prompts, this),
        extras,
        call,
      );
      return answers.map((answer) => withCoded(answer, caller));
    });
  }

  /**
   * Segments the one object that points, a box, an earlier mask or any mix of them show.
   *
   * @throws {Sam3Error} `INVALID_PROMPT`, `INVALID_POINT`, `INVALID_BOX`, `INVALID_MASK`, `INVALID_ARGUMENT`,
   *   `UNSUPPORTED` where the model was never trained for it, `DISPOSED`, `QUEUE_FULL`, `TIMEOUT`, `OUT_OF_MEMORY`,
   *   `DEVICE_FAULT`, `MODEL_FAILED`; the signal's reason when it was aborted
   * @example
   * ```ts
   * const first = await picture.segmentObject({ points: [{ x: 210, y: 340, label: "positive" }] });
   * const better = await picture.segmentObject({
   *   refineFrom: first,
   *   points: [{ x: 260, y: 300, label: "negative" }],
   * });
   * ```
   */
  segmentObject(prompt: ObjectPrompt, options: ObjectOptions = {}): Promise<ObjectResult> {
    return this.#call("segmentObject", this.segmentObject, options, async (call) => {
      const [result] = allFulfilled(await this.#segmentObjects([prompt], options, call));
      return result as ObjectResult;
    });
  }

  /**
   * Segments several objects, each shown by a prompt of its own, as one batch. The answers keep the order, and a prompt
   * that is bad or fails hurts no other.
   *
   * @param prompts 1 to 1,024
   * @returns as `Promise.allSettled` does: `{ status: "fulfilled", value }` or `{ status: "rejected", reason }` for each
   * @throws {Sam3Error} what hits all alike: `INVALID_PROMPT` for a list that is none or too long, `INVALID_ARGUMENT`,
   *   `UNSUPPORTED`, `DISPOSED`, `QUEUE_FULL`, `TIMEOUT`; the signal's reason when it was aborted
   * @example
   * ```ts
   * const answers = await picture.segmentObjects(boxes.map((box) => ({ box })));
   * ```
   */
  segmentObjects(
    prompts: readonly ObjectPrompt[],
    options: ObjectOptions = {},
  ): Promise<Settled<ObjectResult>[]> {
    const caller = captureCaller(this.segmentObjects);
    return this.#call("segmentObjects", this.segmentObjects, options, async (call) => {
      const answers = await this.#segmentObjects(prompts, options, call);
      return answers.map((answer) => withCoded(answer, caller));
    });
  }

  /** Gives the features up, after the calls that are running have ended. More than once does nothing. */
  dispose(): void {
    this.#disposed = true;
    abandoned.unregister(this);
    if (this.#running.size === 0) this.#picture.lease.release();
  }

  /** `dispose`, and waits for the calls that are running. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
    await Promise.allSettled(this.#running);
  }

  [INSPECT](): string {
    const state = this.#disposed ? "disposed" : `${(this.bytes / 2 ** 20).toFixed(1)} MiB`;
    const how = this.cache === "hit" ? "cached" : `encoded in ${Math.round(this.encodeMs)} ms`;
    return `EncodedImage { ${this.width}×${this.height}, ${state}, ${how} }`;
  }

  #segmentObjects(
    prompts: readonly ObjectPrompt[],
    options: ObjectOptions,
    call: Call,
  ): Promise<Settled<ObjectResult>[]> {
    assertObjectPrompts(this.#engine);
    const { width, height } = this;
    const { contentHash } = this.#picture;
    const settings = readObjectOptions(options, this.#engine.manifest.thresholds.mask);
    const checked = prepareObjects(this.#engine, prompts, { width, height, contentHash }, settings);
    return this.#picture.objects(checked, call);
  }

  /** A public call on this picture; while it runs, the features stay. */
  #call<T>(
    operation: string,
    entry: (...args: never[]) => unknown,
    options: CallOptions,
    work: (call: Call) => Promise<T>,
  ): Promise<T> {
    return this.#engine.call(operation, entry, options, async (call) => {
      if (this.#disposed) throw pictureDisposed();
      const running = work(call);
      this.#running.add(running);
      try {
        return await running;
      } finally {
        this.#running.delete(running);
        if (this.#disposed && this.#running.size === 0) this.#picture.lease.release();
      }
    });
  }
}
