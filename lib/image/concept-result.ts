import type { CacheOutcome } from "../devices/requests.js";
import { INSPECT } from "../inspect.js";
import { type Box, Mask } from "../masks/mask.js";
import type { CocoRle } from "../masks/rle.js";
import type { NativeConceptObjects } from "../native/addon.js";
import { PictureResult, type ResultFacts, type Timings } from "./picture-result.js";

/** One object that was found. */
export class ConceptObject {
  /** Index of the text it was found for, or of the prompt where several were given to `segmentConcepts`. */
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
  /** Every pixel that shows the concept, whichever object it belongs to; null unless `semantic` asked for it. */
  readonly semantic: Mask | null;
  /** Objects left out because another text or prompt found them with a better score. */
  readonly suppressed: number;
}

/** What `JSON.stringify` makes of a prompt. */
export interface PromptReportJson {
  readonly text: string;
  readonly truncated: boolean;
  readonly presence: number;
  readonly semantic: CocoRle | null;
  readonly suppressed: number;
}

/** What `JSON.stringify` makes of a result. */
export interface ConceptResultJson {
  readonly image: { readonly width: number; readonly height: number };
  readonly objects: readonly ConceptObjectJson[];
  readonly prompts: readonly PromptReportJson[];
  readonly timings: Timings;
  readonly cache: CacheOutcome;
}

/** One text, what the model said to it, and which of its objects are kept. */
export interface FoundText {
  readonly text: string;
  readonly truncated: boolean;
  readonly presence: number;
  readonly semantic: Mask | null;
  readonly suppressed: number;
  readonly objects: readonly ConceptObject[];
}

/** Makes of the addon's answer to one text what a result holds. */
export function foundText(
  prompt: number,
  { text, truncated }: { readonly text: string; readonly truncated: boolean },
  answer: NativeConceptObjects,
  { width, height }: { readonly width: number; readonly height: number },
): FoundText {
  const { presence, semantic } = answer;
  return {
    text,
    truncated,
    presence,
    semantic: semantic && Mask.trusted(semantic.counts, width, height, semantic.area),
    suppressed: 0,
    objects: answer.objects.map(
      ({ score, box, counts, area }) =>
        new ConceptObject({
          prompt,
          text,
          score,
          box: Array.from(box) as Box,
          mask: Mask.trusted(counts, width, height, area),
        }),
    ),
  };
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
export class ConceptResult extends PictureResult<ConceptObject> {
  readonly objects: readonly ConceptObject[];
  readonly prompts: readonly PromptReport[];

  /** @internal */
  constructor(facts: ResultFacts, found: readonly FoundText[]) {
    super(facts);
    this.objects = found.flatMap(({ objects }) => objects);
    this.prompts = found.map(({ objects: _, ...report }) => report);
  }

  /** The form the command line writes, masks as COCO run lengths. */
  toJSON(): ConceptResultJson {
    const { image, objects, prompts, timings, cache } = this;
    return {
      image,
      objects: objects.map((object) => object.toJSON()),
      prompts: prompts.map(({ semantic, ...report }) => ({ ...report, semantic: semantic?.toRle() ?? null })),
      timings,
      cache,
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
