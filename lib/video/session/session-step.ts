import type { NativeFeatures } from "../../native/addon.js";
import type { Pass } from "../rules/prune-memories.js";
import { type Track, vouchFor } from "../rules/state.js";
import { computeFrame } from "./frame-step.js";
import type { FrameOutcome } from "./frame-work.js";
import { disposeOnce, Handles } from "./handles.js";
import { type LeavingFrame, leavingFrame } from "./leaving-frame.js";
import { offload } from "./offload.js";
import { emptyEntry, type FrameEntry } from "./result-store.js";
import { AS_PROMPTED, handlesOf, seededRows } from "./seeded.js";
import type { SessionCore } from "./session-core.js";
import { type ObjectInput, type SessionPrompt, SessionTrack } from "./session-track.js";
import type { TrackMemory } from "./track-memories.js";
import type { TrackerCalls } from "./tracker-calls.js";

/** What of a frame is to be computed. */
export interface Todo {
  readonly prompts: readonly SessionPrompt[];
  readonly objects: readonly SessionTrack[];
}

/** How a frame is computed. */
export interface StepMode {
  readonly reverse: boolean;
  readonly streaming: boolean;
  /** Passes whose memories must stay, the one under way first. */
  readonly passes: readonly Pass[];
  /** Objects born by it are looked for on every frame, as a prompt's are. */
  readonly prompted: boolean;
}

/** Features of a frame. */
export interface TimedFeatures {
  readonly index: number;
  readonly time: number;
  readonly features: NativeFeatures;
}

/** What of a frame is not known yet. */
export function todoOf(core: SessionCore, frame: number, reverse: boolean): Todo {
  const entry = core.results.get(frame);
  const prompts = [...core.prompts.values()].filter(
    (prompt) =>
      !entry?.prompts.has(prompt.id) &&
      (prompt.detectsOn(frame) ||
        [...core.tracks.values()].some(
          (track) => track.prompt === prompt.id && track.isActive(frame, reverse),
        )),
  );
  const whole = new Set(prompts.map(({ id }) => id));
  const objects = [...core.tracks.values()].filter(
    (track) =>
      track.edited &&
      !entry?.own.has(track.id) &&
      (track.prompt === null || !whole.has(track.prompt)) &&
      track.isActive(frame, reverse),
  );
  return { prompts, objects };
}

/** Computes what is to do of a frame and takes it into the session. */
export async function stepSession(
  core: SessionCore,
  calls: TrackerCalls,
  frame: TimedFeatures,
  todo: Todo,
  mode: StepMode,
): Promise<FrameEntry> {
  const involved = involvedIn(core, frame.index, todo, mode);
  const { tracks } = involved;
  if (!mode.streaming) {
    const continued = todo.objects.filter((track) => !standsAlone(track.inputs.get(frame.index)));
    await recall(core, calls, [...tracks, ...continued], frame.index, mode.reverse);
  }
  const outcome = await compute(core, calls, frame, todo, mode, involved);
  const entry = commit(core, frame, todo, mode, tracks, outcome);
  // What cannot be moved stays where it is; a device that failed shows itself in the next call.
  await offload(core, calls).catch(() => {});
  return entry;
}

/**
 * Whether objects of the concepts would be tracked to a frame over others that were not computed: what came of that is
 * nothing to go on with, since whoever moved meanwhile may be taken for another one.
 */
export function leapsTo(core: SessionCore, frame: number, { prompts }: Todo, reverse: boolean): boolean {
  const concepts = new Set(prompts.map(({ id }) => id));
  const before = reverse ? frame + 1 : frame - 1;
  return [...core.tracks.values()].some(
    (track) =>
      track.prompt !== null &&
      concepts.has(track.prompt) &&
      track.isActive(frame, reverse) &&
      !track.tracked.has(frame) &&
      !track.tracked.has(before),
  );
}

/** Shows a frame as it would be, by what objects remember now, and takes nothing of it into the session. */
export async function previewFrame(
  core: SessionCore,
  calls: TrackerCalls,
  frame: TimedFeatures,
  todo: Todo,
  mode: StepMode,
): Promise<LeavingFrame> {
  const outcome = await compute(core, calls, frame, todo, mode, involvedIn(core, frame.index, todo, mode));
  outcome.discard();
  await offload(core, calls).catch(() => {});
  const { plan, results } = outcome;
  const shown = leavingFrame(core, core.results.get(frame.index) ?? emptyEntry(frame.index, frame.time));
  const objects = new Map(shown.objects.map((object) => [object.id, object]));
  for (const id of plan.removed) objects.delete(id);
  for (const [id, object] of results) objects.set(id, object);
  // Whom later frames must confirm first, the frame alone does not show.
  const born = core.rules.confirmationFrames > 1 ? [] : plan.born;
  const newcomers = new Map(
    born.map(({ id, prompt, score }) => [id, { prompt, score, firstFrame: frame.index }]),
  );
  return { ...shown, objects: [...objects.values()], newcomers };
}

