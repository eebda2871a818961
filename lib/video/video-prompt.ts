import { describe } from "../describe.js";
import { Sam3Error } from "../errors.js";
import { checkPrompt, type Exemplar } from "../image/concept-prompt.js";
import { checkObjectPrompt, type ObjectPoint } from "../image/object-prompt.js";
import type { Box, Mask } from "../masks/mask.js";
import type { CocoRle } from "../masks/rle.js";
import { readOptions } from "../read-options.js";
import { readMask } from "./read-mask.js";
import type { FrameExemplars, ObjectInput } from "./session/session-track.js";

/** What to track: a concept (text, exemplars or both), or one object (points, a box or a mask). */
export interface VideoPrompt {
  /** Index of the frame it is given on; 0 when left out, in a live session the newest one. */
  readonly frame?: number | undefined;
  /** A few words: every instance is found, on every frame. */
  readonly text?: string | undefined;
  /**
   * Example boxes on the frame. With text they help on this frame, and the text finds on the others; without text
   * instances are found on this frame, and tracked from there.
   */
  readonly exemplars?: readonly Exemplar[] | undefined;
  /** Id of the object that points, box or mask correct; a new object when left out. */
  readonly object?: number | undefined;
  /** Added to the points of earlier prompts for the same object and frame. */
  readonly points?: readonly ObjectPoint[] | undefined;
  /** `[x1, y1, x2, y2]` in pixels around the object. */
  readonly box?: Readonly<Box> | undefined;
  /** The object's mask on the frame, in the size of the video; taken as it is. */
  readonly mask?: Mask | CocoRle | undefined;
  /** Forgets what was shown of the object on this frame before. */
  readonly replace?: boolean | undefined;
}

/** A prompt for a concept that was checked. */
export interface CheckedConcept {
  readonly kind: "concept";
  readonly text: string;
  readonly everywhere: boolean;
  readonly exemplars: FrameExemplars | undefined;
}

/** A prompt for an object that was checked. */
export interface CheckedObject {
  readonly kind: "object";
  readonly object: number | undefined;
  /** What it shows, together with what was shown before. */
  input(before: ObjectInput | undefined, alone: boolean): ObjectInput;
}

const NAMES = ["frame", "text", "exemplars", "object", "points", "box", "mask", "replace"];
const CONCEPT = ["text", "exemplars"] as const;
const OBJECT = ["points", "box", "mask"] as const;
const MAX_POINTS = 256;

/**
 * Checks a prompt against the video it is for.
 *
 * @throws {Sam3Error} `INVALID_PROMPT`, `INVALID_BOX`, `INVALID_POINT`, `INVALID_MASK`, `INVALID_ARGUMENT`
 */
export function checkVideoPrompt(
  prompt: VideoPrompt,
  video: { readonly width: number; readonly height: number; readonly maskSize: number },
  fallbackText: string,
): CheckedConcept | CheckedObject {
  if (typeof prompt !== "object" || prompt === null || Array.isArray(prompt)) {
    const hint = typeof prompt === "string" ? `; write { text: ${describe(prompt)} }` : "";
    throw new Sam3Error(
      "INVALID_PROMPT",
      `addPrompt takes { frame?, text?, exemplars? } or { frame?, object?, points?, box?, mask? }, not ${describe(prompt)}${hint}.`,
    );
  }
  readOptions("addPrompt", prompt, NAMES);
  const isConcept = CONCEPT.some((name) => prompt[name] !== undefined);
  const isObject = OBJECT.some((name) => prompt[name] !== undefined) || prompt.object !== undefined;
  if (isConcept && isObject) {
    throw new Sam3Error(
      "INVALID_PROMPT",
      "A prompt is for a concept (text, exemplars) or for one object (object, points, box, mask), not both. Give two prompts.",
    );
  }
  if (isObject) return checkObject(prompt, video);
  const { texts, boxes, labels } = checkPrompt({ text: prompt.text, exemplars: prompt.exemplars }, video, {
    threshold: 0,
    fallbackText,
  });
  if (Array.isArray(prompt.text)) {
    throw new Sam3Error("INVALID_PROMPT", "A video prompt has one text. Give one prompt for each.");
  }
  return {
    kind: "concept",
    text: texts[0] as string,
    everywhere: prompt.text !== undefined,
    exemplars: labels.length > 0 ? { boxes, labels } : undefined,
  };
}

function checkObject(
  { object, points, box, mask, replace = false }: VideoPrompt,
  video: { readonly width: number; readonly height: number; readonly maskSize: number },
): CheckedObject {
  if (object !== undefined && !(Number.isInteger(object) && object >= 0)) {
    throw new Sam3Error("INVALID_PROMPT", `object is ${describe(object)}; it must be the id of an object.`);
  }
  if (typeof replace !== "boolean") {
    throw new Sam3Error("INVALID_PROMPT", `replace is ${describe(replace)}; it must be true or false.`);
  }
  if (mask !== undefined) {
    if (points !== undefined || box !== undefined) {
      throw new Sam3Error(
        "INVALID_PROMPT",
        "A mask is taken as it is: give it alone, or points and box without it.",
      );
    }
    const counts = readMask(mask, video);
    return { kind: "object", object, input: () => ({ kind: "mask", counts }) };
  }
  if (points === undefined && box === undefined) {
    throw new Sam3Error("INVALID_PROMPT", "The prompt is empty. Give points, a box or a mask.");
  }
  const settings = { maskThreshold: 0, maxHoleArea: 0, maxSprinkleArea: 0 };
  const checked = checkObjectPrompt({ points, box }, { ...video, contentHash: "" }, settings);
  const clicks = checked.points.map(({ x, y, label }) => ({ x, y, label: label === "positive" ? 1 : 0 }));
  return {
    kind: "object",
    object,
    input: (before, alone) => {
      const shown = before?.kind === "points" && !replace ? clicksOf(before) : [];
      const corners = checked.box
        ? [
            { x: checked.box[0], y: checked.box[1], label: 2 },
            { x: checked.box[2], y: checked.box[3], label: 3 },
          ]
        : shown.filter(({ label }) => label > 1);
      const all = [...corners, ...shown.filter(({ label }) => label <= 1), ...clicks];
      if (all.length > MAX_POINTS) {
        throw new Sam3Error(
          "INVALID_POINT",
          `The object has ${all.length} points on this frame; a few clicks show an object, and ${MAX_POINTS} is the limit.`,
        );
      }
      return {
        kind: "points",
        points: Float32Array.from(all.flatMap(({ x, y }) => [x, y])),
        labels: Int32Array.from(all, ({ label }) => label),
        alone,
      };
    },
  };
}

function clicksOf({ points, labels }: Extract<ObjectInput, { kind: "points" }>) {
  return Array.from(labels, (label, i) => ({
    x: points[i * 2] as number,
    y: points[i * 2 + 1] as number,
    label,
  }));
}
