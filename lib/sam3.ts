import { captureCaller, forCaller } from "./caller.js";
import type { ImageEngine } from "./image/image-engine.js";
import { ImagePredictor } from "./image/image-predictor.js";
import { INSPECT } from "./inspect.js";
import { loadEngine, type ModelFacts } from "./load-engine.js";
import { loadAddon } from "./native/load.js";
import type { LoadOptions } from "./options.js";

/**
 * A loaded model: the one door to everything else, and everything dies with it.
 *
 * @example
 * ```ts
 * import { Sam3 } from "sam3-node";
 *
 * await using sam = await Sam3.load({ model: "mini" });
 * const { objects } = await sam.image.segmentConcept("shapes.png", { text: "red circle" });
 * ```
 */
export class Sam3 {
  /** Segments single pictures. */
  readonly image: ImagePredictor;
  /** What is known of the model: name, resolution, device, … */
  readonly model: ModelFacts;
  readonly #engine: ImageEngine;
  #closed = false;

  private constructor(engine: ImageEngine, facts: ModelFacts) {
    this.#engine = engine;
    this.model = facts;
    this.image = new ImagePredictor(engine);
  }

  /**
   * A Sam3 over an engine that is loaded; the tests' way in.
   *
   * @internal
   */
  static over({ engine, facts }: { engine: ImageEngine; facts: ModelFacts }): Sam3 {
    return new Sam3(engine, facts);
  }

  /**
   * Loads a model onto a device. Everything may be left out: then the environment is asked, then the defaults hold
   * (`docs/settings.md` lists them).
   *
   * @throws {Sam3Error} `INVALID_SETTING`, `INVALID_ARGUMENT`, `BUNDLE_NOT_FOUND`, `BUNDLE_INVALID`,
   *   `BUNDLE_PART_MISSING`, `BUNDLE_HASH_MISMATCH`, `BUNDLE_TOO_NEW`, `LIBTORCH_NOT_FOUND`, `LIBTORCH_VERSION`,
   *   `ADDON_NOT_FOUND`, `ADDON_LOAD_FAILED`, `DEVICE_UNKNOWN`, `DEVICE_FAULT`, `OUT_OF_MEMORY`; the signal's reason
   *   when it was aborted
   * @example
   * ```ts
   * const sam = await Sam3.load({
   *   model: "/models/sam3",
   *   devices: "cuda:1",
   *   onProgress: ({ stage, done, total }) => console.log(stage, done, total),
   *   signal: AbortSignal.timeout(60_000),
   * });
   * ```
   */
  static load(options: LoadOptions = {}): Promise<Sam3> {
    const caller = captureCaller(Sam3.load);
    return forCaller(caller, options?.signal, async () => {
      return Sam3.over(await loadEngine(options, process.env, loadAddon));
    });
  }

  /**
   * Frees the model and every encoded image. What runs ends first, what waits is rejected with `DISPOSED`. More than
   * once does nothing.
   */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#engine.close();
  }

  /** `close`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  [INSPECT](): string {
    const { name, resolution, dtype, device } = this.model;
    return `Sam3 { ${name}, ${resolution} px, ${dtype} on ${device}${this.#closed ? ", closed" : ""} }`;
  }
}