/** Whom of the concepts' objects a frame is about. */
interface Involved {
  readonly state: readonly Track[];
  readonly tracks: readonly SessionTrack[];
  readonly bornBefore: readonly Track[];
  /** Objects of all concepts that stay out of it, and those of clicks. */
  readonly others: number;
}

function involvedIn(core: SessionCore, frame: number, { prompts }: Todo, mode: StepMode): Involved {
  const whole = new Set(prompts.map(({ id }) => id));
  const active = core.state.tracks.filter(
    ({ id, prompt }) => whole.has(prompt) && core.tracks.get(id)?.isActive(frame, mode.reverse),
  );
  // A frame that was computed before, and dropped, brings forth what it brought forth then.
  const bornBefore = mode.prompted ? [] : active.filter(({ id }) => core.tracks.get(id)?.isBornOn(frame));
  const mine = active.filter((track) => !bornBefore.includes(track));
  const clicked = [...core.tracks.values()].filter(({ prompt }) => prompt === null);
  return {
    state: mine,
    tracks: mine.flatMap(({ id }) => core.tracks.get(id) ?? []),
    bornBefore,
    others: clicked.length + core.state.tracks.length - active.length,
  };
}

/** Computes what is to do of a frame. Nothing of the session is changed by it. */
function compute(
  core: SessionCore,
  calls: TrackerCalls,
  frame: TimedFeatures,
  todo: Todo,
  mode: StepMode,
  { state, tracks, bornBefore, others }: Involved,
): Promise<FrameOutcome> {
  return computeFrame(calls, {
    frame: frame.index,
    features: frame.features,
    reverse: mode.reverse,
    streaming: mode.streaming,
    clipLength: mode.streaming ? null : core.frameCount,
    rules: core.rules,
    prompts: todo.prompts,
    tracks,
    objects: todo.objects,
    state: { nextId: core.state.nextId, tracks: state },
    bornBefore,
    clickedObjects: others,
  });
}

/** Features of a frame that was asked for out of order: kept ones, or made anew. They are the caller's. */
export async function featuresOf(
  core: SessionCore,
  calls: TrackerCalls,
  index: number,
): Promise<TimedFeatures> {
  const time = core.results.get(index)?.time ?? (core.newest?.index === index ? core.newest.time : undefined);
  const kept = core.features.take(index);
  if (kept && time !== undefined) return { index, time, features: kept };
  if (kept) disposeOnce(kept);
  const frame = await core.read(index, calls.signal);
  return { index, time: frame.time, features: await calls.encode(frame.pixels) };
}

/** Takes a computed frame into the session. */
function commit(
  core: SessionCore,
  { index, time }: { readonly index: number; readonly time: number },
  todo: Todo,
  mode: StepMode,
  tracks: readonly SessionTrack[],
  outcome: FrameOutcome,
): FrameEntry {
  const { plan } = outcome;
  const removed = new Set(plan.removed);
  const stepped = new Set(tracks.map(({ id }) => id));
  // What is born again has its history already.
  const others = core.state.tracks.filter(({ id }) => !stepped.has(id));
  const known = new Set(others.map(({ id }) => id));
  core.state = {
    nextId: outcome.state.nextId,
    tracks: [...others, ...outcome.state.tracks.filter(({ id }) => !known.has(id))].sort(
      (a, b) => a.id - b.id,
    ),
  };
  for (const [track, memory] of outcome.memories) track.memories.set(index, kept(core, track, index, memory));
  for (const { id, prompt, score } of plan.born) {
    const memory = outcome.births.get(id);
    const before = core.tracks.get(id);
    if (before) {
      if (memory) before.memories.set(index, memory);
      continue;
    }
    const since = mode.prompted ? null : { frame: index, reverse: mode.reverse };
    const late = isLate(core, prompt, index, mode);
    const track = new SessionTrack({ id, prompt, score, firstFrame: index, since }, { late });
    track.tracked.add(index);
    if (memory) track.memories.set(index, memory);
    core.tracks.set(id, track);
    // Nothing will find it again, so nothing can hold against it that it is not found.
    if (core.prompts.get(prompt)?.everywhere === false) core.state = vouchFor(core.state, [id]);
  }
  for (const { id, frames } of plan.unconfirmed) {
    for (let back = 0; back < frames; back++) {
      core.tracks.get(id)?.unconfirmed.add(mode.reverse ? index + back : index - back);
    }
  }
  for (const id of plan.removed) core.removeObject(id);
  const entry = core.results.get(index) ?? emptyEntry(index, time);
  for (const id of plan.removed) entry.removed.add(id);
  for (const { id } of todo.prompts) entry.prompts.add(id);
  for (const track of [...tracks, ...todo.objects]) {
    if (track.edited && !removed.has(track.id)) entry.own.add(track.id);
    entry.objects.delete(track.id);
  }
  for (const [id, object] of outcome.results) entry.objects.set(id, object);
  for (const track of mode.prompted ? tracks : [...tracks, ...todo.objects]) track.tracked.add(index);
  // Of live frames only the newest one is kept, for prompts on it.
  if (mode.streaming) core.results.clear();
  core.results.put(entry);
  for (const track of [
    ...tracks,
    ...todo.objects,
    ...plan.born.flatMap(({ id }) => core.tracks.get(id) ?? []),
  ])
    track.memories.prune(core.rules, mode.passes);
  core.framesDone++;
  return entry;
}

