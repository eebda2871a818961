import { z } from "zod";
import { describe, hintFor, issuesInOneLine } from "../describe.js";
import { Sam3Error } from "../errors.js";
import type { Box } from "../masks/mask.js";
import { checkBox } from "./check-box.js";

/** A box around an example of what is looked for (positive), or of what is not meant (negative). */
export interface Exemplar {
  /** `[x1, y1, x2, y2]` in pixels of the original picture; what lies outside the picture is cut off. */
  readonly box: Readonly<Box>;
  /** `"positive"` when left out. */
  readonly label?: "positive" | "negative" | undefined;
}

/** What to look for: words, example boxes, or both. */
export interface ConceptPrompt {
  /** A few words, or several texts that are looked for one by one. */
  readonly text?: string | readonly string[] | undefined;
  /** Examples in the same picture; with several texts they apply to each. */
  readonly exemplars?: readonly Exemplar[] | undefined;
  /** Objects with a score above this are returned, 0–1; the model's own when left out. */
  readonly threshold?: number | undefined;
}

/** A prompt that was checked against its picture. */
export interface CheckedPrompt {
  /** At least one; the bundle's fallback text where the prompt has boxes only. */
  readonly texts: readonly string[];
  /** Centre x, centre y, width, height in 0–1, four numbers a box. */
  readonly boxes: Float32Array;
  /** 1 positive, 0 negative. */
  readonly labels: Uint8Array;
  readonly threshold: number;
}

const MAX_TEXTS = 1024;
/** Most example boxes of one concept in a picture. */
export const MAX_EXEMPLARS = 256;
const FOREIGN_KEYS = ["image", "picture", "source"];
const KEYS = ["text", "exemplars", "threshold"];

const exemplarSchema = z.strictObject({
  box: z.unknown(),
  label: z.enum(["positive", "negative"], 'must be "positive" or "negative"').optional(),
});

const exemplarsSchema = z
  .array(exemplarSchema, "must be a list of { box, label? }")
  .max(MAX_EXEMPLARS, `must be at most ${MAX_EXEMPLARS} boxes`);

const textsSchema = z
  .array(z.string("must be text"))
  .min(1, "must have at least one text")
  .max(MAX_TEXTS, `must be at most ${MAX_TEXTS} texts`);

/**
 * Checks a prompt against the picture it is for.
 *
 * @throws {Sam3Error} `INVALID_PROMPT`, `INVALID_BOX` naming the box, `INVALID_ARGUMENT`, or `UNSUPPORTED` for an
 *   exemplar of another picture
 */
export function checkPrompt(
  prompt: ConceptPrompt,
  picture: { readonly width: number; readonly height: number },
  defaults: { readonly threshold: number; readonly fallbackText: string },
): CheckedPrompt {
  if (typeof prompt !== "object" || prompt === null || Array.isArray(prompt)) {
    const hint = typeof prompt === "string" ? `; write { text: ${describe(prompt)} }` : "";
    throw new Sam3Error(
      "INVALID_PROMPT",
      `A prompt is { text?, exemplars?, threshold? }, not ${describe(prompt)}${hint}.`,
    );
  }
  for (const key of Object.keys(prompt)) {
    if (!KEYS.includes(key)) {
      throw new Sam3Error(
        "INVALID_PROMPT",
        `A prompt has no "${key}"${hintFor(key, KEYS)}. It takes ${KEYS.join(", ")}.`,
      );
    }
  }
  const threshold = checkThreshold(prompt.threshold) ?? defaults.threshold;
  const exemplars = prompt.exemplars === undefined ? [] : checkExemplars(prompt.exemplars);
  const texts = checkTexts(prompt.text, exemplars.length > 0, defaults.fallbackText);
  const boxes = new Float32Array(exemplars.length * 4);
  const labels = new Uint8Array(exemplars.length);
  exemplars.forEach((exemplar, i) => {
    const [x1, y1, x2, y2] = checkBox(exemplar.box, `Box ${i}`, picture, { index: i });
    boxes[i * 4] = (x1 + x2) / 2 / picture.width;
    boxes[i * 4 + 1] = (y1 + y2) / 2 / picture.height;
    boxes[i * 4 + 2] = (x2 - x1) / picture.width;
    boxes[i * 4 + 3] = (y2 - y1) / picture.height;
    labels[i] = exemplar.label === "negative" ? 0 : 1;
  });
  return { texts, boxes, labels, threshold };
}

function checkThreshold(threshold: unknown): number | undefined {
  if (threshold === undefined) return undefined;
  if (typeof threshold === "number" && threshold >= 0 && threshold <= 1) return threshold;
  throw new Sam3Error(
    "INVALID_ARGUMENT",
    `threshold is ${describe(threshold)}; it must be a number from 0 to 1.`,
  );
}

function checkExemplars(exemplars: unknown): z.infer<typeof exemplarsSchema> {
  if (Array.isArray(exemplars)) exemplars.forEach(refuseForeign);
  const read = exemplarsSchema.safeParse(exemplars);
  if (read.success) return read.data;
  throw new Sam3Error(
    "INVALID_PROMPT",
    `The prompt's exemplars cannot be read: ${issuesInOneLine(read.error)}.`,
    {
      cause: read.error,
    },
  );
}

/** An example is a place in the picture that is asked; one of another picture would need what no model here was seen to do. */
function refuseForeign(exemplar: unknown, i: number): void {
  if (typeof exemplar !== "object" || exemplar === null) return;
  const key = FOREIGN_KEYS.find((name) => name in exemplar);
  if (key === undefined) return;
  throw new Sam3Error(
    "UNSUPPORTED",
    `Exemplar ${i} names a picture of its own ("${key}"). An exemplar is a box in the picture that is asked; examples from other pictures are not supported.`,
    { details: { index: i } },
  );
}

function checkTexts(text: unknown, hasBoxes: boolean, fallback: string): readonly string[] {
  if (text === undefined) {
    if (hasBoxes) return [fallback];
    throw new Sam3Error("INVALID_PROMPT", "The prompt is empty. Give text, exemplars or both.");
  }
  const read = textsSchema.safeParse(typeof text === "string" ? [text] : text);
  if (!read.success) {
    throw new Sam3Error(
      "INVALID_PROMPT",
      `The prompt's text must be words or a list of them: ${issuesInOneLine(read.error)}.`,
      {
        cause: read.error,
      },
    );
  }
  read.data.forEach((one, i) => {
    if (one.trim() === "") {
      const which = read.data.length > 1 ? `Text ${i} of the prompt` : "The prompt's text";
      throw new Sam3Error(
        "INVALID_PROMPT",
        `${which} is empty. Say what to look for, or leave text out and give exemplars.`,
      );
    }
  });
  return read.data;
}
