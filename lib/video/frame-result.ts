import { INSPECT } from "../inspect.js";
import type { Box, Mask } from "../masks/mask.js";
import type { CocoRle } from "../masks/rle.js";

/** What formats and overlays call an object that was shown rather than named. */
const NAME = "object";

/** One object on one frame. */
export class VideoObject {
  /** The same on every frame of the session; never used again for another object. */
  readonly id: number;
  /** Number of the concept prompt that found it, as `addPrompt` gave it; null for an object of points, a box or a mask. */
  readonly prompt: number | null;
  /** That prompt's text; `"object"` where there is none. */
  readonly text: string;
  /** How sure the detector was when it first found the object, 0–1; for an object of clicks the same as `trackScore`. */
  readonly score: number;
  /** How sure the tracker is that the object is there on this frame, 0–1. */
  readonly trackScore: number;
  readonly mask: Mask;
  /** This is the frame it was first seen on. */
  readonly isNew: boolean;

  /** @internal */
  constructor(
    facts: Omit<VideoObject, "text" | "box" | "area" | "toJSON" | typeof INSPECT> & {
      readonly text: string | undefined;
    },
  ) {
    this.id = facts.id;
    this.prompt = facts.prompt;
    this.text = facts.text ?? NAME;
    this.score = facts.score;
    this.trackScore = facts.trackScore;
    this.mask = facts.mask;
    this.isNew = facts.isNew;
  }

  /** The tight box `[x1, y1, x2, y2]` in pixels; x2 and y2 not included, four zeros for an empty mask. */
  get box(): Box {
    return this.mask.box;
  }

  /** Pixels inside the mask. */
  get area(): number {
    return this.mask.area;
  }

  /** The form the command line writes. */
  toJSON(): VideoObjectJson {
    const { id, prompt, text, score, box, mask } = this;
    return { id, prompt, text, score, box, mask: mask.toRle() };
  }

  [INSPECT](): string {
    const { id, text, score, box } = this;
    return `VideoObject { #${id} ${text} ${score.toFixed(2)}, box [${box.join(", ")}], ${this.area} px${this.isNew ? ", new" : ""} }`;
  }
}

/** What `JSON.stringify` makes of an object of a frame. */
export interface VideoObjectJson {
  readonly id: number;
  readonly prompt: number | null;
  readonly text: string;
  readonly score: number;
  readonly box: Box;
  readonly mask: CocoRle;
}

/** What `JSON.stringify` makes of a frame. */
export interface FrameResultJson {
  readonly frame: number;
  /** Seconds. */
  readonly time: number;
  readonly objects: readonly VideoObjectJson[];
}

/**
 * Every object on one frame, by id. Formats take it as they take a picture's result.
 *
 * @example
 * ```ts
 * for await (const frame of session.propagate()) {
 *   for (const { id, text, box, mask } of frame.objects) console.log(frame.index, id, text, box, mask.area);
 * }
 * ```
 */
export class FrameResult {
  /** Counts from 0. */
  readonly index: number;
  /** When the frame is shown, in seconds, as the video says it. */
  readonly time: number;
  /** Size of the video in pixels. */
  readonly image: { readonly width: number; readonly height: number };
  readonly objects: readonly VideoObject[];
  /** Objects taken back on this frame because they proved to be none; they are in no result given out since. */
  readonly removedIds: readonly number[];

  /** @internal */
  constructor(facts: Pick<FrameResult, "index" | "time" | "image" | "objects" | "removedIds">) {
    this.index = facts.index;
    this.time = facts.time;
    this.image = facts.image;
    this.objects = facts.objects;
    this.removedIds = facts.removedIds;
  }

  /** The form the command line writes, masks as COCO run lengths. */
  toJSON(): FrameResultJson {
    return {
      frame: this.index,
      time: this.time,
      objects: this.objects.map((object) => object.toJSON()),
    };
  }

  [INSPECT](): string {
    const shown = this.objects.slice(0, 5).map(({ id, text, score }) => `#${id} ${text} ${score.toFixed(2)}`);
    const more = this.objects.length > 5 ? ", …" : "";
    const count = `${this.objects.length} object${this.objects.length === 1 ? "" : "s"}`;
    return `FrameResult { ${this.index} at ${this.time.toFixed(3)} s, ${count}${shown.length > 0 ? `: ${shown.join(", ")}${more}` : ""} }`;
  }
}
