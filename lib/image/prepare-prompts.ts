import { describe } from "../describe.js";
import type { Engine } from "../devices/engine.js";
import type { Settled } from "../devices/requests.js";
import { Sam3Error } from "../errors.js";
import { type AskedText, prepareConcept } from "./ask-concepts.js";
import type { ConceptPrompt } from "./concept-prompt.js";
import type { MaskSettings } from "./object-options.js";
import { type CheckedObjectPrompt, checkObjectPrompt, type ObjectPrompt } from "./object-prompt.js";
import { settle } from "./settle.js";

/** A concept prompt among several: with one text at most, for its place in the list tells what it found. */
export interface SingleConceptPrompt extends ConceptPrompt {
  /** A few words. */
  readonly text?: string | undefined;
}

const MAX_PROMPTS = 1024;

/**
 * Checks a list of concept prompts, each for itself.
 *
 * @throws {Sam3Error} `INVALID_PROMPT` where the list is none, empty, or too long
 */
export function prepareConcepts(
  engine: Engine,
  prompts: readonly SingleConceptPrompt[],
  picture: { readonly width: number; readonly height: number },
): Settled<AskedText>[] {
  checkList(prompts, "segmentConcepts", "{ text?, exemplars?, threshold? }");
  return prompts.map((prompt, i) =>
    settle(() => {
      if (Array.isArray((prompt as ConceptPrompt | null)?.text)) {
        throw new Sam3Error(
          "INVALID_PROMPT",
          `Prompt ${i} has a list of texts. Give one prompt for each text, or use segmentConcept.`,
        );
      }
      const [asked] = prepareConcept(engine, prompt, picture);
      return { ...(asked as AskedText), prompt: i };
    }),
  );
}

/**
 * Checks a list of object prompts, each for itself.
 *
 * @throws {Sam3Error} `INVALID_PROMPT` where the list is none, empty, or too long
 */
export function prepareObjects(
  engine: Engine,
  prompts: readonly ObjectPrompt[],
  picture: { readonly width: number; readonly height: number; readonly contentHash: string },
  settings: MaskSettings,
): Settled<CheckedObjectPrompt>[] {
  checkList(prompts, "segmentObjects", "{ points?, box?, mask?, multimask?, refineFrom? }");
  const { width, height, contentHash } = picture;
  const { maskSize } = engine.manifest;
  return prompts.map((prompt) =>
    settle(() => checkObjectPrompt(prompt, { width, height, contentHash, maskSize }, settings)),
  );
}

/**
 * Says so where the loaded model cannot take object prompts.
 *
 * @throws {Sam3Error} `UNSUPPORTED`
 */
export function assertObjectPrompts({ manifest }: Engine): void {
  if (manifest.tracker.trained) return;
  throw new Sam3Error(
    "UNSUPPORTED",
    `The model ${manifest.name} was made without training for points, boxes and masks. Ask with segmentConcept, or load a model with a trained tracker.`,
  );
}

function checkList(prompts: unknown, method: string, form: string): void {
  if (!Array.isArray(prompts)) {
    throw new Sam3Error("INVALID_PROMPT", `${method} takes a list of ${form}, not ${describe(prompts)}.`);
  }
  if (prompts.length === 0 || prompts.length > MAX_PROMPTS) {
    throw new Sam3Error(
      "INVALID_PROMPT",
      `${method} takes 1 to ${MAX_PROMPTS} prompts at once, not ${prompts.length}.`,
    );
  }
}
