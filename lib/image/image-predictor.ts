import { readSignal } from "../abort.js";
import { captureCaller, forCaller } from "../caller.js";
import { INSPECT } from "../inspect.js";
import type { ConceptPrompt } from "./concept-prompt.js";
import type { ConceptResult } from "./concept-result.js";
import { type CallOptions, EncodedImage } from "./encoded-image.js";
import type { ImageEngine } from "./image-engine.js";
import { type ImageInput, loadPixels } from "./load-pixels.js";

/** Segments single pictures; `sam.image`. */
export class ImagePredictor {
  readonly #engine: ImageEngine;

  /** @internal */
  constructor(engine: ImageEngine) {
    this.#engine = engine;
  }

  /**
   * Decodes a picture and runs the image encoder, the slow part, once. Ask the answer as often as you like, then
   * dispose it.
   *
   * @param image a path, a `file:` URL, the bytes of a file, raw pixels or a sharp instance
   * @throws {Sam3Error} `IMAGE_NOT_FOUND`, `IMAGE_INVALID`, `IMAGE_TOO_LARGE`, `INVALID_ARGUMENT`, `DISPOSED`,
   *   `OUT_OF_MEMORY`, `DEVICE_FAULT`, `MODEL_FAILED`; the signal's reason when it was aborted
   * @example
   * ```ts
   * await using picture = await sam.image.encode(await readFile("street.jpg"));
   * ```
   */
  encode(image: ImageInput, options: CallOptions = {}): Promise<EncodedImage> {
    const caller = captureCaller(this.encode);
    return forCaller(caller, options?.signal, async () => {
      const signal = readSignal(options?.signal);
      this.#engine.assertOpen();
      const pixels = await loadPixels(image, this.#engine, signal);
      const encoding = await this.#engine.encodeImage(pixels, signal);
      return new EncodedImage(this.#engine, encoding, image, pixels.decodeMs);
    });
  }

  /**
   * Finds every instance of a concept in a picture: encode, ask once, dispose.
   *
   * @throws {Sam3Error} what `encode` and `EncodedImage.segmentConcept` throw
   * @example
   * ```ts
   * const { objects } = await sam.image.segmentConcept("street.jpg", { text: "yellow school bus" });
   * objects[0]?.box; // [x1, y1, x2, y2] in pixels
   * ```
   */
  segmentConcept(
    image: ImageInput,
    prompt: ConceptPrompt,
    options: CallOptions = {},
  ): Promise<ConceptResult> {
    const caller = captureCaller(this.segmentConcept);
    return forCaller(caller, options?.signal, async () => {
      const signal = readSignal(options?.signal);
      this.#engine.assertOpen();
      const pixels = await loadPixels(image, this.#engine, signal);
      // Before the encoder runs: a prompt that cannot be used costs no time.
      const prepared = this.#engine.prepare(prompt, pixels);
      const encoding = await this.#engine.encodeImage(pixels, signal);
      const picture = new EncodedImage(this.#engine, encoding, image, pixels.decodeMs);
      try {
        return await picture.segmentPrepared(prepared, signal);
      } finally {
        picture.dispose();
      }
    });
  }

  [INSPECT](): string {
    return `ImagePredictor { ${this.#engine.manifest.name} }`;
  }
}
