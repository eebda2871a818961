import { describe, expect, it } from "vitest";
import { effectiveIou } from "../../lib/video/rules/effective-iou.js";
import { exclusiveMasks } from "../../lib/video/rules/exclusive-masks.js";
import { limitObjects } from "../../lib/video/rules/limit-objects.js";
import { needsTrackIou } from "../../lib/video/rules/occlusion.js";
import { DEFAULT_VIDEO_RULES, type VideoRules, videoRules } from "../../lib/video/rules/options.js";
import { EMPTY_BUFFER, holdFrame, releaseFrames } from "../../lib/video/rules/output-buffer.js";
import { type FrameInput, planFrame } from "../../lib/video/rules/plan-frame.js";
import {
  EMPTY_STATE,
  removeTracks,
  settleTracks,
  type Track,
  takeId,
  type VideoState,
} from "../../lib/video/rules/state.js";
import { trackScore } from "../../lib/video/rules/track-score.js";
import { seeded } from "./random.js";
import { playSequence } from "./video-rules-world.js";

const tracker = DEFAULT_VIDEO_RULES;

/** A track of prompt 0 that was tracked to frames before, without a past. */
function track(id: number, past: Partial<Track> = {}): Track {
  return {
    id,
    prompt: 0,
    score: 0.9,
    firstFrame: 0,
    settled: false,
    unmatched: 0,
    seenInRow: 1,
    confirmed: true,
    keepAlive: 30,
    sharedWith: [],
    lastOccluded: -1,
    ...past,
  };
}

function stateOf(...tracks: readonly Track[]): VideoState {
  return { nextId: Math.max(-1, ...tracks.map(({ id }) => id)) + 1, tracks };
}

/** One frame with tracks that are all there; `detected` is each detection's score and its IoU with every track. */
function frame(
  number: number,
  tracks: number,
  detected: readonly { score: number; iou: readonly number[]; prompt?: number }[],
  rest: Partial<FrameInput> = {},
): FrameInput {
  return {
    frame: number,
    reverse: false,
    streaming: false,
    clickedObjects: 0,
    bornBefore: [],
    detections: {
      prompts: detected.map(({ prompt = 0 }) => prompt),
      scores: Float32Array.from(detected, ({ score }) => score),
      centres: detected.flatMap(() => [0.5, 0.5]),
    },
    tracks: { areas: new Uint32Array(tracks).fill(10), objectScores: new Float32Array(tracks).fill(5) },
    detectionIou: Float32Array.from(detected.flatMap(({ iou }) => iou)),
    trackIou: new Float32Array(tracks * tracks),
    ...rest,
  };
}

describe("settings", () => {
  it("are SAM 3's, the bundle's tracker, and last what was asked for", () => {
    const own = { memories: 5, maxConditioningFrames: 3, maxObjectPointers: 9 };
    expect(videoRules({ tracker, temporalDisambiguation: true })).toEqual(DEFAULT_VIDEO_RULES);
    expect(videoRules({ tracker: own, temporalDisambiguation: true })).toEqual({
      ...DEFAULT_VIDEO_RULES,
      ...own,
    });
    expect(
      videoRules({
        tracker: own,
        temporalDisambiguation: false,
        overrides: { hotstartDelay: 2, memories: 6 },
      }),
    ).toEqual({
      ...DEFAULT_VIDEO_RULES,
      ...own,
      memories: 6,
      hotstartDelay: 2,
      hotstartUnmatched: 0,
      hotstartDuplicate: 0,
      reconditionEvery: 0,
      memorySelection: false,
    });
  });
});

