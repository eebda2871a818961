import { describe } from "../../describe.js";
import { Sam3Error } from "../../errors.js";
import type { FrameResult } from "../frame-result.js";
import type { CheckedObject } from "../video-prompt.js";
import { disposeOnce } from "./handles.js";
import { ALL_OUTPUTS, frameResult, type LeavingFrame, leavingFrame } from "./leaving-frame.js";
import type { GivenConcept, SessionCore } from "./session-core.js";
import { featuresOf, leapsTo, previewFrame, type StepMode, stepSession, type Todo } from "./session-step.js";
import type { TrackerCalls } from "./tracker-calls.js";

/**
 * Checks that a frame exists.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT`, `FRAME_OUT_OF_RANGE`
 */
export function assertFrame(core: SessionCore, frame: unknown): asserts frame is number {
  if (!Number.isInteger(frame)) {
    throw new Sam3Error("INVALID_ARGUMENT", `frame is ${describe(frame)}; it must be the index of a frame.`);
  }
  const index = frame as number;
  const { frameCount } = core;
  if (index >= 0 && (frameCount === null || index < frameCount)) return;
  throw new Sam3Error(
    "FRAME_OUT_OF_RANGE",
    frameCount === null
      ? `There is no frame ${index}; frames count from 0.`
      : `There is no frame ${index}: the video has ${frameCount}, from 0 to ${frameCount - 1}.`,
    { details: { frame: index } },
  );
}

/** The earliest frame something was prompted on. */
export function earliestPrompt(core: SessionCore): number {
  const frames = [
    ...[...core.prompts.values()].flatMap((prompt) => [prompt.firstFrame, ...prompt.exemplars.keys()]),
    ...[...core.tracks.values()].flatMap((track) => [...track.inputs.keys()]),
  ];
  return frames.length > 0 ? Math.min(...frames) : 0;
}

/**
 * Looks for a concept on the frame `where` says; on the others it will be looked for when they are computed. Where its
 * objects were not followed to that frame yet, it is only shown, and computed when a pass comes to it.
 */
export function promptConcept(
  core: SessionCore,
  concept: GivenConcept,
  where: () => number | undefined,
  signal: AbortSignal,
): Promise<{ readonly prompt: number; readonly shown: FrameResult | null }> {
  return core.line.operate(signal, async (calls) => {
    const frame = where();
    const { prompt, wasComputed, undo } = core.addPrompt(concept, frame);
    try {
      if (frame === undefined) return { prompt: prompt.id, shown: null };
      const known = core.results.get(frame);
      const done = known?.prompts.has(prompt.id)
        ? leavingFrame(core, known)
        : await stepAt(core, calls, frame, { prompts: [prompt], objects: [] }, !wasComputed);
      return { prompt: prompt.id, shown: frameResult(core, done, ALL_OUTPUTS) };
    } catch (error) {
      undo();
      throw error;
    }
  });
}

/** Makes an object of what was shown on the frame `where` says, or corrects one. */
export function promptObject(
  core: SessionCore,
  checked: CheckedObject,
  where: () => number,
  signal: AbortSignal,
): Promise<{ readonly object: number; readonly shown: FrameResult }> {
  return core.line.operate(signal, async (calls) => {
    const known = checked.object === undefined ? undefined : core.tracks.get(checked.object);
    if (checked.object !== undefined && !known) {
      throw new Sam3Error(
        "OBJECT_NOT_FOUND",
        `The session has no object ${checked.object}; leave object out for a new one.`,
      );
    }
    const frame = where();
    const { track, undo: undoObject } = known ? { track: known, undo: () => {} } : core.addObject(frame);
    try {
      const before = track.inputs.get(frame);
      const alone = before ? before.kind === "points" && before.alone : !track.tracked.has(frame);
      const { undo } = core.correct(track, frame, checked.input(before, alone));
      try {
        const done = await stepAt(core, calls, frame, { prompts: [], objects: [track] }, false);
        core.outdate(track, frame);
        return { object: track.id, shown: frameResult(core, done, ALL_OUTPUTS) };
      } catch (error) {
        undo();
        throw error;
      }
    } catch (error) {
      undoObject();
      throw error;
    }
  });
}

/**
 * Computes something of one frame out of order, and keeps its features for the next prompt.
 *
 * @param isFirst whether the frame may be only shown, where objects were not followed to it yet
 */
async function stepAt(
  core: SessionCore,
  calls: TrackerCalls,
  index: number,
  todo: Todo,
  isFirst: boolean,
): Promise<LeavingFrame> {
  const frame = await featuresOf(core, calls, index);
  const mode: StepMode = {
    reverse: core.reverse ?? false,
    streaming: core.source === null,
    prompted: true,
    passes: [
      { next: index + 1, reverse: false },
      { next: index - 1, reverse: true },
    ],
  };
  try {
    if (isFirst && leapsTo(core, index, todo, mode.reverse)) {
      return await previewFrame(core, calls, frame, todo, mode);
    }
    return leavingFrame(core, await stepSession(core, calls, frame, todo, mode));
  } finally {
    if (core.line.stopped.aborted) disposeOnce(frame.features);
    else core.features.give(index, frame.features);
  }
}
