import type { Call } from "../call.js";
import type { Engine } from "../devices/engine.js";
import type { Lease } from "../devices/lease.js";
import type { ConceptRequest, Settled } from "../devices/requests.js";
import type { NativeConceptObjects } from "../native/addon.js";
import { type ConceptPrompt, checkPrompt } from "./concept-prompt.js";
import { type FoundText, foundText } from "./concept-result.js";
import { suppressDuplicates } from "./suppress-duplicates.js";

/** One text of a prompt, checked against its picture and cut into tokens. */
export interface AskedText {
  /** Index of the text, or of the prompt where there are several. */
  readonly prompt: number;
  readonly text: string;
  readonly truncated: boolean;
  readonly request: Omit<ConceptRequest, "semantic">;
}

/**
 * Checks a prompt against its picture and cuts its texts into tokens, before anything costs time.
 *
 * @throws {Sam3Error} `INVALID_PROMPT`, `INVALID_BOX` or `INVALID_ARGUMENT`
 */
export function prepareConcept(
  engine: Engine,
  prompt: ConceptPrompt,
  picture: { readonly width: number; readonly height: number },
): AskedText[] {
  const { threshold, manifest, tokenizer } = engine;
  const { fallbackText } = manifest.tokenizer;
  const { texts, ...rest } = checkPrompt(prompt, picture, { threshold, fallbackText });
  return texts.map((text, i) => {
    const { ids, truncated } = tokenizer.encode(text);
    return { prompt: i, text, truncated, request: { ids, ...rest } };
  });
}

/** Asks for every text in one batch; the answer keeps their order. */
export async function askConcepts(
  engine: Engine,
  lease: Lease,
  asked: readonly AskedText[],
  semantic: boolean,
  call: Call,
): Promise<Settled<FoundText>[]> {
  const answers = await answersTo(engine, lease, asked, semantic, call);
  return answers.map((answer, i): Settled<FoundText> => {
    if (answer.status === "rejected") return answer;
    const text = asked[i] as AskedText;
    return { status: "fulfilled", value: foundText(text.prompt, text, answer.value, lease) };
  });
}

/** What the addon answers to every text, in order. Equal requests are asked once, so that their answers are equal too. */
export async function answersTo(
  engine: Engine,
  lease: Lease,
  asked: readonly AskedText[],
  semantic: boolean,
  call: Call,
): Promise<Settled<NativeConceptObjects>[]> {
  const places = new Map<string, number>();
  const requests: ConceptRequest[] = [];
  const placeOf = asked.map(({ request }) => {
    const { ids, boxes, labels, threshold } = request;
    const key = `${ids}|${boxes}|${labels}|${threshold}`;
    const known = places.get(key);
    if (known !== undefined) return known;
    places.set(key, requests.length);
    return requests.push({ ...request, semantic }) - 1;
  });
  const answers = await engine.segmentConcepts(lease, requests, call);
  return placeOf.map((place) => answers[place] as Settled<NativeConceptObjects>);
}

/** Leaves out what another text found with a better score, and counts it. */
export async function withoutDuplicates(
  found: readonly FoundText[],
  iou: number | undefined,
  signal: AbortSignal,
): Promise<readonly FoundText[]> {
  if (iou === undefined) return found;
  const kept = await suppressDuplicates(
    found.map(({ objects }) => objects),
    iou,
    signal,
  );
  return found.map((text, i) => {
    const objects = kept[i] ?? [];
    return { ...text, objects, suppressed: text.objects.length - objects.length };
  });
}
