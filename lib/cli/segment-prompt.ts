import { Sam3Error } from "../errors.js";
import type { ConceptPrompt, Exemplar } from "../image/concept-prompt.js";
import type { ObjectPoint, ObjectPrompt } from "../image/object-prompt.js";
import type { TileOptions } from "../image/tile-layout.js";
import type { Box } from "../masks/mask.js";
import { usage } from "./command.js";
import { readNumber, readNumbers } from "./read-values.js";

/** What a person may say of what to look for. */
export interface PromptOptions {
  readonly text?: string[];
  readonly box?: string[];
  readonly point?: string[];
  readonly object?: boolean;
  readonly multimask?: boolean;
  readonly threshold?: string;
  readonly tiles?: string;
  readonly "suppress-duplicates"?: string;
}

/** Every instance of a concept, or one object that is shown. */
export type SegmentPrompt =
  | {
      readonly kind: "concept";
      readonly prompt: ConceptPrompt;
      readonly tiles: TileOptions | undefined;
      readonly suppressDuplicates: number | undefined;
    }
  | { readonly kind: "object"; readonly prompt: ObjectPrompt };

const NAME = { name: "segment" };

/** Reads the prompt, as strictly as the model does, so that a slip shows before the model is loaded. */
export function readSegmentPrompt(options: PromptOptions): SegmentPrompt {
  return options.object || options.point !== undefined ? readObject(options) : readConcept(options);
}

function readConcept(options: PromptOptions): SegmentPrompt {
  const { text, box = [], threshold, tiles, multimask } = options;
  const iou = options["suppress-duplicates"];
  if (text === undefined && box.length === 0) {
    throw usage("say what to look for with --text or --box, or show an object with --point", NAME);
  }
  if (multimask) throw usage("--multimask is for an object shown by --point or --object --box", NAME);
  if (text?.some((it) => it.trim() === "")) {
    throw new Sam3Error(
      "INVALID_PROMPT",
      "--text is empty; say what to look for, or leave it out and give --box",
    );
  }
  return {
    kind: "concept",
    prompt: {
      ...(text === undefined ? {} : { text }),
      ...(box.length === 0 ? {} : { exemplars: box.map(readExemplar) }),
      ...(threshold === undefined ? {} : { threshold: readPart("threshold", threshold) }),
    },
    tiles: tiles === undefined ? undefined : readTiles(tiles),
    suppressDuplicates: iou === undefined ? undefined : readPart("suppress-duplicates", iou),
  };
}

function readObject(options: PromptOptions): SegmentPrompt {
  const { box = [], point = [], multimask } = options;
  for (const name of ["text", "threshold", "tiles", "suppress-duplicates"] as const) {
    if (options[name] !== undefined) {
      throw usage(`--${name} looks for a concept; --point and --object show one object`, NAME);
    }
  }
  if (box.length > 1) throw usage("one object has one --box", NAME);
  if (box.length === 0 && point.length === 0) throw usage("show the object with --point or --box", NAME);
  const [exemplar] = box.map(readExemplar);
  if (exemplar?.label === "negative") throw usage("the box of an object cannot be negative", NAME);
  return {
    kind: "object",
    prompt: {
      ...(point.length === 0 ? {} : { points: point.map(readPoint) }),
      ...(exemplar === undefined ? {} : { box: exemplar.box }),
      ...(multimask ? { multimask } : {}),
    },
  };
}

function readExemplar(given: string): Exemplar {
  const { values, label } = readLabelled(given, 4) ?? {};
  if (values === undefined || label === undefined) {
    throw usage(`--box ${given} is not x1,y1,x2,y2 or x1,y1,x2,y2:negative`, NAME);
  }
  const box = values as Box;
  if (!(box[0] < box[2] && box[1] < box[3])) {
    throw new Sam3Error("INVALID_BOX", `--box ${given} has no area; x1 must be left of x2, and y1 above y2`);
  }
  return { box, label };
}

function readPoint(given: string): ObjectPoint {
  const { values, label } = readLabelled(given, 2) ?? {};
  if (values === undefined || label === undefined) {
    throw usage(`--point ${given} is not x,y or x,y:negative`, NAME);
  }
  const [x, y] = values as [number, number];
  return { x, y, label };
}

/** Numbers with a comma between them, and what is said of them after a colon. */
function readLabelled(
  given: string,
  count: number,
): { values: number[]; label: "positive" | "negative" } | undefined {
  const [numbers = "", label = "positive", ...more] = given.split(":");
  const values = readNumbers(numbers, count);
  if (values === undefined || more.length > 0) return undefined;
  return label === "positive" || label === "negative" ? { values, label } : undefined;
}

function readPart(name: string, given: string): number {
  const value = readNumber(given);
  if (value === undefined || !(value >= 0 && value <= 1))
    throw usage(`--${name} ${given} is not a number from 0 to 1`, NAME);
  return value;
}

function readTiles(given: string): TileOptions {
  if (given === "auto") return {};
  const match = /^(\d{1,6})(?:,(\d{1,6}))?$/.exec(given);
  if (match === null) throw usage(`--tiles ${given} is not auto, a size or size,overlap in pixels`, NAME);
  return { size: Number(match[1]), ...(match[2] === undefined ? {} : { overlap: Number(match[2]) }) };
}