describe("state", () => {
  it("counts ids up over concepts and clicks and gives none twice", () => {
    const first = takeId(EMPTY_STATE);
    const { plan, state } = planFrame(
      DEFAULT_VIDEO_RULES,
      first.state,
      frame(0, 0, [{ score: 0.6, iou: [] }]),
    );
    const last = takeId(removeTracks(state, [1]));
    expect([first.id, plan.born[0]?.id, last.id]).toEqual([0, 1, 2]);
    expect(last.state.tracks).toEqual([]);
  });

  it("is not changed by planning and survives JSON", () => {
    const rules = DEFAULT_VIDEO_RULES;
    const before = stateOf(track(0), track(1, { lastOccluded: 3 }), track(2, { lastOccluded: null }));
    const copy = JSON.stringify(before);
    const input = frame(4, 3, [{ score: 0.9, iou: [0.9, 0.3, 0] }]);
    const planned = planFrame(rules, before, input);
    expect(JSON.stringify(before)).toBe(copy);
    expect(planFrame(rules, JSON.parse(copy) as VideoState, input)).toEqual(planned);
    expect(JSON.parse(JSON.stringify(planned.state))).toEqual(planned.state);
  });

  it("is as small after 5,000 frames as its tracks are few, with objects coming and going and live", () => {
    // Nothing outlives so long a hotstart unless it is always matched.
    const comingAndGoing = { hotstartDelay: 10_000, hotstartUnmatched: 30, hotstartDuplicate: 30 };
    for (const [streaming, leastIds] of [
      [false, 100],
      [true, 6],
    ] as const) {
      const rules = { ...DEFAULT_VIDEO_RULES, ...comingAndGoing, maxObjects: 12 };
      const world = { name: "long", reverse: false, streaming, rules, frames: 5000, exactScores: 0.2 };
      const { steps } = playSequence({ ...world, random: seeded(4) });
      const largest = (size: (state: VideoState) => number) =>
        Math.max(...steps.map(({ state }) => size(state)));
      expect(steps.at(-1)?.state.nextId).toBeGreaterThanOrEqual(leastIds);
      expect(largest(({ tracks }) => tracks.length)).toBeLessThanOrEqual(rules.maxObjects);
      // An object can share only with those that were there before it.
      expect(largest(({ tracks }) => Math.max(0, ...tracks.map((it) => it.sharedWith.length)))).toBeLessThan(
        12,
      );
      expect(largest((state) => JSON.stringify(state).length)).toBeLessThan(12 * 600);
    }
  }, 120_000);
});

describe("new objects", () => {
  it("without any track are all detections, else those that are sure and overlap none", () => {
    const weak = { score: 0.55, iou: [] };
    expect(planFrame(DEFAULT_VIDEO_RULES, EMPTY_STATE, frame(0, 0, [weak])).plan.born).toHaveLength(1);
    const detected = [
      { score: 0.69, iou: [0] },
      { score: 0.7, iou: [0.05] },
      { score: 0.99, iou: [0.1] },
      { score: 0.99, iou: [0.9], prompt: 1 },
    ];
    const { plan } = planFrame(DEFAULT_VIDEO_RULES, stateOf(track(6)), frame(1, 1, detected));
    expect(plan.born.map(({ id, detection, prompt }) => [id, detection, prompt])).toEqual([
      [7, 1, 0],
      [8, 3, 1],
    ]);
  });

  it("over the limit are the best ones; clicked objects take room too", () => {
    expect(limitObjects([3, 4, 5], [0, 0, 0, 0.7, 0.9, 0.9], 2)).toEqual([4, 5]);
    expect(limitObjects([1], [0, 0.7], -1)).toEqual([]);
    const rules = { ...DEFAULT_VIDEO_RULES, maxObjects: 3 };
    const detected = [0.6, 0.8, 0.7].map((score) => ({ score, iou: [] }));
    const { plan } = planFrame(rules, EMPTY_STATE, frame(0, 0, detected, { clickedObjects: 1 }));
    expect(plan.born.map(({ detection }) => detection)).toEqual([1, 2]);
    expect(plan.dropped).toBe(1);
  });
});