/** A correction may be remembered as any other frame is. */
function kept(core: SessionCore, track: SessionTrack, frame: number, memory: TrackMemory): TrackMemory {
  const input = track.inputs.get(frame);
  if (!input || input.kind === "mask" || input.alone || core.correctionsCondition) return memory;
  return { ...memory, conditioning: track.memories.get(frame)?.conditioning ?? false };
}

/**
 * Gives objects back what they remember of the frames before, where it was dropped and their results are known: as many
 * frames as attention takes in (`rules.memories`), for passes that begin anywhere and for edits of old frames. What is
 * remembered so is the mask that was given out.
 */
async function recall(
  core: SessionCore,
  calls: TrackerCalls,
  tracks: readonly SessionTrack[],
  frame: number,
  reverse: boolean,
): Promise<void> {
  const back = (steps: number) => (reverse ? frame + steps : frame - steps);
  // Where the frame right before is remembered, the pass goes on from there and nothing was dropped that it needs.
  const lost = tracks.filter(
    (track) => track.memories.get(back(1)) === undefined && wasSeen(core, track, back(1)),
  );
  if (lost.length === 0) return;
  for (let steps = core.rules.memories - 1; steps > 0; steps--) {
    const at = back(steps);
    const wanted = lost.filter((track) => track.memories.get(at) === undefined && wasSeen(core, track, at));
    if (wanted.length > 0) await rememberResults(core, calls, wanted, at);
  }
}

function wasSeen(core: SessionCore, { id }: SessionTrack, frame: number): boolean {
  return (core.results.get(frame)?.objects.get(id)?.area ?? 0) > 0;
}

/** Makes memories of what objects' results on a frame are. */
async function rememberResults(
  core: SessionCore,
  calls: TrackerCalls,
  tracks: readonly SessionTrack[],
  frame: number,
): Promise<void> {
  const objects = core.results.get(frame)?.objects;
  const scope = new Handles();
  try {
    const { features } = await featuresOf(core, calls, frame);
    scope.add(features);
    const items = tracks.map(({ id }) => ({ counts: objects?.get(id)?.counts ?? new Uint32Array(0) }));
    const seeded = await calls.seed({ features, items });
    scope.addAll(handlesOf(seeded));
    const made = await calls.remember({ features, rows: seededRows(seeded), ...AS_PROMPTED });
    tracks.forEach((track, i) => {
      const memory = made[i];
      if (memory) track.memories.set(frame, { memory, conditioning: false, effectiveIou: 1 });
    });
  } finally {
    scope.dispose();
  }
}

/**
 * Whether an object is born where its concept was computed on other frames already, without it: of a prompt on any others,
 * of an example that a pass comes to on those ahead.
 */
function isLate(core: SessionCore, prompt: number, frame: number, { prompted, reverse }: StepMode): boolean {
  if (!prompted && !core.prompts.get(prompt)?.exemplars.has(frame)) return false;
  const isMissing = (at: number) => (prompted ? at !== frame : reverse ? at < frame : at > frame);
  return [...core.results.entries()].some(({ index, prompts }) => isMissing(index) && prompts.has(prompt));
}

function standsAlone(input: ObjectInput | undefined): boolean {
  return input !== undefined && (input.kind === "mask" || input.alone);
}
