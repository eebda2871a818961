import { describe, hintFor } from "../describe.js";
import type { ObjectRequest } from "../devices/requests.js";
import { Sam3Error } from "../errors.js";
import type { Box } from "../masks/mask.js";
import { checkBox } from "./check-box.js";
import type { MaskSettings } from "./object-options.js";
import type { ObjectMask, ObjectResult } from "./object-result.js";

/** A click: a point that belongs to the object, or one that does not. */
export interface ObjectPoint {
  /** In pixels of the original picture, from 0 to less than its width. */
  readonly x: number;
  /** In pixels of the original picture, from 0 to less than its height. */
  readonly y: number;
  readonly label: "positive" | "negative";
}

/** What shows one object: points, a box, an earlier mask, in any mix. */
export interface ObjectPrompt {
  /** Up to 256. */
  readonly points?: readonly ObjectPoint[] | undefined;
  /** `[x1, y1, x2, y2]` in pixels around the object; what lies outside the picture is cut off. */
  readonly box?: Readonly<Box> | undefined;
  /** Low-resolution logits as `ObjectMask.logits` has them, of this picture. */
  readonly mask?: Float32Array | undefined;
  /**
   * `true`: three masks, for prompts that can mean several things (a part, the whole, …). `false`: one, as the model
   * gives it for prompts that are clear. Left out: one, and for at most a single point, which is seldom clear, the one
   * of the three that the model holds to be best; this is the rule of the official tracker.
   */
  readonly multimask?: boolean | undefined;
  /**
   * An earlier result of the same picture (its best mask counts) or one of its masks. Its points, box and logits are
   * taken over; points are added to its points, a box replaces its box.
   */
  readonly refineFrom?: ObjectResult | ObjectMask | undefined;
}

/** What an earlier answer hands on to the next. */
export interface Refinement {
  /** Tells pictures apart. */
  readonly contentHash: string;
  readonly points: readonly ObjectPoint[];
  readonly box: Box | undefined;
  readonly logits: Float32Array;
}

/** Key under which results carry what a refinement needs; the same in every copy of this package. */
export const REFINEMENT: unique symbol = Symbol.for("sam3-node.refinement") as never;

/** A prompt that was checked against its picture. */
export interface CheckedObjectPrompt {
  readonly request: ObjectRequest;
  /** Three masks are asked for, the best one is wanted. */
  readonly bestOnly: boolean;
  /** All points, those of earlier answers first. */
  readonly points: readonly ObjectPoint[];
  readonly box: Box | undefined;
}

/** The picture a prompt is for. */
export interface PromptedPicture {
  readonly width: number;
  readonly height: number;
  readonly contentHash: string;
  /** Side of the model's low-resolution masks. */
  readonly maskSize: number;
}

const MAX_POINTS = 256;
const KEYS = ["points", "box", "mask", "multimask", "refineFrom"];
const POINT_KEYS = ["x", "y", "label"];

/**
 * Checks a prompt against the picture it is for.
 *
 * @throws {Sam3Error} `INVALID_PROMPT`, `INVALID_POINT`, `INVALID_BOX` or `INVALID_MASK`, saying which and why
 */
export function checkObjectPrompt(
  prompt: ObjectPrompt,
  picture: PromptedPicture,
  settings: MaskSettings,
): CheckedObjectPrompt {
  if (typeof prompt !== "object" || prompt === null || Array.isArray(prompt)) {
    throw new Sam3Error(
      "INVALID_PROMPT",
      `A prompt is { points?, box?, mask?, multimask?, refineFrom? }, not ${describe(prompt)}.`,
    );
  }
  for (const key of Object.keys(prompt)) {
    if (!KEYS.includes(key)) {
      throw new Sam3Error(
        "INVALID_PROMPT",
        `An object prompt has no "${key}"${hintFor(key, KEYS)}. It takes ${KEYS.join(", ")}.`,
      );
    }
  }
  const { multimask } = prompt;
  if (multimask !== undefined && typeof multimask !== "boolean") {
    throw new Sam3Error("INVALID_PROMPT", `multimask is ${describe(multimask)}; it must be true or false.`);
  }
  const earlier = checkRefinement(prompt, picture);
  const added = prompt.points === undefined ? [] : checkPoints(prompt.points, picture);
  const points = [...(earlier?.points ?? []), ...added];
  checkNumber(points.length);
  const box = prompt.box === undefined ? earlier?.box : checkBox(prompt.box, "The box", picture);
  const mask = prompt.mask === undefined ? (earlier?.logits ?? null) : checkMask(prompt.mask, picture);
  if (points.length === 0 && box === undefined && mask === null) {
    throw new Sam3Error(
      "INVALID_PROMPT",
      "The prompt is empty. Give points, a box, a mask or a result to refine.",
    );
  }
  // A box counts as its two corners.
  const bestOnly = multimask === undefined && points.length + (box === undefined ? 0 : 2) <= 1;
  return {
    request: {
      points: Float32Array.from([...points.flatMap(({ x, y }) => [x, y]), ...(box ?? [])]),
      labels: Int32Array.from([
        ...points.map(({ label }) => (label === "positive" ? 1 : 0)),
        ...(box === undefined ? [] : [2, 3]),
      ]),
      // A copy: the batch may wait while the caller goes on writing.
      mask: mask === null ? null : mask.slice(),
      multimask: multimask ?? bestOnly,
      ...settings,
    },
    bestOnly,
    points,
    box,
  };
}

