// Whole sessions by words beside transformers' Sam3VideoModel (video_parity_words.py, video_parity_model.py). It knows no
// more than words: `run_detection` calls its detector without boxes, nothing of it takes points, and its session has no
// place for either (transformers/models/sam3_video/modeling_sam3_video.py). Boxes are therefore given to the same detector,
// and points to the same tracker, as Sam3Model and Sam3TrackerVideoModel take them; when an answer of theirs is asked for
// and what is kept of it is the official code's. Not compared: a correction on the frame an object was born on (there
// transformers has no mask of before to go by: `prev_sam_mask_logits` of `_run_single_frame_inference` is never given),
// and passes that make frames before a correction anew (Sam3VideoModel would make all objects of the frame anew).
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { FrameResult, VideoSession } from "../../lib/index.js";
import type { VideoRules } from "../../lib/video/rules/options.js";
import type { FramePlan } from "../../lib/video/rules/plan-frame.js";
import { expectSame, Parity, parityOf, type Shown, type ShownObject } from "./video-parity.js";

/** What our session decided about frames, in the order it did. */
const ours = vi.hoisted((): { frame: number; plan: FramePlan; unmatchedFrames: Map<number, number> }[] => []);
vi.mock(import("../../lib/video/rules/plan-frame.js"), async (original) => {
  const { planFrame } = await original();
  return {
    planFrame: (rules, state, input) => {
      const planned = planFrame(rules, state, input);
      const before = state.tracks.map(({ id, unmatched }): [number, number] => [id, unmatched]);
      ours.push({ frame: input.frame, plan: planned.plan, unmatchedFrames: new Map(before) });
      return planned;
    },
  };
});

/** What video_parity_words.py writes of one clip. */
interface Case {
  name: string;
  seed: number;
  config: Record<string, number | boolean>;
  steps: Step[];
}
type Step = { plans: Decided[] } & (
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
    }
);

/** What was decided about a frame, as ids of objects. */
interface Decided {
  frame: number;
  born: number[];
  /** Objects of each detection. */
  matches: number[][];
  unmatched: number[];
  empty: number[];
  removed: number[];
  /** Those of `removed` that were not unmatched too often: they share their detections with older ones. */
  duplicates: number[];
  suppressed: number[];
  hidden: number[];
  reconditioned: number[];
  dropped: number;
}

/** Transformers' names of the rules that the cases change. */
const NAMES: Record<string, keyof VideoRules> = {
  score_threshold_detection: "scoreThreshold",
  new_det_thresh: "newObjectScore",
  det_nms_thresh: "detectionOverlap",
  assoc_iou_thresh: "associationIou",
  trk_assoc_iou_thresh: "matchedIou",
  hotstart_delay: "hotstartDelay",
  hotstart_unmatch_thresh: "hotstartUnmatched",
  hotstart_dup_thresh: "hotstartDuplicate",
  suppress_unmatched_only_within_hotstart: "suppressUnmatchedOnlyWithinHotstart",
  init_trk_keep_alive: "keepAliveInitial",
  max_num_objects: "maxObjects",
  recondition_on_trk_masks: "reconditionOnTrackMasks",
  recondition_every_nth_frame: "reconditionEvery",
  high_conf_thresh: "reconditionScore",
  high_iou_thresh: "reconditionIou",
  suppress_overlapping_based_on_recent_occlusion_threshold: "recentOcclusionIou",
};
/** What each case shows at the least, so that none is equal because nothing happens: objects on its frames, and what is decided. */
const CASES: Record<string, { objects: number } & Partial<Counts>> = {
  "words-0": { objects: 32, removedDuplicate: 5, reconditioned: 7 },
  "words-1": { objects: 24, removedDuplicate: 1 },
  "words-2": { objects: 15 },
  "words-3": { objects: 44 },
  "backward-0": { objects: 26, removedDuplicate: 3, reconditioned: 7 },
  "backward-1": { objects: 23 },
  "both-ways": { objects: 74, removedDuplicate: 6, hidden: 16, reconditioned: 3 },
  exemplars: { objects: 27, reconditioned: 2 },
  "exemplars-alone": { objects: 26, hidden: 4 },
  "unmatched-0": { objects: 1, removedUnmatched: 2 },
  "unmatched-1": { objects: 4, removedUnmatched: 3 },
  "keep-alive": { objects: 16, suppressed: 20, dropped: 30 },
  detections: { objects: 50, reconditioned: 4 },
  often: { objects: 76, hidden: 16, reconditioned: 19, reconditionedHidden: 2 },
  "often-detections": { objects: 110, hidden: 20, reconditioned: 20, reconditionedHidden: 2 },
  corrected: { objects: 31, reconditioned: 3 },
};
/** The same of all cases. */
const LEAST: Counts = {
  born: 100,
  matched: 150,
  unmatched: 150,
  empty: 400,
  removedUnmatched: 5,
  removedDuplicate: 15,
  suppressed: 20,
  hidden: 35,
  reconditioned: 40,
  reconditionedAmongBirths: 2,
  reconditionedHidden: 2,
  dropped: 30,
};

