import { linkSignals, readSignal } from "../abort.js";
import type { CallOptions } from "../call.js";
import { captureCaller, toSam3Error } from "../caller.js";
import type { Engine } from "../devices/engine.js";
import { Sam3Error } from "../errors.js";
import { INSPECT } from "../inspect.js";
import { readOptions } from "../read-options.js";
import type { FrameResult } from "./frame-result.js";
import { readPath } from "./read-path.js";
import { writeSavedSession } from "./saved-session.js";
import { assertFrame, earliestPrompt, promptConcept, promptObject } from "./session/edit.js";
import { saveSession } from "./session/keep.js";
import { ALL_OUTPUTS, frameResult, type LeavingFrame, leavingFrame } from "./session/leaving-frame.js";
import { runLive } from "./session/live-pass.js";
import { runPass } from "./session/pass.js";
import type { SessionCore } from "./session/session-core.js";
import {
  type PropagateOptions,
  readOutputs,
  readPropagateOptions,
  type SessionSettings,
  type StreamOptions,
} from "./session-options.js";
import { openVideo } from "./sources/open-video.js";
import type { LiveFrame, VideoInfo } from "./sources/video-source.js";
import { checkVideoPrompt, type VideoPrompt } from "./video-prompt.js";

/** What `addPrompt` made of a prompt. */
export interface PromptAnswer {
  /** Number of the concept, to which exemplars can be added; null for a prompt for one object. */
  readonly prompt: number | null;
  /** Id of the object of points, a box or a mask; null for a concept. */
  readonly object: number | null;
  /**
   * The frame with everything that is known of it; null in a live session that has seen no frame. Where the concept's
   * objects were not followed to this frame yet, it is only a look: `propagate` computes the frame when it comes to it,
   * and what is new here may be another object, or have another id, then.
   */
  readonly frame: FrameResult | null;
}

/** How a session is doing. */
export interface SessionStatus {
  readonly id: string;
  /** `error`: its device failed; close it and open another one. */
  readonly state: "ready" | "processing" | "error" | "closed";
  /** Name of the replica it lives on. */
  readonly replica: string;
  /** Live objects. */
  readonly objects: number;
  /** Concepts that are looked for. */
  readonly prompts: number;
  /** Frames computed, those computed again counted again. */
  readonly framesDone: number;
  /** Frames of the video; null for a live session. */
  readonly frameCount: number | null;
  /** Bytes it holds on its device: what objects remember, features. */
  readonly deviceBytes: number;
  /** Bytes it holds in main memory: results, and what objects remember over the device's budget. */
  readonly hostBytes: number;
  readonly createdAt: Date;
  readonly lastUsedAt: Date;
  /** Why it is in `error`. */
  readonly reason: string | null;
}

/** One object of a session. */
export interface SessionObject {
  readonly id: number;
  /** Number of the concept that found it; null for an object of points, a box or a mask. */
  readonly prompt: number | null;
  /** That concept's text; `"object"` where there is none. */
  readonly text: string;
  /** Score of its first detection, 0–1; null for an object of points, a box or a mask. */
  readonly score: number | null;
  /** The frame it was first seen on. */
  readonly firstFrame: number;
}

/**
 * One video and everything that is tracked in it. Operations run one after the other, in the order they were called; a
 * pass takes its turn frame by frame, so that prompts can be given while it is under way. Close it when it is done.
 *
 * @example
 * ```ts
 * await using session = await sam.video.open("clip.mp4");
 * await session.addPrompt({ frame: 0, text: "player in white" });
 * for await (const frame of session.propagate()) console.log(frame.index, frame.objects);
 * ```
 */
export class VideoSession {
  readonly id: string;
  /** What is known of the video; null for a live session. */
  readonly info: VideoInfo | null;
  readonly #engine: Engine;
  readonly #core: SessionCore;
  readonly #settings: SessionSettings;
  readonly #createdAt = new Date();
  readonly #onClose: () => void;

  /** @internal */
  constructor(facts: {
    readonly id: string;
    readonly engine: Engine;
    readonly core: SessionCore;
    readonly settings: SessionSettings;
    readonly onClose: () => void;
  }) {
    this.id = facts.id;
    this.info = facts.core.source?.info ?? null;
    this.#engine = facts.engine;
    this.#core = facts.core;
    this.#settings = facts.settings;
    this.#onClose = facts.onClose;
  }