describe("hotstart", () => {
  const lonely = (rules: VideoRules, state: VideoState, number: number, rest: Partial<FrameInput> = {}) =>
    planFrame(rules, state, frame(number, state.tracks.length, [], rest));

  it("takes an object back that nothing matched on 8 of its first 15 frames, forwards and backwards", () => {
    for (const reverse of [false, true]) {
      let state = stateOf(track(0, { firstFrame: 100 }));
      const removedOn: number[] = [];
      for (let step = 1; step <= 20 && state.tracks.length > 0; step++) {
        const number = reverse ? 100 - step : 100 + step;
        const next = lonely(DEFAULT_VIDEO_RULES, state, number, { reverse });
        if (next.plan.removed.length > 0) removedOn.push(step);
        state = next.state;
      }
      expect(removedOn).toEqual([8]);
    }
  });

  it("never takes back old ones, settled ones, and none live", () => {
    const doomed = track(0, { firstFrame: 100, unmatched: 20, sharedWith: [{ id: 9, frames: 20 }] });
    expect(lonely(DEFAULT_VIDEO_RULES, stateOf(doomed), 114).plan.removed).toEqual([0]);
    expect(lonely(DEFAULT_VIDEO_RULES, stateOf(doomed), 115).plan.removed).toEqual([]);
    expect(lonely(DEFAULT_VIDEO_RULES, stateOf(doomed), 101, { streaming: true }).plan.removed).toEqual([]);
    const settled = settleTracks(stateOf(doomed, track(1)), [0]);
    expect(settled.tracks.map((it) => it.settled)).toEqual([true, false]);
    expect(lonely(DEFAULT_VIDEO_RULES, settled, 101).plan.removed).toEqual([]);
  });

  it("takes the younger of two back that share a detection for 8 frames", () => {
    let state = stateOf(track(3, { firstFrame: 0 }), track(4, { firstFrame: 2 }));
    for (let number = 3; number <= 9; number++) {
      const next = planFrame(DEFAULT_VIDEO_RULES, state, frame(number, 2, [{ score: 0.9, iou: [0.8, 0.9] }]));
      expect(next.plan.removed).toEqual([]);
      state = next.state;
    }
    expect(state.tracks[1]?.sharedWith).toEqual([{ id: 3, frames: 7 }]);
    const last = planFrame(DEFAULT_VIDEO_RULES, state, frame(10, 2, [{ score: 0.9, iou: [0.8, 0.9] }]));
    expect(last.plan.removed).toEqual([4]);
    expect(last.state.tracks.map(({ id }) => id)).toEqual([3]);
  });

  it("hides used-up objects only where asked to, live too", () => {
    const rules = { ...DEFAULT_VIDEO_RULES, suppressUnmatchedOnlyWithinHotstart: false };
    const state = stateOf(track(0, { keepAlive: 1 }), track(1, { keepAlive: 2 }));
    for (const streaming of [false, true]) {
      expect(lonely(rules, state, 90, { streaming }).plan.suppressed).toEqual([0]);
      expect(lonely(DEFAULT_VIDEO_RULES, state, 90, { streaming }).plan.suppressed).toEqual([]);
    }
  });
});

describe("recent occlusion", () => {
  const over = { trackIou: Float32Array.from([1, 0.7, 0.7, 1]) };
  const hiddenOf = (a: Partial<Track>, b: Partial<Track>, rest: Partial<FrameInput> = {}) => {
    const state = stateOf(track(0, a), track(1, b));
    return planFrame(DEFAULT_VIDEO_RULES, state, frame(50, 2, [], { ...over, ...rest })).plan.hidden;
  };

  it("hides the one that was gone last, where both were gone before", () => {
    expect(hiddenOf({ lastOccluded: 10 }, { lastOccluded: 20 })).toEqual([1]);
    expect(hiddenOf({ lastOccluded: 20 }, { lastOccluded: 10 })).toEqual([0]);
    expect(hiddenOf({ lastOccluded: 20 }, { lastOccluded: 20 })).toEqual([]);
    expect(hiddenOf({ lastOccluded: 0 }, { lastOccluded: -1 })).toEqual([]);
    expect(hiddenOf({ lastOccluded: 10 }, { lastOccluded: 20, prompt: 1 })).toEqual([]);
    expect(
      hiddenOf(
        { lastOccluded: 10 },
        { lastOccluded: 20 },
        { trackIou: Float32Array.from([1, 0.69, 0.69, 1]) },
      ),
    ).toEqual([]);
  });

  it("is the same backwards, with time turned round", () => {
    const reverse = { reverse: true };
    expect(hiddenOf({ lastOccluded: 90 }, { lastOccluded: 80 }, reverse)).toEqual([1]);
    expect(hiddenOf({ lastOccluded: 90 }, { lastOccluded: -1 }, reverse)).toEqual([]);
  });

  it("counts an object that is taken back on the first frame it is tracked to as gone", () => {
    const rules = { ...DEFAULT_VIDEO_RULES, hotstartUnmatched: 1 };
    const state = stateOf(track(0, { lastOccluded: 20 }), track(1, { lastOccluded: null, firstFrame: 49 }));
    expect(planFrame(rules, state, frame(50, 2, [], over)).plan.hidden).toEqual([1]);
    expect(planFrame(DEFAULT_VIDEO_RULES, state, frame(50, 2, [], over)).plan.hidden).toEqual([]);
  });

  it("asks for the overlap of tracks only where it can matter, and insists on it there", () => {
    const seen = stateOf(track(0, { lastOccluded: 3 }), track(1, { lastOccluded: 3, prompt: 1 }), track(2));
    expect(needsTrackIou(DEFAULT_VIDEO_RULES, seen)).toBe(false);
    const both = stateOf(track(0, { lastOccluded: 3 }), track(1, { lastOccluded: 0 }));
    expect(needsTrackIou(DEFAULT_VIDEO_RULES, both)).toBe(true);
    expect(needsTrackIou({ ...DEFAULT_VIDEO_RULES, recentOcclusionIou: 0 }, both)).toBe(false);
    expect(planFrame(DEFAULT_VIDEO_RULES, seen, frame(4, 3, [], { trackIou: null })).plan.hidden).toEqual([]);
    expect(() => planFrame(DEFAULT_VIDEO_RULES, both, frame(4, 2, [], { trackIou: null }))).toThrow(
      expect.objectContaining({ code: "INTERNAL" }),
    );
  });

  it("never decides otherwise without the overlaps it did not ask for", () => {
    let asked = 0;
    for (const seed of [1, 2, 3, 4]) {
      const rules = { ...DEFAULT_VIDEO_RULES, recentOcclusionIou: 0.2, hotstartUnmatched: 1 + (seed % 2) };
      const world = { name: "", reverse: seed > 2, streaming: false, rules, frames: 120, exactScores: 0.2 };
      const { steps } = playSequence({ ...world, random: seeded(seed) });
      const sparing = playSequence({ ...world, random: seeded(seed), trackIou: needsTrackIou });
      expect(sparing.steps).toEqual(steps);
      asked += steps.filter(({ state }) => needsTrackIou(rules, state)).length;
    }
    expect(asked).toBeGreaterThan(50);
    expect(asked).toBeLessThan(480);
  });
});