const setUp = parityOf("videos by words");

describe.skipIf("reason" in setUp)("objects found by words equal transformers'", () => {
  let parity: Parity<Case[]>;

  beforeAll(async () => {
    parity = await Parity.make((setUp as { python: string }).python, "video_parity_words.py");
  }, 1_200_000);
  beforeEach(() => {
    ours.length = 0;
  });
  afterAll(() => parity?.close());

  it.each(Object.keys(CASES))(
    "%s: the same is decided on every frame, the same ids and masks are shown",
    async (name) => {
      const found = parity.reference.find((it) => it.name === name);
      if (!found) throw new Error(`video_parity_words.py has no case ${name}`);
      const rules = Object.fromEntries(
        Object.entries(found.config).map(([key, value]) => [NAMES[key] as string, value]),
      );
      await using session = await parity.open(name, found.seed, rules, { correctionsCondition: true });
      const { hotstartUnmatched } = rules as Partial<VideoRules>;
      let [objects, pixels] = [0, 0];
      const counts = countsOf([]);
      for (const step of found.steps) {
        const seen = await follow(session, step, name);
        // A text is looked for when it is given, by transformers when the pass comes.
        if (step.plans.length === 0) continue;
        const decided = byFrame(ours.splice(0).map((it) => decidedOf(it, hotstartUnmatched)));
        expect(decided, name).toEqual(step.plans);
        objects += seen.objects;
        pixels += seen.pixels;
        for (const [rule, times] of Object.entries(countsOf(decided))) counts[rule as keyof Counts] += times;
      }
      expect(ours).toEqual([]);
      console.log(`${name}: ${objects} objects equal but for ${pixels} pixels; ${JSON.stringify(counts)}`);
      const { objects: leastObjects, ...least } = CASES[name] as (typeof CASES)[string];
      expect(objects).toBeGreaterThanOrEqual(leastObjects);
      for (const [rule, times] of Object.entries(least))
        expect(counts[rule as keyof Counts], rule).toBeGreaterThanOrEqual(times);
    },
    600_000,
  );

  it("each rule is put to use, by transformers too", () => {
    const counts = countsOf(parity.reference.flatMap(({ steps }) => steps.flatMap(({ plans }) => plans)));
    console.log(`decided in all cases: ${JSON.stringify(counts)}`);
    for (const [rule, times] of Object.entries(LEAST))
      expect(counts[rule as keyof Counts], rule).toBeGreaterThanOrEqual(times);
    expect(parity.reference.map(({ name }) => name)).toEqual(Object.keys(CASES));
  });
});

/** How often each rule decided something. */
interface Counts {
  born: number;
  /** Objects with a mask that a detection matched. */
  matched: number;
  unmatched: number;
  empty: number;
  /** Taken back because nothing matched them. */
  removedUnmatched: number;
  removedDuplicate: number;
  /** Kept out of a frame because their keep-alive count was used up. */
  suppressed: number;
  /** Hidden because they lay over an object that was gone less recently. */
  hidden: number;
  reconditioned: number;
  /** On frames on which others were born: those are remembered twice, reconditioned objects once. */
  reconditionedAmongBirths: number;
  /** Confirmed by a detection and hidden on the same frame. */
  reconditionedHidden: number;
  dropped: number;
}

