import type { FrameResult, Mask } from "../../lib/index.js";

/** Figures of an evaluation on clips; see `TARGETS` of video-evaluation.test.ts. */
export interface VideoScores {
  readonly text: number;
  readonly click: number;
  readonly switches: number;
  readonly switchesClick: number;
  readonly goneText: number;
  readonly goneClick: number;
  readonly heldClick: number;
  readonly late: number;
  readonly surplus: number;
}

/** Sums over clips. */
export interface Tally {
  /** Of IoU over `frames`: frames of objects that are visible, or still found though gone. */
  iou: number;
  frames: number;
  /**
   * Frames on which an object's id is not the one it had before; absences in which its id went over to another object. Of
   * clicked objects: frames on which their id is on another object than before.
   */
  switches: number;
  /** Objects that left and stayed away for more than `GRACE` frames, and those of them that were gone in time. */
  left: number;
  gone: number;
  /** Clicked objects that left and were not gone in time because their id was on other objects: switches, not masks of nothing. */
  held: number;
  /** Objects that appeared late, and those of them that were found in time. */
  late: number;
  found: number;
  /** Masks found on a frame under a name that belong to no object of that name, but for those within `GRACE`. */
  surplus: number;
}

/** What was found on a frame. */
export type Found = Pick<FrameResult, "objects">;

/** One object of a clip. */
interface Track {
  readonly name: string;
  readonly masks: readonly (Mask | null)[];
}

/** An object that left may be found for so many frames more. */
const GRACE = 2;
/** How long it is then looked for. */
const LOOK = 8;
/** An object that appears late must be found, and not just touched, within so many frames. */
const WITHIN = 16;
/** From this frame on an object's appearance is late. */
const LATE_FROM = 5;
/** From this overlap on a mask is taken for an object's. */
const SAME = 0.5;

export function emptyTally(): Tally {
  return { iou: 0, frames: 0, switches: 0, left: 0, gone: 0, held: 0, late: 0, found: 0, surplus: 0 };
}

/** The texts to ask for: every name once. */
export function concepts(objects: readonly Track[]): string[] {
  return [...new Set(objects.map(({ name }) => name))];
}

/** Counts one object that was clicked, of all those of its clip. */
export function follow(
  found: readonly (Mask | null)[],
  object: Track,
  objects: readonly Track[],
  tally: Tally,
): void {
  const gold = object.masks;
  const ownFirst = [object, ...objects.filter((other) => other !== object)];
  // Which object the id is on, frame by frame.
  const on = found.map((mask, t) => mask && ownFirst.find((one) => isOn(mask, one, t)));
  let away = 0;
  let last = object;
  for (const [t, mask] of gold.entries()) {
    const mine = found[t] ?? null;
    away = mask ? 0 : away + 1;
    if (mask || (away > GRACE && mine)) {
      tally.frames++;
      tally.iou += mask && mine ? mine.iou(mask) : 0;
    }
    const now = on[t] ?? last;
    if (now !== last) tally.switches++;
    last = now;
  }
  departures(
    gold,
    tally,
    (t) => found[t] !== null,
    (t) => (on[t] ?? object) !== object,
  );
}

/** Whether a mask found on a frame is taken for an object's. */
function isOn(mask: Mask, { masks }: Track, t: number): boolean {
  return (masks[t]?.iou(mask) ?? 0) >= SAME;
}

/** What is known of an object while its clip is watched. */
interface Watched {
  readonly object: Track;
  /** The id it was found under last, and the last of those that were truly on it. */
  lastId?: number;
  ownId?: number;
  /** Frames that it has been away for; whether its id went over to another object meanwhile. */
  away: number;
  wentOver: boolean;
  /** Frames on which it was found, and those on which it was though it had left. */
  readonly found: Set<number>;
  readonly lingers: Set<number>;
}

/** Counts all objects of a clip that were asked for by name: on every frame each is paired with at most one found. */
export function watch(frames: readonly Found[], objects: readonly Track[], tally: Tally): void {
  const all = objects.map(
    (object): Watched => ({ object, away: 0, wentOver: false, found: new Set(), lingers: new Set() }),
  );
  for (const [t, frame] of frames.entries()) {
    const pairs = pairUp(frame, objects, t);
    const accounted = new Set([...pairs.values()].map(({ id }) => id));
    for (const watched of all) {
      if (watched.object.masks[t]) {
        visible(watched, pairs.get(watched.object), t, tally);
        continue;
      }
      away(watched, frame, objects, t, tally);
      // Its id may stay for the grace.
      if (watched.lingers.has(t) && watched.away <= GRACE) accounted.add(watched.lastId as number);
    }
    tally.surplus += frame.objects.filter(({ id, mask }) => mask.area > 0 && !accounted.has(id)).length;
  }
  for (const { object, found, lingers } of all) {
    departures(object.masks, tally, (t) => lingers.has(t));
    const first = object.masks.findIndex((mask) => mask !== null);
    const stays = object.masks.slice(first, first + WITHIN);
    if (first < LATE_FROM || stays.length < WITHIN || stays.includes(null)) continue;
    tally.late++;
    if (stays.some((_, i) => found.has(first + i))) tally.found++;
  }
}

/** Counts a frame on which an object is visible. */
function visible(
  watched: Watched,
  pair: { id: number; iou: number } | undefined,
  t: number,
  tally: Tally,
): void {
  watched.away = 0;
  watched.wentOver = false;
  tally.frames++;
  if (!pair) return;
  tally.iou += pair.iou;
  watched.lastId = pair.id;
  if (pair.iou < SAME) return;
  watched.found.add(t);
  if (watched.ownId !== undefined && watched.ownId !== pair.id) tally.switches++;
  watched.ownId = pair.id;
}

/**
 * Counts a frame on which an object is not visible. An id that is on another object by then is no object that is still
 * found: it is a switch, one for the absence. (Where the other object had an id before, its own change of ids counts as well.)
 */
function away(watched: Watched, frame: Found, objects: readonly Track[], t: number, tally: Tally): void {
  watched.away++;
  const mask = frame.objects.find(({ id }) => id === watched.lastId)?.mask;
  if (!mask?.area) return;
  if (objects.some((one) => isOn(mask, one, t))) {
    if (!watched.wentOver) tally.switches++;
    watched.wentOver = true;
    return;
  }
  watched.lingers.add(t);
  // An IoU of 0, as for one that was clicked.
  if (watched.away > GRACE) tally.frames++;
}

/** Pairs what was found under an object's name with it, best overlap first. */
function pairUp(frame: Found, objects: readonly Track[], t: number): Map<Track, { id: number; iou: number }> {
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

/** Counts every time an object leaves for more than the grace, whether it was gone by then, and if not, what held it. */
function departures(
  gold: readonly (Mask | null)[],
  tally: Tally,
  there: (t: number) => boolean,
  onOther: (t: number) => boolean = () => false,
): void {
  for (let t = 1; t < gold.length; t++) {
    if (gold[t] || !gold[t - 1]) continue;
    let back = t;
    while (back < gold.length && !gold[back]) back++;
    const until = Math.min(back, t + GRACE + LOOK);
    if (until <= t + GRACE) continue;
    tally.left++;
    const still = Array.from({ length: until - t - GRACE }, (_, i) => t + GRACE + i).filter(there);
    if (still.length === 0) tally.gone++;
    else if (still.every(onOther)) tally.held++;
  }
}
