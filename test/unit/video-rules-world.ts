import type { VideoRules } from "../../lib/video/rules/options.js";
import { type FrameInput, type FramePlan, planFrame } from "../../lib/video/rules/plan-frame.js";
import { EMPTY_STATE, type VideoState } from "../../lib/video/rules/state.js";

/** x1, y1, x2, y2 on the grid; x2 and y2 not included. */
export type Rect = readonly [number, number, number, number];

/** One frame as both sides get it: masks are rectangles, null for an empty one. */
export interface DrawnFrame {
  readonly frame: number;
  readonly detections: readonly { readonly prompt: number; readonly rect: Rect; readonly score: number }[];
  readonly tracks: readonly {
    readonly id: number;
    readonly rect: Rect | null;
    readonly objectScore: number;
  }[];
}

export interface Sequence {
  readonly name: string;
  readonly width: number;
  readonly height: number;
  readonly prompts: number;
  readonly reverse: boolean;
  readonly streaming: boolean;
  readonly rules: VideoRules;
  readonly frames: readonly DrawnFrame[];
  /** What planFrame decided, frame by frame, and the state it left. */
  readonly steps: readonly { readonly plan: FramePlan; readonly state: VideoState }[];
}

export interface WorldOptions extends Pick<Sequence, "name" | "reverse" | "streaming" | "rules"> {
  readonly frames: number;
  readonly random: () => number;
  /** Share of the detections whose score is exactly a threshold. */
  readonly exactScores: number;
  /** Where given, overlaps of tracks are only handed over where it says so. */
  readonly trackIou?: (rules: VideoRules, state: VideoState) => boolean;
}

const [WIDTH, HEIGHT] = [32, 24];

/**
 * Plays a clip on a grid: places move about, most of them seen by the detector nearly always, some hardly ever; each track
 * follows the place it was born at, goes away and comes back, or jumps to another one for good. So objects are born,
 * matched, unmatched, doubled, gone, over one another and confirmed, and what happens next depends on what was decided.
 */
export function playSequence(options: WorldOptions): Sequence {
  const { random, rules, reverse } = options;
  const whole = (low: number, high: number) => low + Math.floor(random() * (high - low + 1));
  const chance = (share: number) => random() < share;
  const prompts = whole(1, 2);
  const places = Array.from({ length: whole(4, 8) }, () => {
    const [w, h] = [whole(6, 10), whole(6, 9)];
    return {
      prompt: whole(0, prompts - 1),
      // How often the detector sees it.
      seen: [0.15, 0.4, 0.9, 1][whole(0, 3)] as number,
      appears: chance(0.5) ? 0 : whole(0, options.frames),
      w,
      h,
      x: whole(0, WIDTH - w),
      y: whole(0, HEIGHT - h),
    };
  });
  type Place = (typeof places)[number];
  const rectOf = (place: Place, noise: number): Rect => {
    const [dx, dy] = [whole(-noise, noise), whole(-noise, noise)];
    const [x1, y1] = [Math.max(0, place.x + dx), Math.max(0, place.y + dy)];
    return [x1, y1, Math.min(WIDTH, place.x + place.w + dx), Math.min(HEIGHT, place.y + place.h + dy)];
  };

  const followed = new Map<number, { place: Place; gone: number }>();
  const frames: DrawnFrame[] = [];
  const steps: { plan: FramePlan; state: VideoState }[] = [];
  let state = EMPTY_STATE;
  for (let step = 0; step < options.frames; step++) {
    for (const place of places) {
      if (chance(0.3)) place.x = Math.min(WIDTH - place.w, Math.max(0, place.x + whole(-2, 2)));
      if (chance(0.3)) place.y = Math.min(HEIGHT - place.h, Math.max(0, place.y + whole(-2, 2)));
    }
    const detections = places
      .filter((place) => step >= place.appears && chance(place.seen))
      .flatMap((place) => (chance(0.05) ? [place, place] : [place]))
      .map((place) => ({ place, rect: rectOf(place, chance(0.5) ? 0 : 1) }))
      .sort((a, b) => a.place.prompt - b.place.prompt)
      .map(({ place, rect }) => ({
        place,
        prompt: place.prompt,
        rect,
        score: Math.fround(
          chance(options.exactScores) ? ([0.7, 0.8][whole(0, 1)] as number) : 0.5 + 0.5 * random(),
        ),
      }));
    const tracks = state.tracks.map(({ id, prompt }) => {
      const follow = followed.get(id) as { place: Place; gone: number };
      const others = places.filter((place) => place.prompt === prompt);
      if (chance(0.05)) follow.place = others[whole(0, others.length - 1)] as Place;
      if (chance(0.08)) follow.gone = whole(1, 5);
      const rect = follow.gone-- > 0 ? null : rectOf(follow.place, chance(0.6) ? 0 : 1);
      // Some so high that their probabilities are all 1 in single precision; one exactly on the threshold.
      const objectScore = [-4 + 10 * random(), 20 + random(), 0.8][whole(0, 2)] as number;
      return { id, rect, objectScore: Math.fround(objectScore) };
    });
    const frame = reverse ? options.frames - 1 - step : step;
    const input = inputOf(frame, options, detections, tracks);
    const isAsked = options.trackIou?.(rules, state) ?? true;
    const result = planFrame(rules, state, isAsked ? input : { ...input, trackIou: null });
    for (const { id, detection } of result.plan.born)
      followed.set(id, { place: (detections[detection] as { place: Place }).place, gone: 0 });
    frames.push({ frame, detections: detections.map(({ place: _, ...rest }) => rest), tracks });
    steps.push(result);
    state = result.state;
  }
  return { ...options, width: WIDTH, height: HEIGHT, prompts, frames, steps };
}

function inputOf(
  frame: number,
  { reverse, streaming }: WorldOptions,
  detections: DrawnFrame["detections"],
  tracks: DrawnFrame["tracks"],
): FrameInput {
  const rects = tracks.map((track) => track.rect);
  return {
    frame,
    reverse,
    streaming,
    clickedObjects: 0,
    bornBefore: [],
    detections: {
      prompts: Int32Array.from(detections, (detection) => detection.prompt),
      scores: Float32Array.from(detections, (detection) => detection.score),
      centres: detections.flatMap(() => [0.5, 0.5]),
    },
    tracks: {
      areas: Uint32Array.from(rects, areaOfRect),
      objectScores: Float32Array.from(tracks, (track) => track.objectScore),
    },
    detectionIou: Float32Array.from(
      detections.flatMap(({ rect }) => rects.map((other) => iouOfRects(rect, other))),
    ),
    trackIou: Float32Array.from(rects.flatMap((rect) => rects.map((other) => iouOfRects(rect, other)))),
  };
}

export function areaOfRect(rect: Rect | null): number {
  return rect === null ? 0 : (rect[2] - rect[0]) * (rect[3] - rect[1]);
}

/** 0 where one is empty. */
export function iouOfRects(a: Rect | null, b: Rect | null): number {
  if (a === null || b === null) return 0;
  const width = Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0]));
  const height = Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  return (width * height) / (areaOfRect(a) + areaOfRect(b) - width * height);
}
