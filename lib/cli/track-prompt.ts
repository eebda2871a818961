import { Sam3Error } from "../errors.js";
import type { Exemplar } from "../image/concept-prompt.js";
import type { ObjectPoint } from "../image/object-prompt.js";
import type { Box } from "../masks/mask.js";
import type { VideoPrompt } from "../video/video-prompt.js";
import { usage } from "./command.js";
import { readNumbers, readWhole } from "./read-values.js";

/** What a person may say of what to track. */
export interface TrackPromptOptions {
  readonly text?: string[];
  readonly point?: string[];
  readonly box?: string[];
}

/** One prompt for the session. */
export interface TrackPrompt {
  readonly prompt: VideoPrompt;
  /** What the person calls the object, `@2`; its id is known once the session made it. Undefined for a concept. */
  readonly object: string | undefined;
}

interface Shown {
  readonly frame: number;
  readonly values: readonly number[];
  readonly label: "positive" | "negative";
  readonly object: string | undefined;
}

const NAME = { name: "track" };
/** What clicks belong to that name no object. */
const FIRST = "1";

/**
 * Reads what to track: each text is a concept; a box without `@` is an example of the concepts on its frame; clicks, and
 * boxes with `@`, show single objects.
 *
 * @param frame the one that texts are given on
 * @throws {Sam3Error} `USAGE`, `INVALID_PROMPT`, `INVALID_BOX`
 */
export function readTrackPrompts(options: TrackPromptOptions, frame: number): TrackPrompt[] {
  const { text = [], point = [], box = [] } = options;
  if (text.length + point.length + box.length === 0) {
    throw usage("say what to track with --text, or show it with --point or --box", NAME);
  }
  if (text.some((it) => it.trim() === "")) {
    throw new Sam3Error("INVALID_PROMPT", "--text is empty; say what to track, or leave it out");
  }
  const points = point.map((given) => readShown(given, 2, "point", "frame,x,y[:negative][@object]"));
  const boxes = box.map((given) => readBox(given));
  const examples = boxes.filter(({ object }) => object === undefined);
  return [
    ...readConcepts([...new Set(text)], examples, frame),
    ...readObjects(
      points,
      boxes.filter(({ object }) => object !== undefined),
    ),
  ];
}

/** A prompt for each text, and for each further frame with examples. */
function readConcepts(texts: readonly string[], boxes: readonly Shown[], frame: number): TrackPrompt[] {
  const byFrame = new Map<number, Shown[]>();
  for (const box of boxes) byFrame.set(box.frame, [...(byFrame.get(box.frame) ?? []), box]);
  const concepts = texts.length > 0 ? texts : [undefined];
  const prompts: TrackPrompt[] = [];
  for (const text of concepts) {
    const frames = byFrame.size > 0 ? [...byFrame] : text === undefined ? [] : [[frame, []] as const];
    for (const [at, shown] of frames) {
      const exemplars: Exemplar[] = shown.map(({ values, label }) => ({ box: values as Box, label }));
      prompts.push({
        prompt: {
          frame: at,
          ...(text === undefined ? {} : { text }),
          ...(exemplars.length > 0 ? { exemplars } : {}),
        },
        object: undefined,
      });
    }
  }
  return prompts;
}

/** A prompt for each object and frame, in the order of the frames. */
function readObjects(points: readonly Shown[], boxes: readonly Shown[]): TrackPrompt[] {
  const prompts = new Map<string, { frame: number; object: string; points: ObjectPoint[]; box?: Box }>();
  const of = ({ frame, object = FIRST }: Shown) => {
    const key = `${object} ${frame}`;
    const known = prompts.get(key) ?? { frame, object, points: [] };
    prompts.set(key, known);
    return known;
  };
  for (const shown of boxes) {
    if (shown.label === "negative") throw usage("the box of an object cannot be negative", NAME);
    const one = of(shown);
    if (one.box) throw usage(`object @${one.object} has two boxes on frame ${one.frame}`, NAME);
    one.box = shown.values as Box;
  }
  for (const shown of points) {
    const [x, y] = shown.values as [number, number];
    of(shown).points.push({ x, y, label: shown.label });
  }
  return [...prompts.values()]
    .sort((a, b) => a.frame - b.frame)
    .map(({ frame, object, points: clicks, box }) => ({
      prompt: {
        frame,
        ...(clicks.length > 0 ? { points: clicks } : {}),
        ...(box === undefined ? {} : { box }),
      },
      object,
    }));
}

function readBox(given: string): Shown {
  const shown = readShown(given, 4, "box", "frame,x1,y1,x2,y2[:negative][@object]");
  const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] = shown.values;
  if (!(x1 < x2 && y1 < y2)) {
    throw new Sam3Error("INVALID_BOX", `--box ${given} has no area; x1 must be left of x2, and y1 above y2`);
  }
  return shown;
}

/** `12,210,340:negative@2`: a frame, numbers, and what they mean. */
function readShown(given: string, count: number, option: string, form: string): Shown {
  const match = /^(\d+),([^:@]+)(?::(positive|negative))?(?:@([A-Za-z0-9_-]{1,40}))?$/.exec(given.trim());
  const frame = match === null ? undefined : readWhole(match[1] as string);
  const values = match === null ? undefined : readNumbers(match[2] as string, count);
  if (frame === undefined || values === undefined) throw usage(`--${option} ${given} is not ${form}`, NAME);
  return { frame, values, label: match?.[3] === "negative" ? "negative" : "positive", object: match?.[4] };
}
