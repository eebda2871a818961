import { linkSignals, throwIfAborted } from "../../abort.js";
import type { SessionPlace } from "../../devices/device-pool.js";
import { Sam3Error } from "../../errors.js";
import { Gate } from "../../gate.js";
import type { NativeFeatures } from "../../native/addon.js";
import type { VideoRules } from "../rules/options.js";
import type { Pass } from "../rules/prune-memories.js";
import { EMPTY_STATE, removeTracks, settleTracks, takeId, type VideoState } from "../rules/state.js";
import type { VideoFrame, VideoSource } from "../sources/video-source.js";
import { FrameFeatures } from "./frame-features.js";
import { computeFrame, type FrameOutcome } from "./frame-step.js";
import { disposeOnce, Handles } from "./handles.js";
import { type FrameEntry, ResultStore, type StoredObject } from "./result-store.js";
import { AS_PROMPTED, handlesOf, seededRows } from "./seeded.js";
import { type FrameExemplars, type ObjectInput, SessionPrompt, SessionTrack } from "./session-track.js";
import type { TrackMemory } from "./track-memories.js";
import { TrackerCalls } from "./tracker-calls.js";

/** How much a session may hold, in bytes. */
export interface SessionBudgets {
  /** Run lengths of finished frames, in main memory. */
  readonly resultBytes: number;
  /** Features of frames that were prompted, on the device. */
  readonly featureBytes: number;
  /** What objects remember, on the device; the rest of it goes to main memory. */
  readonly deviceBytes: number;
}

export interface CoreParts {
  readonly place: SessionPlace;
  /** Null for a session whose frames come live. */
  readonly source: VideoSource | null;
  readonly rules: VideoRules;
  readonly budgets: SessionBudgets;
  /** Whether a correction on a frame that was tracked before becomes a conditioning frame. */
  readonly correctionsCondition: boolean;
}

/** A pass that is under way. */
export interface RunningPass {
  /** Of frames encoded ahead. */
  readonly deviceBytes: number;
  /** Stops it and frees what was read ahead. */
  close(): Promise<void>;
}

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

/** A frame that was computed, or was known. */
export interface StepResult {
  readonly entry: FrameEntry;
  /** Ids that were taken back. */
  readonly removed: readonly number[];
}

/** Corrections take the place of what the detector taught within so many frames. SAM 3: 16. */
const CORRECTION_REACH = 16;

/**
 * Everything a session knows and holds. Operations run one after the other, in the order they came; each either succeeds
 * or leaves the session as it was.
 */
export class SessionCore {
  readonly rules: VideoRules;
  readonly place: SessionPlace;
  readonly source: VideoSource | null;
  readonly budgets: SessionBudgets;
  readonly results: ResultStore;
  readonly features: FrameFeatures;
  readonly prompts = new Map<number, SessionPrompt>();
  readonly tracks = new Map<number, SessionTrack>();
  readonly correctionsCondition: boolean;
  state: VideoState = EMPTY_STATE;
  nextPrompt = 0;
  /** Frames computed so far, those computed again counted again. */
  framesDone = 0;
  lastUsedAt = Date.now();
  /** Direction of the last pass; null before the first one. */
  reverse: boolean | null = null;
  /** Pixels of every frame; of a live session once the first one has come. */
  size: { readonly width: number; readonly height: number };
  /** The newest frame of a live session. */
  newest: { readonly index: number; readonly time: number } | undefined;
  /** What must be closed before the session is. */
  readonly running = new Set<RunningPass>();
  readonly #line = new Gate({ atOnce: 1 });
  readonly #passes = new Gate({ atOnce: 1 });
  readonly #stop = new AbortController();
  #working = 0;
  #failure: Sam3Error | undefined;
  #closing: Promise<number> | undefined;

  constructor(parts: CoreParts) {
    this.place = parts.place;
    this.source = parts.source;
    this.rules = parts.rules;
    this.budgets = parts.budgets;
    this.correctionsCondition = parts.correctionsCondition;
    this.size = parts.source?.info ?? { width: 0, height: 0 };
    this.results = new ResultStore(parts.budgets.resultBytes);
    this.features = new FrameFeatures(parts.budgets.featureBytes);
  }

