import { INSPECT } from "../inspect.js";
import { type Box, Mask } from "../masks/mask.js";
import type { CocoRle } from "../masks/rle.js";
import type { SegmentedText } from "./image-engine.js";
import { drawOverlay, type OverlayOptions } from "./overlay.js";
import type { ImageInput } from "./take-image.js";

/** One object that was found. */
export class ConceptObject {
  /** Index of the text it was found for. */
  readonly prompt: number;
  /** That text; the bundle's fallback text where the prompt had boxes only. */
  readonly text: string;
  /** How sure the model is, 0–1. */
  readonly score: number;
  /** The model's box `[x1, y1, x2, y2]` in pixels of the original picture, clipped to it; `mask.box` is the tight one. */
  readonly box: Box;
  readonly mask: Mask;

  /** @internal */
  constructor(facts: { prompt: number; text: string; score: number; box: Box; mask: Mask }) {
    this.prompt = facts.prompt;
    this.text = facts.text;
    this.score = facts.score;
    this.box = facts.box;
    this.mask = facts.mask;
  }

  /** Pixels inside the mask. */
  get area(): number {
    return this.mask.area;
  }

  /** The form the command line writes. */
  toJSON(): ConceptObjectJson {
    const { prompt, text, score, box, area, mask } = this;
    return { prompt, text, score, box, area, mask: mask.toRle() };
  }

  [INSPECT](): string {
    const box = this.box.map((value) => Math.round(value)).join(", ");
    return `ConceptObject { ${this.text} ${this.score.toFixed(2)}, box [${box}], ${this.mask.area} px }`;
  }
}

/** What `JSON.stringify` makes of an object. */
export interface ConceptObjectJson {
  readonly prompt: number;
  readonly text: string;
  readonly score: number;
  readonly box: Box;
  readonly area: number;
  readonly mask: CocoRle;
}

/** One text that was looked for. */
export interface PromptReport {
  readonly text: string;
  /** The text was longer than the model reads, and its end was left out. */
  readonly truncated: boolean;
  /** How sure the model is that the concept is in the picture at all, 0–1. */
  readonly presence: number;
}

/** Where the time went, in milliseconds. */
export interface ConceptTimings {
  /** Reading and decoding the picture. */
  readonly decodeMs: number;
  /** The image encoder. */
  readonly encodeMs: number;
  /** Reading the prompt, finding the objects and making their masks, waiting included. */
  readonly segmentMs: number;
}

/** What `JSON.stringify` makes of a result. */
export interface ConceptResultJson {
  readonly image: { readonly width: number; readonly height: number };
  readonly objects: readonly ConceptObjectJson[];
  readonly timings: ConceptTimings;
}

/**
 * Every object found for a prompt, in the order of the texts and best score first. Nothing found is an empty list.
 *
 * @example
 * ```ts
 * const result = await sam.image.segmentConcept("street.jpg", { text: "yellow school bus" });
 * for (const { score, box, mask } of result.objects) console.log(score, box, mask.area);
 * await writeFile("found.png", await result.overlay());
 * ```
 */
export class ConceptResult {
  /** Size of the original picture in pixels, turned as its EXIF says. */
  readonly image: { readonly width: number; readonly height: number };
  readonly objects: readonly ConceptObject[];
  readonly prompts: readonly PromptReport[];
  readonly timings: ConceptTimings;
  readonly #source: ImageInput;
  readonly #maxPixels: number;

  /** @internal */
  constructor(facts: {
    readonly image: { readonly width: number; readonly height: number };
    readonly found: readonly SegmentedText[];
    readonly timings: ConceptTimings;
    readonly source: ImageInput;
    readonly maxPixels: number;
  }) {
    const { width, height } = facts.image;
    this.image = { width, height };
    this.prompts = facts.found.map(({ text, truncated, found }) => ({
      text,
      truncated,
      presence: found.presence,
    }));
    this.objects = facts.found.flatMap(({ text, found }, prompt) =>
      found.objects.map(
        ({ score, box, counts, area }) =>
          new ConceptObject({
            prompt,
            text,
            score,
            box: Array.from(box) as Box,
            mask: Mask.trusted(counts, width, height, area),
          }),
      ),
    );
    this.timings = facts.timings;
    this.#source = facts.source;
    this.#maxPixels = facts.maxPixels;
  }

  /**
   * The picture with the objects drawn on it. A result keeps no pixels: it reads the input given to `encode` or
   * `segmentConcept` again, so a file must still be there and bytes must be unchanged. Where they are not, pass
   * `{ image }`.
   *
   * @returns the encoded picture, PNG when no format is given
   * @throws {Sam3Error} what loading a picture throws, and `INVALID_ARGUMENT` when its size is no longer the same
   * @example
   * ```ts
   * await writeFile("found.jpg", await result.overlay({ format: "jpeg", maxSide: 1600 }));
   * ```
   */
  overlay(options: OverlayOptions = {}): Promise<Buffer> {
    const limits = { maxPixels: this.#maxPixels };
    return drawOverlay(this.#source, this.image, this.objects, options, limits, this.overlay);
  }

  /** The form the command line writes, masks as COCO run lengths. */
  toJSON(): ConceptResultJson {
    return {
      image: this.image,
      objects: this.objects.map((object) => object.toJSON()),
      timings: this.timings,
    };
  }

  [INSPECT](): string {
    const { width, height } = this.image;
    const shown = this.objects.slice(0, 5).map(({ text, score }) => `${text} ${score.toFixed(2)}`);
    const more = this.objects.length > 5 ? ", …" : "";
    const count = `${this.objects.length} object${this.objects.length === 1 ? "" : "s"}`;
    return `ConceptResult { ${count} in ${width}×${height}${shown.length > 0 ? `: ${shown.join(", ")}${more}` : ""} }`;
  }
}
