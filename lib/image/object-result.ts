import type { CacheOutcome } from "../devices/requests.js";
import type { FoundObject } from "../formats/found-picture.js";
import { INSPECT } from "../inspect.js";
import { type Box, Mask } from "../masks/mask.js";
import type { DrawnPoint } from "../masks/overlay-svg.js";
import type { CocoRle } from "../masks/rle.js";
import type { NativeObjectMask, NativeObjectMasks } from "../native/addon.js";
import { type CheckedObjectPrompt, REFINEMENT, type Refinement } from "./object-prompt.js";
import { PictureResult, type ResultFacts, type Timings } from "./picture-result.js";

/** What formats and overlays call an object that was shown rather than named. */
const NAME = "object";

/** One answer to an object prompt. */
export class ObjectMask {
  readonly mask: Mask;
  /** The model's own guess of how well the mask fits (its IoU with the object), 0–1. */
  readonly quality: number;
  /** Low-resolution logits, row by row, as many rows as columns, clamped to ±32: what a prompt takes as `mask`. */
  readonly logits: Float32Array;
  /** @internal */
  declare readonly [REFINEMENT]: Refinement;

  /** @internal */
  constructor(
    { quality, counts, area, lowRes }: NativeObjectMask,
    image: { readonly width: number; readonly height: number },
    prompt: Omit<Refinement, "logits">,
  ) {
    this.mask = Mask.trusted(counts, image.width, image.height, area);
    this.quality = quality;
    this.logits = lowRes;
    // Hidden, so that printing a mask does not print it again.
    Object.defineProperty(this, REFINEMENT, { value: { ...prompt, logits: lowRes } });
  }

  /** Pixels inside the mask. */
  get area(): number {
    return this.mask.area;
  }

  /** The tight box `[x1, y1, x2, y2]`; x2 and y2 not included. */
  get box(): Box {
    return this.mask.box;
  }

  /** The form the command line writes, without the logits. */
  toJSON(): ObjectMaskJson {
    const { quality, box, area, mask } = this;
    return { quality, box, area, mask: mask.toRle() };
  }

  [INSPECT](): string {
    return `ObjectMask { quality ${this.quality.toFixed(2)}, box [${this.box.join(", ")}], ${this.area} px }`;
  }
}

/** What `JSON.stringify` makes of a mask of an object. */
export interface ObjectMaskJson {
  readonly quality: number;
  readonly box: Box;
  readonly area: number;
  readonly mask: CocoRle;
}

/** What `JSON.stringify` makes of a result. */
export interface ObjectResultJson {
  readonly image: { readonly width: number; readonly height: number };
  readonly objectScore: number;
  readonly masks: readonly ObjectMaskJson[];
  /** Index of the best mask. */
  readonly best: number;
  readonly timings: Timings;
  readonly cache: CacheOutcome;
}

/**
 * The object that points, a box or a mask showed.
 *
 * @example
 * ```ts
 * const first = await picture.segmentObject({ points: [{ x: 210, y: 340, label: "positive" }] });
 * const better = await picture.segmentObject({
 *   refineFrom: first,
 *   points: [{ x: 260, y: 300, label: "negative" }],
 * });
 * await writeFile("object.png", await better.best.mask.toPng());
 * ```
 */
export class ObjectResult extends PictureResult {
  /** One mask, or three in the model's own order where `multimask` asked for them. */
  readonly masks: readonly ObjectMask[];
  /** The mask of the best quality. */
  readonly best: ObjectMask;
  /** How sure the model is that there is an object at all, 0–1. */
  readonly objectScore: number;
  /** The best mask as formats and overlays write it. */
  readonly objects: readonly FoundObject[];
  /** @internal */
  declare readonly [REFINEMENT]: Refinement;
  readonly #points: readonly DrawnPoint[];

  /** @internal */
  constructor(facts: ResultFacts, prompt: CheckedObjectPrompt, answer: NativeObjectMasks) {
    super(facts);
    const { points, box } = prompt;
    const { contentHash } = facts.source;
    const all = answer.masks.map((mask) => new ObjectMask(mask, facts.image, { contentHash, points, box }));
    // Of equal ones the first, as an argmax gives.
    this.best = all.reduce((best, mask) => (mask.quality > best.quality ? mask : best));
    this.masks = prompt.bestOnly ? [this.best] : all;
    this.objectScore = 1 / (1 + Math.exp(-answer.objectScore));
    this.objects = [{ text: NAME, score: this.best.quality, box: this.best.box, mask: this.best.mask }];
    this.#points = points;
    Object.defineProperty(this, REFINEMENT, { value: this.best[REFINEMENT] });
  }

  /** The form the command line writes, masks as COCO run lengths. */
  toJSON(): ObjectResultJson {
    const { image, objectScore, masks, best, timings, cache } = this;
    return {
      image,
      objectScore,
      masks: masks.map((mask) => mask.toJSON()),
      best: masks.indexOf(best),
      timings,
      cache,
    };
  }

  [INSPECT](): string {
    const { width, height } = this.image;
    const { quality, area } = this.best;
    const of = this.masks.length > 1 ? `best of ${this.masks.length}, ` : "";
    return `ObjectResult { ${of}quality ${quality.toFixed(2)}, ${area} px in ${width}×${height} }`;
  }

  protected override drawnPoints(): readonly DrawnPoint[] {
    return this.#points;
  }
}