describe("reconditioning", () => {
  it("needs a frame of its rhythm, a sure detection, nearly the same mask and a sure track", () => {
    const on = (number: number, score: number, iou: number, objectScore: number) => {
      const input = frame(number, 1, [{ score, iou: [iou] }], {
        tracks: { areas: [10], objectScores: [Math.fround(objectScore)] },
      });
      return planFrame(DEFAULT_VIDEO_RULES, stateOf(track(0)), input).plan.reconditioned;
    };
    expect(on(32, 0.8, 0.8, 0.81)).toEqual([{ id: 0, detection: 0 }]);
    expect(on(33, 0.9, 0.9, 5)).toEqual([]);
    expect(on(32, 0.79, 0.9, 5)).toEqual([]);
    expect(on(32, 0.9, 0.79, 5)).toEqual([]);
    expect(on(32, 0.9, 0.9, 0.8)).toEqual([]);
  });
});

describe("output", () => {
  const held = (index: number, ...ids: number[]) => ({ index, objects: ids.map((id) => ({ id })) });

  it("leaves when the n-th frame has come, without what was taken back till then", () => {
    const [first, second, third] = [held(0, 1, 2), held(1, 1, 2, 3), held(2, 1, 3)] as const;
    const one = holdFrame(EMPTY_BUFFER, first, [], 3);
    const two = holdFrame(one.buffer, second, [], 3);
    expect([one.leaving, two.leaving]).toEqual([[], []]);
    const three = holdFrame(two.buffer, third, [2], 3);
    expect(three.leaving).toEqual([held(0, 1)]);
    const end = releaseFrames(three.buffer);
    expect(end.leaving).toEqual([held(1, 1, 3), held(2, 1, 3)]);
    expect(end.buffer.waiting).toEqual([]);
  });

  it("leaves at once without a delay", () => {
    for (const delay of [0, 1])
      expect(holdFrame(EMPTY_BUFFER, held(4, 1), [], delay).leaving).toEqual([held(4, 1)]);
  });

  it("gives a pixel to the best of a group; objects of no group keep all and take nothing", () => {
    const all = Uint32Array.from([0, 4]);
    const right = Uint32Array.from([2, 2]);
    const nothing = Uint32Array.from([4]);
    const kept = exclusiveMasks([
      { group: 1, score: 0.5, counts: all },
      { group: 1, score: 0.9, counts: right },
      { group: 1, score: 0.9, counts: right },
      { group: null, score: 0.1, counts: all },
      { group: 2, score: 0.2, counts: all },
    ]);
    expect(kept.map((counts) => [...counts])).toEqual([[0, 2, 2], [2, 2], [4], [0, 4], [0, 4]]);
    expect(kept[1]).toBe(right);
    expect(kept[2]).toEqual(nothing);
  });

  it("scores tracks in single precision", () => {
    expect(trackScore(0)).toBe(0.5);
    expect(trackScore(20)).toBe(trackScore(30));
    expect(trackScore(-2000)).toBe(0);
  });
});

describe("effective IoU", () => {
  it("is nothing for a track that is not there, and the guessed IoU for one that surely is", () => {
    expect(effectiveIou(-3, 0.9)).toBe(0);
    expect(effectiveIou(0, 0.9)).toBe(0);
    expect(effectiveIou(Math.log(3), 0.8)).toBeCloseTo(0.4, 12);
    expect(effectiveIou(50, 0.75)).toBe(0.75);
  });
});
