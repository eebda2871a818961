import { readSignal } from "../abort.js";
import { captureCaller, forCaller } from "../caller.js";
import { Gate } from "../gate.js";
import { INSPECT } from "../inspect.js";
import type { ConceptPrompt } from "./concept-prompt.js";
import type { ConceptResult } from "./concept-result.js";
import { decodeImage } from "./decode-image.js";
import { type CallOptions, EncodedImage } from "./encoded-image.js";
import type { ImageEngine } from "./image-engine.js";
import { type ImageInput, takeImage } from "./take-image.js";

/** Enough to keep the encoder busy while the next pictures are decoded. */
const DECODED_AT_ONCE = 4;

/** Segments single pictures; `sam.image`. */
export class ImagePredictor {
  readonly #engine: ImageEngine;
  /** Decoded pictures waiting for the encoder: a thousand calls at once must not decode a thousand pictures. */
  readonly #decoded = new Gate(DECODED_AT_ONCE);

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
      return (await this.#encode(image, signal, () => {})).picture;
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
      // The prompt is checked before the encoder runs: one that cannot be used costs no time.
      const { picture, checked } = await this.#encode(image, signal, (size) =>
        this.#engine.prepare(prompt, size),
      );
      try {
        return await picture.segmentPrepared(checked, signal);
      } finally {
        picture.dispose();
      }
    });
  }

  async #encode<T>(
    image: ImageInput,
    signal: AbortSignal | undefined,
    check: (size: { readonly width: number; readonly height: number }) => T,
  ): Promise<{ picture: EncodedImage; checked: T }> {
    // Before waiting in line: what was passed must be as it is now.
    const taken = takeImage(image, this.#engine);
    return this.#decoded.pass(signal, async () => {
      this.#engine.assertOpen();
      const pixels = await decodeImage(taken, this.#engine, signal);
      const checked = check(pixels);
      const encoding = await this.#engine.encodeImage(pixels, signal);
      return { picture: new EncodedImage(this.#engine, encoding, image, pixels.decodeMs), checked };
    });
  }

  [INSPECT](): string {
    return `ImagePredictor { ${this.#engine.manifest.name} }`;
  }
}
