import { describe } from "../describe.js";
import { Sam3Error } from "../errors.js";
import { checkPrompt, type Exemplar, MAX_EXEMPLARS } from "../image/concept-prompt.js";
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
  /** Number of the concept that exemplars are added to, as an earlier answer gave it; its text names it too. */
  readonly prompt?: number | undefined;
  /**
   * Example boxes on the frame. With text they help on this frame, and the text finds on the others; without text
   * instances are found on this frame, and tracked from there. Added to those of earlier prompts for the same concept
   * and frame.
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
  /** Forgets what was shown of the object, or of the concept's examples, on this frame before. */
  readonly replace?: boolean | undefined;
}

/** A prompt for a concept that was checked. */
export interface CheckedConcept {
  readonly kind: "concept";
  /** Number of the concept it goes on with; undefined where its text tells. */
  readonly concept: number | undefined;
  readonly text: string;
  readonly everywhere: boolean;
  /** Its examples, together with those that were given before; undefined for none. */
  exemplars(before: FrameExemplars | undefined): FrameExemplars | undefined;
}

/** A prompt for an object that was checked. */
export interface CheckedObject {
  readonly kind: "object";
  readonly object: number | undefined;
  /** What it shows, together with what was shown before. */
  input(before: ObjectInput | undefined, alone: boolean): ObjectInput;
}

const NAMES = ["frame", "text", "prompt", "exemplars", "object", "points", "box", "mask", "replace"];
const CONCEPT = ["text", "prompt", "exemplars"] as const;
const OBJECT = ["object", "points", "box", "mask"] as const;
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
      `addPrompt takes { frame?, text?, prompt?, exemplars? } or { frame?, object?, points?, box?, mask? }, not ${describe(prompt)}${hint}.`,
    );
  }
  readOptions("addPrompt", prompt, NAMES);
  const isConcept = CONCEPT.some((name) => prompt[name] !== undefined);
  const isObject = OBJECT.some((name) => prompt[name] !== undefined);
  if (isConcept && isObject) {
    throw new Sam3Error(
      "INVALID_PROMPT",
      "A prompt is for a concept (text, prompt, exemplars) or for one object (object, points, box, mask), not both. Give two prompts.",
    );
  }
  const { replace } = prompt;
  if (replace !== undefined && typeof replace !== "boolean") {
    throw new Sam3Error("INVALID_PROMPT", `replace is ${describe(replace)}; it must be true or false.`);
  }
  return isObject ? checkObject(prompt, video) : checkConcept(prompt, video, fallbackText);
}

function checkConcept(
  { text, prompt, exemplars, replace }: VideoPrompt,
  video: { readonly width: number; readonly height: number },
  fallbackText: string,
): CheckedConcept {
  if (prompt !== undefined && !(Number.isInteger(prompt) && prompt >= 0)) {
    throw new Sam3Error(
      "INVALID_PROMPT",
      `prompt is ${describe(prompt)}; it must be the number of a concept.`,
    );
  }
  if (prompt !== undefined && text !== undefined) {
    throw new Sam3Error(
      "INVALID_PROMPT",
      "A concept has its text already. Give its number (prompt) or its text, not both.",
    );
  }
  // A concept's number alone says what to look for.
  const words = prompt !== undefined && exemplars === undefined ? fallbackText : text;
  const { texts, boxes, labels } = checkPrompt({ text: words, exemplars }, video, {
    threshold: 0,
    fallbackText,
  });
  if (Array.isArray(text)) {
    throw new Sam3Error("INVALID_PROMPT", "A video prompt has one text. Give one prompt for each.");
  }
  return {
    kind: "concept",
    concept: prompt,
    text: texts[0] as string,
    everywhere: text !== undefined,
    exemplars: (before) => {
      const earlier = replace ? undefined : before;
      if (labels.length === 0 || !earlier) return labels.length === 0 ? earlier : { boxes, labels };
      const count = earlier.labels.length + labels.length;
      if (count > MAX_EXEMPLARS) {
        throw new Sam3Error(
          "INVALID_PROMPT",
          `The concept has ${count} exemplars on this frame; a few show what is meant, and ${MAX_EXEMPLARS} is the limit.`,
        );
      }
      return {
        boxes: Float32Array.of(...earlier.boxes, ...boxes),
        labels: Uint8Array.of(...earlier.labels, ...labels),
      };
    },
  };
}

function checkObject(
  { object, points, box, mask, replace = false }: VideoPrompt,
  video: { readonly width: number; readonly height: number; readonly maskSize: number },
): CheckedObject {
  if (object !== undefined && !(Number.isInteger(object) && object >= 0)) {
    throw new Sam3Error("INVALID_PROMPT", `object is ${describe(object)}; it must be the id of an object.`);
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
