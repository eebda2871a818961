import type { NativeDetections, NativeMaskRow, NativeTextFeatures } from "../../native/addon.js";
import { needsTrackIou } from "../rules/occlusion.js";
import { type FramePlan, planFrame } from "../rules/plan-frame.js";
import type { VideoState } from "../rules/state.js";
import { FrameMemory } from "./frame-memory.js";
import type { FrameOutcome, FrameWork, Tracked } from "./frame-work.js";
import { Handles } from "./handles.js";
import { readResults } from "./read-results.js";
import { NO_EXEMPLARS, type SessionPrompt } from "./session-track.js";
import { trackObjects } from "./track-objects.js";
import type { TrackerCalls } from "./tracker-calls.js";

const NO_PLAN: FramePlan = {
  born: [],
  removed: [],
  hidden: [],
  suppressed: [],
  unconfirmed: [],
  reconditioned: [],
  matches: [],
  unmatched: [],
  empty: [],
  dropped: 0,
};

/**
 * Computes one frame: detect, track all objects as one batch, compare, plan, remember, seed what is new, read masks. What
 * is done in which order, and which masks are remembered, is transformers' `_det_track_one_frame`.
 */
export async function computeFrame(calls: TrackerCalls, work: FrameWork): Promise<FrameOutcome> {
  const scope = new Handles();
  try {
    const detections = await detect(calls, work, scope);
    const tracked = await trackObjects(calls, work, scope);
    const concepts = work.tracks.map((track) => tracked.get(track) as Tracked);
    const { plan, state } = await decide(calls, work, detections, concepts);
    const memory = new FrameMemory(work, plan, scope);
    await memory.make(calls, detections, tracked, concepts);
    const results = await readResults(calls, work, plan, detections, [...tracked.values()], scope);
    memory.keep();
    return {
      state,
      plan,
      memories: memory.memories,
      births: memory.births,
      results,
      discard: () => memory.discard(),
    };
  } finally {
    scope.dispose();
  }
}

/** Instances of every concept that is looked for on this frame; undefined where none is. */
async function detect(
  calls: TrackerCalls,
  { prompts, frame, features, rules }: FrameWork,
  scope: Handles,
): Promise<NativeDetections | undefined> {
  const asked = prompts.filter((prompt) => prompt.detectsOn(frame));
  if (asked.length === 0) return undefined;
  const texts: NativeTextFeatures[] = [];
  for (const prompt of asked) texts.push(await prompt.features((ids) => calls.encodeText(ids)));
  const found = await calls.detect({
    features,
    prompts: asked.map((prompt, i) => ({
      text: texts[i] as NativeTextFeatures,
      ...(prompt.exemplars.get(frame) ?? NO_EXEMPLARS),
    })),
    threshold: rules.scoreThreshold,
    overlapThreshold: rules.detectionOverlap,
  });
  scope.add(found.masks);
  // By the session's numbers from here on, not by places in this list.
  return { ...found, prompts: found.prompts.map((place) => (asked[place] as SessionPrompt).id) };
}

/** Which detections are new objects, which objects go, are hidden or strengthened. */
async function decide(
  calls: TrackerCalls,
  work: FrameWork,
  detections: NativeDetections | undefined,
  concepts: readonly Tracked[],
): Promise<{ plan: FramePlan; state: VideoState }> {
  const { rules, state } = work;
  if (work.prompts.length === 0) return { plan: NO_PLAN, state };
  const b = concepts.map(({ cleaned }) => cleaned);
  const a = rowsOf(detections);
  const overlap = b.length > 0 ? await calls.compare({ a, b }) : undefined;
  const among = b.length > 1 && needsTrackIou(rules, state) ? await calls.compare({ a: b, b }) : undefined;
  return planFrame(rules, state, {
    frame: work.frame,
    reverse: work.reverse,
    streaming: work.streaming,
    clickedObjects: work.clickedObjects,
    bornBefore: work.bornBefore,
    detections: {
      prompts: detections?.prompts ?? [],
      scores: detections?.scores ?? [],
      centres: centresOf(work, detections),
    },
    tracks: {
      areas: overlap?.areasB ?? [],
      objectScores: concepts.map(({ objectScore }) => objectScore),
    },
    detectionIou: overlap?.iou ?? [],
    trackIou: among?.iou ?? null,
  });
}

/** Of boxes in pixels, as shares of the frame's sides. */
function centresOf({ features }: FrameWork, detections: NativeDetections | undefined): number[] {
  const { boxes = new Float64Array(0) } = detections ?? {};
  const sides = [features.width, features.height];
  return Array.from({ length: boxes.length / 2 }, (_, i) => {
    const [box, side] = [Math.floor(i / 2) * 4, i % 2];
    return ((boxes[box + side] as number) + (boxes[box + side + 2] as number)) / 2 / (sides[side] as number);
  });
}

function rowsOf(detections: NativeDetections | undefined): NativeMaskRow[] {
  if (!detections) return [];
  return Array.from(detections.scores, (_, row) => ({ masks: detections.masks, row }));
}