function checkPoints(points: unknown, { width, height }: PromptedPicture): ObjectPoint[] {
  if (!Array.isArray(points)) {
    throw new Sam3Error(
      "INVALID_POINT",
      `points must be a list of { x, y, label }, not ${describe(points)}.`,
    );
  }
  checkNumber(points.length);
  return points.map((point: unknown, i) => {
    const wrong = (why: string) =>
      new Sam3Error("INVALID_POINT", `Point ${i} ${why}.`, { details: { index: i } });
    if (typeof point !== "object" || point === null || Array.isArray(point)) {
      throw wrong(`is ${describe(point)}; it must be { x, y, label }`);
    }
    for (const key of Object.keys(point)) {
      if (!POINT_KEYS.includes(key))
        throw wrong(`has "${key}"${hintFor(key, POINT_KEYS)}; it takes x, y and label`);
    }
    const { x, y, label } = point as Record<keyof ObjectPoint, unknown>;
    if (typeof x !== "number" || typeof y !== "number" || !Number.isFinite(x) || !Number.isFinite(y)) {
      throw wrong(`is at (${describe(x)}, ${describe(y)}); x and y must be finite numbers, in pixels`);
    }
    if (label === undefined) throw wrong('has no label; say whether it is "positive" or "negative"');
    if (label !== "positive" && label !== "negative") {
      throw wrong(`has the label ${describe(label)}; it must be "positive" or "negative"`);
    }
    if (!(x >= 0 && y >= 0 && x < width && y < height)) {
      throw wrong(`at (${x}, ${y}) lies outside the picture of ${width}×${height} pixels`);
    }
    return { x, y, label };
  });
}

function checkNumber(count: number): void {
  if (count > MAX_POINTS) {
    throw new Sam3Error(
      "INVALID_POINT",
      `The prompt has ${count} points; a few clicks show an object, and ${MAX_POINTS} is the limit.`,
    );
  }
}

function checkMask(mask: unknown, { maskSize }: PromptedPicture): Float32Array {
  const wrong = (why: string) =>
    new Sam3Error(
      "INVALID_MASK",
      `The mask ${why}. It must be what an earlier answer has as logits: a Float32Array of ${maskSize}×${maskSize} numbers.`,
    );
  // Not instanceof: masks also come from other realms.
  if (Object.prototype.toString.call(mask) !== "[object Float32Array]") throw wrong(`is ${describe(mask)}`);
  const logits = mask as Float32Array;
  if (logits.length !== maskSize * maskSize) throw wrong(`has ${logits.length} numbers`);
  const bad = logits.findIndex((value) => !Number.isFinite(value));
  if (bad !== -1) throw wrong(`has ${logits[bad]} at ${bad}`);
  return logits;
}

function checkRefinement(
  { refineFrom, mask }: ObjectPrompt,
  { contentHash, maskSize }: PromptedPicture,
): Refinement | undefined {
  if (refineFrom === undefined) return undefined;
  const state = (refineFrom as Partial<Record<typeof REFINEMENT, Refinement>> | null)?.[REFINEMENT];
  if (state === undefined) {
    throw new Sam3Error(
      "INVALID_PROMPT",
      `refineFrom must be a result of segmentObject or one of its masks, not ${describe(refineFrom)}.`,
    );
  }
  if (mask !== undefined) {
    throw new Sam3Error("INVALID_PROMPT", "mask and refineFrom both bring a mask. Give one of them.");
  }
  if (state.contentHash !== contentHash) {
    throw new Sam3Error(
      "INVALID_PROMPT",
      "refineFrom is a result of another picture, or of the same one passed in another form. Refine what was found in this one.",
    );
  }
  if (state.logits.length !== maskSize * maskSize) {
    throw new Sam3Error(
      "INVALID_PROMPT",
      "refineFrom is a result of another model, with masks of another size.",
    );
  }
  return state;
}