  /**
   * Tells what to track, on any frame, before or after going through the clip. The answer shows the frame as it is with
   * the prompt. Results of other objects on other frames stay as they are; what the prompt changes is computed by the
   * next `propagate`.
   *
   * @throws {Sam3Error} `INVALID_PROMPT`, `INVALID_BOX`, `INVALID_POINT`, `INVALID_MASK`, `FRAME_OUT_OF_RANGE`,
   *   `OBJECT_NOT_FOUND`, `UNSUPPORTED` (a bundle without object prompts), `SESSION_CLOSED`, what reading the frame
   *   throws, `OUT_OF_MEMORY`, `DEVICE_FAULT`, `MODEL_FAILED`, `TIMEOUT`; the signal's reason when it was aborted
   * @example
   * ```ts
   * await session.addPrompt({ frame: 0, text: "dog" });
   * const { object, frame } = await session.addPrompt({ frame: 40, box: [12, 30, 90, 120] });
   * await session.addPrompt({ frame: 40, object, points: [{ x: 50, y: 60, label: "negative" }] });
   * ```
   */
  addPrompt(prompt: VideoPrompt, options: CallOptions = {}): Promise<PromptAnswer> {
    return this.#engine.call("addPrompt", this.addPrompt, options, async ({ signal }) => {
      const core = this.#core;
      core.line.assertUsable();
      const { manifest, tokenizer } = this.#engine;
      // Asked again when its turn comes: the newest live frame may be another one by then.
      const where = () => this.#promptedFrame(prompt);
      where();
      const video = { ...this.#promptedSize(), maskSize: manifest.maskSize };
      const checked = checkVideoPrompt(prompt, video, manifest.tokenizer.fallbackText);
      if (checked.kind === "concept") {
        const { ids } = tokenizer.encode(checked.text);
        const { prompt: number, shown } = await promptConcept(core, { ...checked, ids }, where, signal);
        return { prompt: number, object: null, frame: shown };
      }
      if (!manifest.tracker.trained && !this.#settings.allowUntrained) throw clicksUnsupported(manifest.name);
      const place = () => {
        const frame = where();
        if (frame === undefined) throw noFrameAtHand();
        return frame;
      };
      const { object, shown } = await promptObject(core, checked, place, signal);
      return { prompt: null, object, frame: shown };
    });
  }