  /** `error`: its device failed, and with it what the session held there. */
  get condition(): "ready" | "processing" | "error" | "closed" {
    if (this.#closing) return "closed";
    if (this.#failure) return "error";
    return this.#working > 0 ? "processing" : "ready";
  }

  /** Why it is in `error`. */
  get failure(): Sam3Error | undefined {
    return this.#failure;
  }

  /** Aborted when the session is closed; its reason is the error to throw. */
  get stopped(): AbortSignal {
    return this.#stop.signal;
  }

  /** Frames of the video; null where that is not known. */
  get frameCount(): number | null {
    return this.source?.info.frameCount ?? null;
  }

  /** Bytes on the device: memories, features of frames, those encoded ahead among them, and of texts. */
  get deviceBytes(): number {
    let bytes = this.features.bytes;
    for (const pass of this.running) bytes += pass.deviceBytes;
    for (const prompt of this.prompts.values()) bytes += prompt.bytes;
    return bytes + this.#memoryBytes("device");
  }

  /** Bytes in main memory: results, and memories that were moved there. */
  get hostBytes(): number {
    return this.results.bytes + this.#memoryBytes("host");
  }

  /** Throws why the session cannot be used. */
  assertUsable(): void {
    throwIfAborted(this.#stop.signal);
    if (this.#failure) throw this.#failure;
  }

  /** Runs an operation when its turn comes; the signal ends it in line or at work. */
  async operate<T>(signal: AbortSignal | undefined, work: (calls: TrackerCalls) => Promise<T>): Promise<T> {
    this.assertUsable();
    const { controller, unlink } = linkSignals(signal, this.#stop.signal);
    try {
      return await this.#line.pass(controller.signal, async () => {
        this.assertUsable();
        this.#working++;
        try {
          return await work(new TrackerCalls(this.place.replica, controller.signal));
        } catch (error) {
          throw this.#judge(error);
        } finally {
          this.#working--;
          this.lastUsedAt = Date.now();
        }
      });
    } finally {
      unlink();
    }
  }

  /** Waits until no pass over the clip is under way; the answer ends the own one. */
  async beginPass(signal: AbortSignal | undefined): Promise<() => void> {
    this.assertUsable();
    let end = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const { controller, unlink } = linkSignals(signal, this.#stop.signal);
    try {
      await new Promise<void>((resolve, reject) => {
        this.#passes
          .pass(controller.signal, () => {
            resolve();
            return ended;
          })
          .catch(reject);
      });
    } finally {
      unlink();
    }
    return end;
  }

  /** What of a frame is not known yet. */
  todo(frame: number, reverse: boolean): Todo {
    const entry = this.results.get(frame);
    const prompts = [...this.prompts.values()].filter(
      (prompt) =>
        !entry?.prompts.has(prompt.id) &&
        (prompt.detectsOn(frame) ||
          this.#tracksOf(prompt.id).some((track) => track.isActive(frame, reverse))),
    );
    const whole = new Set(prompts.map(({ id }) => id));
    const objects = [...this.tracks.values()].filter(
      (track) =>
        track.edited &&
        !entry?.own.has(track.id) &&
        (track.prompt === null || !whole.has(track.prompt)) &&
        track.isActive(frame, reverse),
    );
    return { prompts, objects };
  }

  /** Computes what is to do of a frame and takes it into the session. */
  async step(
    calls: TrackerCalls,
    frame: { readonly index: number; readonly time: number; readonly features: NativeFeatures },
    todo: Todo,
    mode: StepMode,
  ): Promise<StepResult> {
    const whole = new Set(todo.prompts.map(({ id }) => id));
    const mine = this.state.tracks.filter(
      ({ id, prompt }) => whole.has(prompt) && this.tracks.get(id)?.isActive(frame.index, mode.reverse),
    );
    const tracks = mine.flatMap(({ id }) => this.tracks.get(id) ?? []);
    if (!mode.streaming) {
      const continued = todo.objects.filter((track) => !standsAlone(track.inputs.get(frame.index)));
      await this.#recall(calls, [...tracks, ...continued], frame.index, mode.reverse);
    }
    const clicked = [...this.tracks.values()].filter(({ prompt }) => prompt === null);
    const outcome = await computeFrame(calls, {
      frame: frame.index,
      features: frame.features,
      reverse: mode.reverse,
      streaming: mode.streaming,
      clipLength: mode.streaming ? null : this.frameCount,
      rules: this.rules,
      prompts: todo.prompts,
      tracks,
      objects: todo.objects,
      state: { nextId: this.state.nextId, tracks: mine },
      clickedObjects: clicked.length + this.state.tracks.length - mine.length,
    });
    const done = this.#commit(frame, todo, mode, tracks, outcome);
    // What cannot be moved stays where it is; a device that failed shows itself in the next call.
    await this.#offload(calls).catch(() => {});
    return done;
  }

  /** Features of a frame that was asked for out of order: kept ones, or made anew. They are the caller's. */
  async featuresOf(calls: TrackerCalls, index: number): Promise<TimedFeatures> {
    const time =
      this.results.get(index)?.time ?? (this.newest?.index === index ? this.newest.time : undefined);
    const kept = this.features.take(index);
    if (kept && time !== undefined) return { index, time, features: kept };
    if (kept) disposeOnce(kept);
    const frame = await this.read(index, calls.signal);
    return { index, time: frame.time, features: await calls.encode(frame.pixels) };
  }

  /** One frame of the source. */
  read(index: number, signal: AbortSignal): Promise<VideoFrame> {
    if (!this.source) {
      throw new Sam3Error(
        "VIDEO_NOT_SEEKABLE",
        `Frame ${index} of a live session is gone; only the newest one${this.newest ? ` (${this.newest.index})` : ""} can be prompted.`,
      );
    }
    return this.source.frame(index, signal);
  }

  /** Adds a concept, or examples of one that is known. */
  addPrompt(
    given: { readonly text: string; readonly ids: Int32Array; readonly everywhere: boolean },
    frame: number | undefined,
    exemplars: FrameExemplars | undefined,
  ): { readonly prompt: SessionPrompt; readonly undo: () => void } {
    const known = [...this.prompts.values()].find(
      ({ text, everywhere }) => everywhere === given.everywhere && text === given.text && everywhere,
    );
    const prompt = known ?? new SessionPrompt({ id: this.nextPrompt++, firstFrame: frame ?? 0, ...given });
    this.prompts.set(prompt.id, prompt);
    const before = frame === undefined ? undefined : prompt.exemplars.get(frame);
    if (frame !== undefined && exemplars) {
      prompt.exemplars.set(frame, exemplars);
      this.results.forgetPrompt(prompt.id, frame);
    }
    const undo = () => {
      if (!known) {
        this.prompts.delete(prompt.id);
        if (this.nextPrompt === prompt.id + 1) this.nextPrompt = prompt.id;
        prompt.dispose();
      } else if (frame !== undefined && before) prompt.exemplars.set(frame, before);
      else if (frame !== undefined) prompt.exemplars.delete(frame);
    };
    return { prompt, undo };
  }

  /** Adds an object of clicks that nothing is known of yet. */
  addObject(frame: number): { readonly track: SessionTrack; readonly undo: () => void } {
    const before = this.state;
    const { id, state } = takeId(this.state);
    const track = new SessionTrack({ id, prompt: null, score: null, firstFrame: frame, since: null });
    this.state = state;
    this.tracks.set(id, track);
    const undo = () => {
      track.dispose();
      this.tracks.delete(id);
      if (this.state === state) this.state = before;
    };
    return { track, undo };
  }

  /** Takes what the user showed of an object on a frame. Its results elsewhere are to be made anew. */
  correct(track: SessionTrack, frame: number, input: ObjectInput): { readonly undo: () => void } {
    const before = track.inputs.get(frame);
    track.inputs.set(frame, input);
    return {
      undo: () => {
        if (before) track.inputs.set(frame, before);
        else track.inputs.delete(frame);
      },
    };
  }

  /** Forgets what an object's correction on a frame has made old. */
  outdate(track: SessionTrack, frame: number): void {
    const now = this.results.get(frame)?.objects.get(track.id);
    this.results.forgetObject(track.id);
    const entry = this.results.get(frame);
    if (entry && now) {
      entry.objects.set(track.id, now);
      entry.own.add(track.id);
      this.results.put(entry);
    }
    if (track.prompt === null) return;
    for (const [index, { conditioning }] of [...track.memories.entries()]) {
      const near = index !== frame && Math.abs(index - frame) <= CORRECTION_REACH;
      if (conditioning && near && !track.inputs.has(index)) track.memories.delete(index);
    }
    this.state = settleTracks(this.state, [track.id]);
  }

  /** Removes an object on all frames. */
  removeObject(id: number): void {
    this.tracks.get(id)?.dispose();
    this.tracks.delete(id);
    this.state = removeTracks(this.state, [id]);
    this.results.forgetObject(id);
  }

  /** Forgets objects of concepts that were not seen for so many live frames; gives their ids. */
  forgetUnseen(frame: number, objects: ReadonlyMap<number, StoredObject>, after: number): number[] {
    const gone: number[] = [];
    for (const track of this.tracks.values()) {
      if ((objects.get(track.id)?.area ?? 0) > 0) track.lastSeen = frame;
      else if (track.prompt !== null && after > 0 && frame - track.lastSeen >= after) gone.push(track.id);
    }
    for (const id of gone) this.removeObject(id);
    return gone;
  }

  /** Forgets prompts, objects and results; ids are not used again. */
  clear(): void {
    for (const track of this.tracks.values()) track.dispose();
    for (const prompt of this.prompts.values()) prompt.dispose();
    this.tracks.clear();
    this.prompts.clear();
    this.results.clear();
    this.state = { ...EMPTY_STATE, nextId: this.state.nextId };
  }

  /** Begins as if nothing had been: ids count from 0 again. */
  reset(): void {
    this.clear();
    this.features.dispose();
    this.state = EMPTY_STATE;
    this.nextPrompt = 0;
    this.framesDone = 0;
    this.reverse = null;
  }

  /** What was given out before time turned stays. */
  turn(reverse: boolean): void {
    if (this.reverse !== null && this.reverse !== reverse) {
      this.state = settleTracks(
        this.state,
        this.state.tracks.map(({ id }) => id),
      );
    }
    this.reverse = reverse;
  }

  /** Stops what runs, frees everything; gives the bytes that were freed on the device. Idempotent. */
  close(reason: Sam3Error): Promise<number> {
    this.#closing ??= this.#close(reason);
    return this.#closing;
  }

  async #close(reason: Sam3Error): Promise<number> {
    this.#stop.abort(reason);
    await Promise.allSettled([...this.running].map((pass) => pass.close()));
    // What runs holds handles: it must have ended.
    await this.#line.pass(undefined, async () => {});
    const bytes = this.deviceBytes;
    this.clear();
    this.features.dispose();
    this.place.release();
    await this.source?.dispose();
    return bytes;
  }

  #commit(
    { index, time }: { readonly index: number; readonly time: number },
    todo: Todo,
    mode: StepMode,
    tracks: readonly SessionTrack[],
    outcome: FrameOutcome,
  ): StepResult {
    const { plan } = outcome;
    const computed = new Set(outcome.state.tracks.map(({ id }) => id));
    const removed = new Set(plan.removed);
    const others = this.state.tracks.filter(
      ({ id }) => !computed.has(id) && !removed.has(id) && !tracks.some((track) => track.id === id),
    );
    this.state = {
      nextId: outcome.state.nextId,
      tracks: [...others, ...outcome.state.tracks].sort((a, b) => a.id - b.id),
    };
    for (const [track, memory] of outcome.memories)
      track.memories.set(index, this.#kept(track, index, memory));
    for (const { id, prompt, score } of plan.born) {
      const since = mode.prompted ? null : { frame: index, reverse: mode.reverse };
      const track = new SessionTrack({ id, prompt, score, firstFrame: index, since });
      const memory = outcome.births.get(id);
      if (memory) track.memories.set(index, memory);
      track.late = mode.prompted && this.#isKnownElsewhere(prompt, index);
      this.tracks.set(id, track);
      // Nothing will find it again, so nothing can hold against it that it is not found.
      if (this.prompts.get(prompt)?.everywhere === false) this.state = settleTracks(this.state, [id]);
    }
    for (const id of plan.removed) this.removeObject(id);
    const entry = this.results.get(index) ?? {
      index,
      time,
      prompts: new Set<number>(),
      own: new Set<number>(),
      objects: new Map(),
    };
    for (const { id } of todo.prompts) entry.prompts.add(id);
    for (const track of [...tracks, ...todo.objects]) {
      if (track.edited && !removed.has(track.id)) entry.own.add(track.id);
      entry.objects.delete(track.id);
    }
    for (const [id, object] of outcome.results) entry.objects.set(id, object);
    if (!mode.streaming) this.results.put(entry);
    for (const track of [
      ...tracks,
      ...todo.objects,
      ...plan.born.flatMap(({ id }) => this.tracks.get(id) ?? []),
    ])
      track.memories.prune(this.rules, mode.passes);
    this.framesDone++;
    return { entry, removed: plan.removed };
  }

  /** A correction may be remembered as any other frame is. */
  #kept(track: SessionTrack, frame: number, memory: TrackMemory): TrackMemory {
    const input = track.inputs.get(frame);
    if (!input || input.kind === "mask" || input.alone || this.correctionsCondition) return memory;
    return { ...memory, conditioning: track.memories.get(frame)?.conditioning ?? false };
  }

  /**
   * Gives objects back what they remember of the frame before, where it was dropped and its result is known: passes that
   * begin anywhere, and edits of old frames, then have something near to go by.
   */
  async #recall(
    calls: TrackerCalls,
    tracks: readonly SessionTrack[],
    frame: number,
    reverse: boolean,
  ): Promise<void> {
    const before = reverse ? frame + 1 : frame - 1;
    const entry = this.results.get(before);
    if (!entry) return;
    const lost = tracks.filter(
      (track) => track.memories.get(before) === undefined && (entry.objects.get(track.id)?.area ?? 0) > 0,
    );
    if (lost.length === 0) return;
    const scope = new Handles();
    try {
      const { features } = await this.featuresOf(calls, before);
      scope.add(features);
      const items = lost.map(({ id }) => ({
        counts: entry.objects.get(id)?.counts ?? new Uint32Array(0),
      }));
      const seeded = await calls.seed({ features, items });
      scope.addAll(handlesOf(seeded));
      const made = await calls.remember({ features, rows: seededRows(seeded), ...AS_PROMPTED });
      lost.forEach((track, i) => {
        const memory = made[i];
        if (memory) track.memories.set(before, { memory, conditioning: false, effectiveIou: 1 });
      });
    } finally {
      scope.dispose();
    }
  }

  /** Moves what was remembered longest ago to main memory, where the device's budget is passed. */
  async #offload(calls: TrackerCalls): Promise<void> {
    let over = this.#memoryBytes("device") - this.budgets.deviceBytes;
    if (over <= 0 || this.place.replica.device?.id === "cpu") return;
    const oldest = [...this.tracks.values()]
      .flatMap((track) =>
        [...track.memories.entries()].map(([frame, { memory }]) => ({ track, frame, memory })),
      )
      .filter(({ memory }) => memory.tier === "device")
      .sort((a, b) => a.frame - b.frame);
    const moving: typeof oldest = [];
    for (const one of this.reverse ? oldest.reverse() : oldest) {
      if (over <= 0) break;
      moving.push(one);
      over -= one.memory.bytes;
    }
    const moved = await calls.move(
      moving.map(({ memory }) => memory),
      "host",
    );
    moving.forEach(({ track, frame, memory }, i) => {
      const there = moved[i];
      if (there) track.memories.replace(frame, memory, there);
    });
  }

  #isKnownElsewhere(prompt: number, frame: number): boolean {
    for (const entry of this.results.entries())
      if (entry.index !== frame && entry.prompts.has(prompt)) return true;
    return false;
  }

  #tracksOf(prompt: number): SessionTrack[] {
    return [...this.tracks.values()].filter((track) => track.prompt === prompt);
  }

  #memoryBytes(tier: "host" | "device"): number {
    let bytes = 0;
    for (const track of this.tracks.values()) {
      for (const [, { memory }] of track.memories.entries()) if (memory.tier === tier) bytes += memory.bytes;
    }
    return bytes;
  }

  /** A failure of the device ends the session; any other failure is the operation's alone. */
  #judge(error: unknown): unknown {
    if (this.#stop.signal.aborted) return this.#stop.signal.reason;
    const fault = this.place.replica.state === "faulted" ? this.place.replica.reason : undefined;
    if (fault) this.#failure ??= fault;
    return this.#failure ?? error;
  }
}

function standsAlone(input: ObjectInput | undefined): boolean {
  return input !== undefined && (input.kind === "mask" || input.alone);
}

/** Features of a frame. */
export interface TimedFeatures {
  readonly index: number;
  readonly time: number;
  readonly features: NativeFeatures;
}
