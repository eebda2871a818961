// Whole sessions by words beside transformers' Sam3VideoModel (video_parity_words.py, video_parity_model.py). It knows no
// more than words: `run_detection` calls its detector without boxes, nothing of it takes points, and its session has no
// place for either (transformers/models/sam3_video/modeling_sam3_video.py). Boxes are therefore given to the same detector,
// and points to the same tracker, as Sam3Model and Sam3TrackerVideoModel take them; when an answer of theirs is asked for
// and what is kept of it is the official code's. Not compared: a correction on the frame an object was born on (there
// transformers has no mask of before to go by: `prev_sam_mask_logits` of `_run_single_frame_inference` is never given),
// and passes that make frames before a correction anew (Sam3VideoModel would make all objects of the frame anew).
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { FrameResult, VideoSession } from "../../lib/index.js";
import type { VideoRules } from "../../lib/video/rules/options.js";
import { expectSame, Parity, parityOf, type Shown } from "./video-parity.js";

/** What video_parity_words.py writes of one clip. */
interface Case {
  name: string;
  seed: number;
  config: Record<string, number>;
  steps: Step[];
}
type Step =
  | {
      do: "prompt";
      frame: number;
      text: string | null;
      exemplars: [x1: number, y1: number, x2: number, y2: number, label: number][];
      /** Null: the frame is made by the next pass. */
      shown: Shown | null;
    }
  | { do: "pass"; start: number; count: number; reverse: boolean; frames: Shown[]; removed: number[] }
  | {
      do: "correct";
      frame: number;
      object: number;
      points: [x: number, y: number, label: number][];
      shown: Shown;
    };

/** Transformers' names of the rules that the cases change. */
const NAMES: Record<string, keyof VideoRules> = {
  new_det_thresh: "newObjectScore",
  det_nms_thresh: "detectionOverlap",
  assoc_iou_thresh: "associationIou",
  hotstart_delay: "hotstartDelay",
  hotstart_unmatch_thresh: "hotstartUnmatched",
  hotstart_dup_thresh: "hotstartDuplicate",
  recondition_every_nth_frame: "reconditionEvery",
  high_conf_thresh: "reconditionScore",
  high_iou_thresh: "reconditionIou",
  suppress_overlapping_based_on_recent_occlusion_threshold: "recentOcclusionIou",
};
/** What each case shows at the least, so that none is equal because nothing happens: objects on its frames, taken back. */
const CASES: Record<string, { objects: number; removed: number }> = {
  "words-0": { objects: 28, removed: 10 },
  "words-1": { objects: 25, removed: 1 },
  "words-2": { objects: 16, removed: 0 },
  "words-3": { objects: 45, removed: 0 },
  "backward-0": { objects: 8, removed: 10 },
  "backward-1": { objects: 24, removed: 0 },
  "both-ways": { objects: 70, removed: 5 },
  exemplars: { objects: 28, removed: 0 },
  "exemplars-alone": { objects: 26, removed: 0 },
  corrected: { objects: 32, removed: 0 },
};

const setUp = parityOf("videos by words");

describe.skipIf("reason" in setUp)("objects found by words equal transformers'", () => {
  let parity: Parity<Case[]>;

  beforeAll(async () => {
    parity = await Parity.make((setUp as { python: string }).python, "video_parity_words.py");
  }, 1_200_000);
  afterAll(() => parity?.close());

  it.each(Object.keys(CASES))(
    "%s: the same ids on every frame, the same masks",
    async (name) => {
      const found = parity.reference.find((it) => it.name === name);
      if (!found) throw new Error(`video_parity_words.py has no case ${name}`);
      const rules = Object.fromEntries(
        Object.entries(found.config).map(([key, value]) => [NAMES[key] as string, value]),
      );
      await using session = await parity.open(name, found.seed, rules, { correctionsCondition: true });
      const seen = { objects: 0, removed: 0 };
      for (const step of found.steps) {
        const { objects, removed } = await follow(session, step, name);
        seen.objects += objects;
        seen.removed += removed;
      }
      console.log(`${name}: ${seen.objects} objects equal, ${seen.removed} taken back`);
      const least = CASES[name] as (typeof CASES)[string];
      expect(seen.objects).toBeGreaterThanOrEqual(least.objects);
      expect(seen.removed).toBeGreaterThanOrEqual(least.removed);
    },
    600_000,
  );
});

/** Does the same and compares; gives how many objects were compared and taken back. */
async function follow(
  session: VideoSession,
  step: Step,
  name: string,
): Promise<{ objects: number; removed: number }> {
  if (step.do === "pass") {
    const { start, count, reverse, frames, removed } = step;
    const shown: FrameResult[] = [];
    const direction = reverse ? ("backward" as const) : ("forward" as const);
    for await (const frame of session.propagate({ startFrame: start, maxFrames: count, direction }))
      shown.push(frame);
    expect(shown.map(({ index }) => index)).toEqual(frames.map(({ frame }) => frame));
    const objects = shown.map((frame, i) => expectFrame(frame, frames[i] as Shown, name));
    expect([...new Set(shown.flatMap(({ removedIds }) => removedIds))].sort((a, b) => a - b)).toEqual(
      removed,
    );
    return { objects: objects.reduce((sum, n) => sum + n, 0), removed: removed.length };
  }
  const { frame, shown } = step;
  const answer =
    step.do === "prompt"
      ? await session.addPrompt({
          frame,
          ...(step.text === null ? {} : { text: step.text }),
          ...(step.exemplars.length === 0 ? {} : { exemplars: step.exemplars.map(exemplar) }),
        })
      : await session.addPrompt({ frame, object: step.object, points: step.points.map(point) });
  if (!shown) return { objects: 0, removed: 0 };
  return { objects: expectFrame(answer.frame as FrameResult, shown, name), removed: 0 };
}

function expectFrame(frame: FrameResult, expected: Shown, name: string): number {
  const where = `${name}, frame ${frame.index}`;
  expect(
    frame.objects.map(({ id }) => id),
    where,
  ).toEqual(expected.objects.map(({ id }) => id));
  frame.objects.forEach((object, k) => {
    const { counts, score } = expected.objects[k] as Shown["objects"][number];
    expect(object.score, where).toBeCloseTo(score as number, 4);
    expectSame(object.mask, counts, `${where}, object ${object.id}`);
  });
  return frame.objects.length;
}

const LABELS = ["negative", "positive"] as const;

function exemplar([x1, y1, x2, y2, label]: [number, number, number, number, number]) {
  return { box: [x1, y1, x2, y2] as const, label: LABELS[label] };
}

function point([x, y, label]: [number, number, number]) {
  return { x, y, label: LABELS[label] as (typeof LABELS)[number] };
}
