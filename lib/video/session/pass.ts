import { linkSignals } from "../../abort.js";
import { EMPTY_BUFFER, holdFrame, type OutputBuffer, releaseFrames } from "../rules/output-buffer.js";
import type { Pass } from "../rules/prune-memories.js";
import { FrameFeed } from "./frame-feed.js";
import { disposeOnce } from "./handles.js";
import { type LeavingFrame, leavingFrame } from "./leaving-frame.js";
import { emptyEntry, type FrameEntry } from "./result-store.js";
import type { SessionCore } from "./session-core.js";
import type { RunningPass } from "./session-line.js";
import { featuresOf, stepSession, todoOf } from "./session-step.js";
import { TrackerCalls } from "./tracker-calls.js";

/** One way through the clip. */
export interface PassOrder {
  readonly start: number;
  readonly reverse: boolean;
  /** Most frames; null = to the end. */
  readonly count: number | null;
  /** Passes that come after it and need what objects remember of their beginnings. */
  readonly later: readonly Pass[];
  readonly signal: AbortSignal | undefined;
  /** Most frames that are encoded ahead. */
  readonly ahead: number;
}

/** Frames that are skipped by reading on; farther ones by beginning anew. */
const READ_ON = 32;

/**
 * Goes through the clip in one direction: what is known is taken as it is, the rest is computed. Frames come as late as
 * hotstart needs to take objects back. It can be left at any time; a reset of the session ends it.
 */
export async function* runPass(core: SessionCore, order: PassOrder): AsyncGenerator<LeavingFrame> {
  const reader = new PassReader(core, order);
  core.line.running.add(reader);
  core.turn(order.reverse);
  let buffer: OutputBuffer<LeavingFrame> = EMPTY_BUFFER;
  const { epoch } = core;
  function* given(frames: readonly LeavingFrame[]): Generator<LeavingFrame> {
    for (const frame of frames) {
      if (core.epoch !== epoch) return;
      core.giveOut(frame.objects.map(({ id }) => id));
      yield frame;
    }
  }
  try {
    for (let n = 0; order.count === null || n < order.count; n++) {
      const index = order.reverse ? order.start - n : order.start + n;
      if (index < 0 || (core.frameCount !== null && index >= core.frameCount)) break;
      const entry = await core.line.operate(order.signal, async (calls) =>
        core.epoch === epoch ? step(core, reader, index, order, calls) : undefined,
      );
      if (!entry) break;
      const frame = leavingFrame(core, entry);
      const held = holdFrame(buffer, frame, frame.removed, core.rules.hotstartDelay);
      buffer = held.buffer;
      yield* given(held.leaving);
    }
    yield* given(releaseFrames(buffer).leaving);
  } catch (error) {
    // Where the video breaks, nothing comes any more that could take something back of what waits.
    if (reader.brokeBy(error)) yield* given(releaseFrames(buffer).leaving);
    throw error;
  } finally {
    core.line.running.delete(reader);
    await reader.close();
  }
}

/** One frame of a pass; undefined where the video has ended. */
async function step(
  core: SessionCore,
  reader: PassReader,
  index: number,
  { reverse, later }: PassOrder,
  calls: TrackerCalls,
): Promise<FrameEntry | undefined> {
  const todo = todoOf(core, index, reverse);
  const known = core.results.get(index);
  const isDone = todo.prompts.length === 0 && todo.objects.length === 0;
  if (isDone && known) return known;
  const frame = await reader.to(index);
  if (!frame) return undefined;
  if (isDone) {
    if (frame.features) disposeOnce(frame.features);
    const entry = emptyEntry(index, frame.time);
    core.results.put(entry);
    return entry;
  }
  const features = frame.features ?? (await featuresOf(core, calls, index)).features;
  try {
    const next = reverse ? index - 1 : index + 1;
    const passes = [{ next, reverse }, ...later];
    return await stepSession(core, calls, { index, time: frame.time, features }, todo, {
      reverse,
      streaming: false,
      passes,
      prompted: false,
    });
  } finally {
    disposeOnce(features);
  }
}

/** The clip's frames as a pass needs them, encoded ahead. */
class PassReader implements RunningPass {
  readonly #core: SessionCore;
  readonly #order: PassOrder;
  #feed: FrameFeed | undefined;
  #linked = linkSignals();
  /** The frame the feed gives next. */
  #next = 0;
  #failure: unknown;

  constructor(core: SessionCore, order: PassOrder) {
    this.#core = core;
    this.#order = order;
  }

  get deviceBytes(): number {
    return this.#feed?.bytes ?? 0;
  }

  /** The frame of that index; its features are the caller's. Undefined where the video has ended. */
  async to(index: number) {
    const { reverse } = this.#order;
    const skipped = reverse ? this.#next - index : index - this.#next;
    if (!this.#feed || skipped < 0 || skipped > READ_ON) await this.#open(index);
    for (;;) {
      const frame = await this.#feed?.next().catch(async (error: unknown) => {
        // The next call begins anew: what broke may be whole again, and frames before it stay usable.
        if (!this.#linked.controller.signal.aborted) this.#failure = this.#feed?.failure;
        await this.close();
        throw error;
      });
      if (!frame) return undefined;
      this.#next = reverse ? frame.index - 1 : frame.index + 1;
      if (frame.index === index) return frame;
      if (frame.features) disposeOnce(frame.features);
    }
  }

  /** Whether an error is that of the video, which could not be read on. */
  brokeBy(error: unknown): boolean {
    return error !== undefined && error === this.#failure;
  }

  /** Frees what was read ahead. */
  async close(): Promise<void> {
    const feed = this.#feed;
    this.#feed = undefined;
    this.#linked.controller.abort();
    this.#linked.unlink();
    await feed?.close();
  }

  async #open(index: number): Promise<void> {
    await this.close();
    const core = this.#core;
    const { source } = core;
    if (!source) return;
    const { reverse, signal, ahead, start, count } = this.#order;
    this.#linked = linkSignals(signal, core.line.stopped);
    const stop = this.#linked.controller;
    const calls = new TrackerCalls(core.place.replica, stop.signal);
    this.#next = index;
    this.#feed = new FrameFeed({
      frames: source.frames({
        start: index,
        direction: reverse ? "backward" : "forward",
        count: count === null ? undefined : count - Math.abs(index - start),
        signal: stop.signal,
      }),
      encode: ({ pixels }) => calls.encode(pixels),
      wanted: (frame) => {
        const { prompts, objects } = todoOf(core, frame, reverse);
        return prompts.length > 0 || objects.length > 0;
      },
      ahead,
    });
  }
}