function countsOf(plans: readonly Decided[]): Counts {
  const count = (of: (plan: Decided) => number) => plans.reduce((sum, plan) => sum + of(plan), 0);
  return {
    born: count(({ born }) => born.length),
    matched: count(
      ({ matches, unmatched }) => new Set(matches.flat().filter((id) => !unmatched.includes(id))).size,
    ),
    unmatched: count(({ unmatched }) => unmatched.length),
    empty: count(({ empty }) => empty.length),
    removedUnmatched: count(({ removed, duplicates }) => removed.length - duplicates.length),
    removedDuplicate: count(({ duplicates }) => duplicates.length),
    suppressed: count(({ suppressed }) => suppressed.length),
    hidden: count(({ hidden }) => hidden.length),
    reconditioned: count(({ reconditioned }) => reconditioned.length),
    reconditionedAmongBirths: count(({ born, reconditioned }) =>
      born.length > 0 ? reconditioned.length : 0,
    ),
    reconditionedHidden: count(
      ({ hidden, reconditioned }) => reconditioned.filter((id) => hidden.includes(id)).length,
    ),
    dropped: count(({ dropped }) => dropped),
  };
}

const ascending = (a: number, b: number) => a - b;

/** Our plan in the form of transformers'. */
function decidedOf({ frame, plan, unmatchedFrames }: (typeof ours)[number], hotstartUnmatched = 8): Decided {
  const frames = (id: number) => (unmatchedFrames.get(id) ?? 0) + (plan.unmatched.includes(id) ? 1 : 0);
  const isUnmatched = (id: number) => frames(id) > 0 && frames(id) >= hotstartUnmatched;
  return {
    frame,
    born: plan.born.map(({ id }) => id),
    matches: plan.matches.map((ids) => [...ids]),
    unmatched: [...plan.unmatched],
    empty: [...plan.empty],
    removed: [...plan.removed].sort(ascending),
    duplicates: plan.removed.filter((id) => !isUnmatched(id)).sort(ascending),
    suppressed: [...plan.suppressed].sort(ascending),
    hidden: [...plan.hidden],
    reconditioned: plan.reconditioned.map(({ id }) => id).sort(ascending),
    dropped: plan.dropped,
  };
}

/** Plans of one frame as one: prompts that are given one after the other are looked for one after the other. */
function byFrame(plans: readonly Decided[]): Decided[] {
  const frames: Decided[] = [];
  for (const plan of plans) {
    const last = frames.at(-1);
    if (last?.frame !== plan.frame) frames.push({ ...plan });
    else
      for (const key of Object.keys(plan) as (keyof Decided)[]) {
        if (key === "dropped") last.dropped += plan.dropped;
        else if (key !== "frame") last[key] = [...last[key], ...plan[key]] as never;
      }
  }
  return frames;
}

/** Does the same and compares; gives how many objects were compared, and pixels that rounding decided. */
async function follow(
  session: VideoSession,
  step: Step,
  name: string,
): Promise<{ objects: number; pixels: number }> {
  if (step.do === "pass") {
    const { start, count, reverse, frames, removed } = step;
    const shown: FrameResult[] = [];
    const direction = reverse ? ("backward" as const) : ("forward" as const);
    for await (const frame of session.propagate({ startFrame: start, maxFrames: count, direction }))
      shown.push(frame);
    expect(shown.map(({ index }) => index)).toEqual(frames.map(({ frame }) => frame));
    const seen = shown.map((frame, i) => expectFrame(frame, frames[i] as Shown, name));
    expect([...new Set(shown.flatMap(({ removedIds }) => removedIds))].sort(ascending)).toEqual(removed);
    return {
      objects: seen.reduce((sum, { objects }) => sum + objects, 0),
      pixels: seen.reduce((sum, { pixels }) => sum + pixels, 0),
    };
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
  if (!shown) return { objects: 0, pixels: 0 };
  return expectFrame(answer.frame as FrameResult, shown, name);
}

function expectFrame(frame: FrameResult, expected: Shown, name: string): { objects: number; pixels: number } {
  const where = `${name}, frame ${frame.index}`;
  expect(
    frame.objects.map(({ id }) => id),
    where,
  ).toEqual(expected.objects.map(({ id }) => id));
  let pixels = 0;
  frame.objects.forEach((object, k) => {
    const shown = expected.objects[k] as ShownObject;
    expect(object.score, where).toBeCloseTo(shown.score as number, 4);
    pixels += expectSame(object.mask, shown, `${where}, object ${object.id}`);
  });
  return { objects: frame.objects.length, pixels };
}

const LABELS = ["negative", "positive"] as const;

function exemplar([x1, y1, x2, y2, label]: [number, number, number, number, number]) {
  return { box: [x1, y1, x2, y2] as const, label: LABELS[label] };
}

function point([x, y, label]: [number, number, number]) {
  return { x, y, label: LABELS[label] as (typeof LABELS)[number] };
}