  /**
   * Goes through the clip and gives every frame with its objects, in the order of time. Frames are computed as they are
   * asked for; what is known already is not computed again. With temporal disambiguation frames come 15 frames late,
   * because until then an object can still be taken back. Leaving the loop early is fine: go on later with another call.
   * Where the video breaks, what could be read comes first; a truncated one then throws `VIDEO_TRUNCATED`.
   *
   * @throws {Sam3Error} `INVALID_ARGUMENT`, `INVALID_PROMPT` where nothing was prompted, `FRAME_OUT_OF_RANGE`,
   *   `VIDEO_NOT_SEEKABLE` for a live session, `SESSION_BUSY` when another pass stands still for 30 s, `SESSION_CLOSED`, what reading frames throws, `OUT_OF_MEMORY`,
   *   `DEVICE_FAULT`, `MODEL_FAILED`; the signal's reason when it was aborted. After any but `DEVICE_FAULT` and
   *   `SESSION_CLOSED` the session can be used on
   * @example
   * ```ts
   * for await (const frame of session.propagate({ direction: "both", startFrame: 40, signal })) render(frame);
   * ```
   */
  propagate(options: PropagateOptions = {}): AsyncGenerator<FrameResult, void, undefined> {
    const caller = captureCaller(this.propagate);
    const signal = readSignal(options?.signal);
    return coded(this.#propagate(options, signal), signal, caller);
  }

  /**
   * Tracks frames as they come, from a camera for example, without an end. Nothing is held back and nothing is taken
   * back, but what was not seen for `forgetAfterFrames` is forgotten; prompts can be given before and in between, on the
   * newest frame. For sessions opened without a video.
   *
   * @param frames pictures, or `{ image, time }` with the time in seconds
   * @throws {Sam3Error} as `propagate`, `UNSUPPORTED` for a session with a video, `FRAME_SIZE` when the size changes
   * @example
   * ```ts
   * await using session = await sam.video.open();
   * await session.addPrompt({ text: "person" });
   * for await (const frame of session.stream(camera)) show(frame);
   * ```
   */
  stream(
    frames: AsyncIterable<LiveFrame>,
    options: StreamOptions = {},
  ): AsyncGenerator<FrameResult, void, undefined> {
    const caller = captureCaller(this.stream);
    const signal = readSignal(options?.signal);
    return coded(this.#stream(frames, options, signal), signal, caller);
  }

  /**
   * One frame as it is known now; null where nothing was computed on it, or it was dropped.
   *
   * @throws {Sam3Error} `FRAME_OUT_OF_RANGE`, `SESSION_CLOSED`
   */
  frame(index: number): FrameResult | null {
    this.#core.line.assertUsable();
    assertFrame(this.#core, index);
    const entry = this.#core.results.get(index);
    return entry ? frameResult(this.#core, leavingFrame(this.#core, entry), ALL_OUTPUTS) : null;
  }

  /** Live objects, by id. */
  get objects(): SessionObject[] {
    return [...this.#core.tracks.values()]
      .sort((a, b) => a.id - b.id)
      .map(({ id, prompt, score, firstFrame }) => ({
        id,
        prompt,
        text: (prompt === null ? undefined : this.#core.prompts.get(prompt)?.text) ?? "object",
        score,
        firstFrame,
      }));
  }

  /** Concepts that are looked for, by number. */
  get prompts(): { readonly prompt: number; readonly text: string }[] {
    return [...this.#core.prompts.values()].map(({ id, text }) => ({ prompt: id, text }));
  }

  /**
   * Takes an object out of all frames. Where it is an instance of a concept it can be found again.
   *
   * @throws {Sam3Error} `OBJECT_NOT_FOUND`, `SESSION_CLOSED`
   */
  removeObject(id: number, options: CallOptions = {}): Promise<void> {
    return this.#edit("removeObject", this.removeObject, options, () => {
      if (!this.#core.tracks.has(id)) throw objectNotFound(id);
      this.#core.removeObject(id);
    });
  }

  /**
   * Forgets all prompts, objects and results. Ids are not used again; `reset` begins anew with them too.
   *
   * @throws {Sam3Error} `SESSION_CLOSED`
   */
  clearPrompts(options: CallOptions = {}): Promise<void> {
    return this.#edit("clearPrompts", this.clearPrompts, options, () => this.#core.clear());
  }

  /**
   * Begins anew, as if the session had just been opened: ids count from 0 again. A `propagate` that is under way ends; a
   * `stream` goes on with its frames.
   *
   * @throws {Sam3Error} `SESSION_CLOSED`
   */
  reset(options: CallOptions = {}): Promise<void> {
    return this.#edit("reset", this.reset, options, () => this.#core.reset());
  }

  /**
   * Saves everything that is needed to go on after a restart, on another device too: prompts, objects with what they
   * remember, results. The video is not in it. `sam.video.restore` reads the file.
   *
   * @param file is replaced where it exists, as a whole or not at all
   * @returns the size of the file in bytes
   * @throws {Sam3Error} `DISK_FULL`, `OUTPUT_FAILED`, `SESSION_CLOSED`; the signal's reason when it was aborted
   * @example
   * ```ts
   * await session.save("clip.session");
   * ```
   */
  save(file: string, options: CallOptions = {}): Promise<number> {
    return this.#engine.call("saveSession", this.save, options, ({ signal }) => {
      const path = readPath("save", file);
      const { bundleId, manifest } = this.#engine;
      return this.#core.line.operate(signal, async (calls) =>
        writeSavedSession(path, await saveSession(this.#core, calls, { id: bundleId, name: manifest.name })),
      );
    });
  }

  /** How it is doing. Cheap, and no use of it: the time since the last use goes on. */
  status(): SessionStatus {
    const core = this.#core;
    return {
      id: this.id,
      state: core.line.condition,
      replica: core.place.replica.name,
      objects: core.tracks.size,
      prompts: core.prompts.size,
      framesDone: core.framesDone,
      frameCount: core.frameCount,
      deviceBytes: core.deviceBytes,
      hostBytes: core.hostBytes,
      createdAt: this.#createdAt,
      lastUsedAt: new Date(core.line.lastUsedAt),
      reason: core.line.failure?.message ?? null,
    };
  }

  /** Stops what runs and frees everything; what waits is rejected with `SESSION_CLOSED`. More than once does nothing. */
  async close(): Promise<void> {
    await this.closeBecause("The session was closed.");
  }

  /**
   * The same, with the reason that callers see; gives the bytes freed on the device.
   *
   * @internal
   */
  closeBecause(why: string): Promise<number> {
    this.#onClose();
    const reason = new Sam3Error("SESSION_CLOSED", `${why} Open another one with sam.video.open().`, {
      details: { session: this.id },
    });
    return this.#core.close(reason);
  }

  /** `close`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  [INSPECT](): string {
    const { state, objects, framesDone, replica } = this.status();
    const frames = this.info?.frameCount ? ` of ${this.info.frameCount}` : "";
    return `VideoSession { ${this.id}, ${state}, ${objects} object${objects === 1 ? "" : "s"}, ${framesDone}${frames} frames done, on ${replica} }`;
  }

  async *#propagate(
    options: PropagateOptions,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<FrameResult, void, undefined> {
    const { direction, startFrame, maxFrames, outputs, onProgress } = readPropagateOptions(options);
    const core = this.#core;
    core.line.assertUsable();
    if (!core.source) {
      throw new Sam3Error(
        "VIDEO_NOT_SEEKABLE",
        "A live session has no clip to go through. Track its frames with stream().",
      );
    }
    if (startFrame !== undefined) assertFrame(core, startFrame);
    const end = await core.line.beginPass(signal);
    try {
      if (core.prompts.size === 0 && core.tracks.size === 0) {
        throw new Sam3Error("INVALID_PROMPT", "There is nothing to track yet. Call addPrompt first.");
      }
      const { epoch } = core;
      const start = startFrame ?? earliestPrompt(core);
      const common = { count: maxFrames, signal, ahead: this.#settings.framesAhead };
      const backward = { next: start - 1, reverse: true };
      const total = countFrames(core, start, direction, maxFrames);
      let done = 0;
      const out = function* (frame: LeavingFrame) {
        yield* waiting(core, frameResult(core, frame, outputs));
        onProgress?.({ done: ++done, total, frame: frame.index });
      };
      if (direction !== "backward") {
        const later = direction === "both" ? [backward] : [];
        for await (const frame of runPass(core, { ...common, start, reverse: false, later }))
          yield* out(frame);
      }
      if (direction !== "forward" && core.epoch === epoch) {
        // Of both directions the first one has given the start frame out.
        const from = direction === "both" ? start - 1 : start;
        const count = maxFrames === null ? null : maxFrames - (start - from);
        const order = { ...common, count, start: from, reverse: true, later: [] };
        for await (const frame of runPass(core, order)) yield* out(frame);
      }
      const beyond = maxFrames === null || start + maxFrames > (core.frameCount ?? 0);
      if (core.epoch === epoch && direction !== "backward" && beyond) core.source.assertWhole();
    } finally {
      end();
    }
  }

  async *#stream(
    frames: AsyncIterable<LiveFrame>,
    options: StreamOptions,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<FrameResult, void, undefined> {
    const { outputs: wanted } = readOptions("stream", options, ["signal", "outputs"]);
    const outputs = readOutputs(wanted);
    const core = this.#core;
    core.line.assertUsable();
    if (core.source) {
      throw new Sam3Error(
        "UNSUPPORTED",
        "This session has a video; go through it with propagate(). For live frames open one without: sam.video.open().",
      );
    }
    const end = await core.line.beginPass(signal);
    const { controller, unlink } = linkSignals(signal, core.line.stopped);
    try {
      const { maxPixels, video } = this.#engine;
      const source = await openVideo(frames, {
        signal: controller.signal,
        maxPixels,
        stallTimeoutMs: video.videoStallTimeoutMs,
      });
      try {
        const { framesAhead: ahead, forgetAfterFrames: forgetAfter } = this.#settings;
        const order = { frames: source, signal, ahead, forgetAfter };
        for await (const frame of runLive(core, order))
          yield* waiting(core, frameResult(core, frame, outputs));
      } finally {
        await source.dispose();
      }
    } finally {
      unlink();
      end();
    }
  }

  #edit(
    operation: string,
    entry: (...args: never[]) => unknown,
    options: CallOptions,
    work: () => void,
  ): Promise<void> {
    return this.#engine.call(operation, entry, options, ({ signal }) =>
      this.#core.line.operate(signal, async () => work()),
    );
  }

  /** The frame a prompt is for; undefined for words in a live session that has no frame at hand. */
  #promptedFrame(prompt: VideoPrompt): number | undefined {
    const core = this.#core;
    const frame = prompt?.frame;
    if (core.source) {
      const index = frame ?? 0;
      assertFrame(core, index);
      return index;
    }
    const newest =
      core.newest !== undefined && core.features.has(core.newest.index) ? core.newest.index : undefined;
    if (frame === undefined) {
      if (newest === undefined && pointsAtFrame(prompt)) throw noFrameAtHand();
      return newest;
    }
    assertFrame(core, frame);
    if (frame === newest) return frame;
    throw new Sam3Error(
      "VIDEO_NOT_SEEKABLE",
      newest === undefined
        ? `Frame ${frame} cannot be prompted: a live session has no frame at hand before the next one has come. Words need none: leave frame out.`
        : `Frame ${frame} of a live session is not at hand; only the newest one (${newest}) can be prompted.`,
      { details: { frame } },
    );
  }

  #promptedSize(): { readonly width: number; readonly height: number } {
    const { width, height } = this.#core.size;
    // Before the first live frame there are no pixels to point at, and words need none.
    return width > 0 ? { width, height } : { width: 1, height: 1 };
  }
}

function countFrames(
  { frameCount }: SessionCore,
  start: number,
  direction: "forward" | "backward" | "both",
  maxFrames: number | null,
): number | null {
  const most = maxFrames ?? Number.POSITIVE_INFINITY;
  const before = Math.min(start + 1, most);
  if (direction === "backward") return before;
  if (frameCount === null) return null;
  const after = Math.min(frameCount - start, most);
  return direction === "both" ? after + before - 1 : after;
}

/** Gives a frame out, and says how long nobody asks for the next. */
function* waiting({ line }: SessionCore, frame: FrameResult): Generator<FrameResult, void, undefined> {
  line.passIsIdle(true);
  yield frame;
  line.passIsIdle(false);
}

/** Gives a generator's failures the code and the caller's stack that public calls have. */
async function* coded<T>(
  frames: AsyncGenerator<T, void, undefined>,
  signal: AbortSignal | undefined,
  caller: ReturnType<typeof captureCaller>,
): AsyncGenerator<T, void, undefined> {
  try {
    yield* frames;
  } catch (error) {
    if (signal?.aborted && error === signal.reason) throw error;
    throw toSam3Error(error, caller);
  }
}

function objectNotFound(id: unknown): Sam3Error {
  return new Sam3Error(
    "OBJECT_NOT_FOUND",
    `The session has no object ${String(id)}; session.objects lists them.`,
  );
}

/** Whether a prompt means places on a frame. */
function pointsAtFrame(prompt: VideoPrompt): boolean {
  if (typeof prompt !== "object" || prompt === null) return false;
  const { exemplars, object, points, box, mask } = prompt;
  return [exemplars, object, points, box, mask].some((given) => given !== undefined);
}

function noFrameAtHand(): Sam3Error {
  return new Sam3Error(
    "INVALID_PROMPT",
    "No frame has come yet that points, boxes or masks could be on. Words can be given before; the others once stream() has given a frame.",
  );
}

function clicksUnsupported(name: string): Sam3Error {
  return new Sam3Error(
    "UNSUPPORTED",
    `The model ${name} was made without training for points, boxes and masks. Prompt with text, or load a model with a trained tracker.`,
  );
}
