import type { FrameResult, Mask } from "../../lib/index.js";

/** Figures of an evaluation on clips; see `TARGETS` of video-evaluation.test.ts. */
export interface VideoScores {
  readonly text: number;
  readonly click: number;
  readonly switches: number;
  readonly gone: number;
  readonly late: number;
}

/** Sums over clips. */
export interface Tally {
  /** Of IoU over `frames`: frames of objects that are visible, or still found though gone. */
  iou: number;
  frames: number;
  /** Frames on which an object's id is not the one it had before. */
  switches: number;
  /** Objects that left and stayed away for more than `GRACE` frames, and those of them that were gone in time. */
  left: number;
  gone: number;
  /** Objects that appeared late, and those of them that were found in time. */
  late: number;
  found: number;
}

/** One object of a clip. */
interface Track {
  readonly name: string;
  readonly masks: readonly (Mask | null)[];
}

/** An object that left may be found for so many frames more. */
const GRACE = 2;
/** How long it is then looked for. */
const LOOK = 8;
/** An object that appears late must be found within so many frames. */
const WITHIN = 16;
/** From this frame on an object's appearance is late. */
const LATE_FROM = 5;
const SAME = 0.5;

export function emptyTally(): Tally {
  return { iou: 0, frames: 0, switches: 0, left: 0, gone: 0, late: 0, found: 0 };
}

/** The texts to ask for: every name once. */
export function concepts(objects: readonly Track[]): string[] {
  return [...new Set(objects.map(({ name }) => name))];
}

/** Counts one object that was clicked. */
export function follow(found: readonly (Mask | null)[], gold: readonly (Mask | null)[], tally: Tally): void {
  let away = 0;
  for (const [t, mask] of gold.entries()) {
    const mine = found[t] ?? null;
    away = mask ? 0 : away + 1;
    if (mask || (away > GRACE && mine)) {
      tally.frames++;
      tally.iou += mask && mine ? mine.iou(mask) : 0;
    }
  }
  departures(gold, (t) => found[t] !== null, tally);
}

/** Counts all objects of a clip that were asked for by name: on every frame each is paired with at most one found. */
export function watch(frames: readonly FrameResult[], objects: readonly Track[], tally: Tally): void {
  const lastId = new Map<Track, number>();
  const ids = objects.map(() => [] as (number | null)[]);
  for (const [t, frame] of frames.entries()) {
    const pairs = pairUp(frame, objects, t);
    for (const [o, object] of objects.entries()) {
      if (!object.masks[t]) {
        ids[o]?.push(null);
        continue;
      }
      const pair = pairs.get(object);
      tally.frames++;
      tally.iou += pair?.iou ?? 0;
      ids[o]?.push(pair?.id ?? null);
      if (!pair || pair.iou < SAME) continue;
      const before = lastId.get(object);
      if (before !== undefined && before !== pair.id) tally.switches++;
      lastId.set(object, pair.id);
    }
  }
  for (const [o, object] of objects.entries()) {
    const seen = ids[o] as (number | null)[];
    const there = (t: number) => {
      const last = seen
        .slice(0, t)
        .filter((id) => id !== null)
        .at(-1);
      const mask = frames[t]?.objects.find(({ id }) => id === last)?.mask;
      if (!mask?.area) return false;
      // An id that went over to another object while the two were one patch is a switch, not something still found.
      return !objects.some(({ masks }) => masks !== object.masks && (masks[t]?.iou(mask) ?? 0) >= SAME);
    };
    departures(object.masks, there, tally);
    const first = object.masks.findIndex((mask) => mask !== null);
    const stays = object.masks.slice(first, first + WITHIN);
    if (first < LATE_FROM || stays.length < WITHIN || stays.includes(null)) continue;
    tally.late++;
    if (seen.slice(first, first + WITHIN).some((id) => id !== null)) tally.found++;
  }
}

/** Pairs what was found under an object's name with it, best overlap first. */
function pairUp(
  frame: FrameResult,
  objects: readonly Track[],
  t: number,
): Map<Track, { id: number; iou: number }> {
  const candidates = objects.flatMap((object) => {
    const gold = object.masks[t];
    if (!gold) return [];
    return frame.objects
      .filter(({ text, mask }) => text === object.name && mask.area > 0)
      .map(({ id, mask }) => ({ object, id, iou: mask.iou(gold) }));
  });
  const pairs = new Map<Track, { id: number; iou: number }>();
  const taken = new Set<number>();
  for (const { object, id, iou } of candidates.sort((a, b) => b.iou - a.iou)) {
    if (iou === 0 || pairs.has(object) || taken.has(id)) continue;
    pairs.set(object, { id, iou });
    taken.add(id);
  }
  return pairs;
}

/** Counts every time an object leaves for more than the grace, and whether it was gone by then. */
function departures(gold: readonly (Mask | null)[], there: (t: number) => boolean, tally: Tally): void {
  for (let t = 1; t < gold.length; t++) {
    if (gold[t] || !gold[t - 1]) continue;
    let back = t;
    while (back < gold.length && !gold[back]) back++;
    const until = Math.min(back, t + GRACE + LOOK);
    if (until <= t + GRACE) continue;
    tally.left++;
    let still = false;
    for (let frame = t + GRACE; frame < until; frame++) still ||= there(frame);
    if (!still) tally.gone++;
  }
}
