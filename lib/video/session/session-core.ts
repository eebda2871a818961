import type { SessionPlace } from "../../devices/device-pool.js";
import { Sam3Error } from "../../errors.js";
import type { VideoRules } from "../rules/options.js";
import {
  EMPTY_STATE,
  removeTracks,
  settleTracks,
  takeId,
  type VideoState,
  vouchFor,
} from "../rules/state.js";
import type { VideoFrame, VideoSource } from "../sources/video-source.js";
import { FrameFeatures } from "./frame-features.js";
import { ResultStore, type StoredObject } from "./result-store.js";
import { SessionLine } from "./session-line.js";
import { type FrameExemplars, type ObjectInput, SessionPrompt, SessionTrack } from "./session-track.js";

/** A concept as it was asked for. */
export interface GivenConcept {
  /** Its number, where it is one that is known. */
  readonly concept: number | undefined;
  readonly text: string;
  readonly ids: Int32Array;
  /** False: boxes only, which detect on their own frames. */
  readonly everywhere: boolean;
  /** Examples on the frame, together with those before. */
  exemplars(before: FrameExemplars | undefined): FrameExemplars | undefined;
}

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

/** Of a live session that has seen no frame. */
const NO_SIZE = { width: 0, height: 0 };

/** Everything a session knows and holds. An operation on it either succeeds or leaves it as it was. */
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
  /** Direction of the last pass; null before the first one. */
  reverse: boolean | null = null;
  /** Pixels of every frame; of a live session once the first one has come. */
  size: { readonly width: number; readonly height: number };
  /** The newest frame of a live session. */
  newest: { readonly index: number; readonly time: number } | undefined;
  /** Goes up with every `reset`: what was computed before means nothing after it. */
  epoch = 0;
  readonly line: SessionLine;
  #closing: Promise<number> | undefined;

  constructor(parts: CoreParts) {
    this.place = parts.place;
    this.line = new SessionLine(parts.place.replica);
    this.source = parts.source;
    this.rules = parts.rules;
    this.budgets = parts.budgets;
    this.correctionsCondition = parts.correctionsCondition;
    this.size = parts.source?.info ?? NO_SIZE;
    this.results = new ResultStore(parts.budgets.resultBytes);
    this.features = new FrameFeatures(parts.budgets.featureBytes);
  }

  /** Frames of the video; null where that is not known. */
  get frameCount(): number | null {
    return this.source?.info.frameCount ?? null;
  }

  /** Bytes on the device: memories, features of frames, those encoded ahead among them, and of texts. */
  get deviceBytes(): number {
    let bytes = this.features.bytes;
    for (const pass of this.line.running) bytes += pass.deviceBytes;
    for (const prompt of this.prompts.values()) bytes += prompt.bytes;
    return bytes + this.memoryBytes("device");
  }

  /** Bytes in main memory: results, and memories that were moved there. */
  get hostBytes(): number {
    return this.results.bytes + this.memoryBytes("host");
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

  /**
   * The concept a prompt is for, if it is known: by its number, or by its text.
   *
   * @throws {Sam3Error} `INVALID_PROMPT` for a number that no concept has
   */
  #knownPrompt({ concept, text, everywhere }: GivenConcept): SessionPrompt | undefined {
    if (concept === undefined) {
      const isSame = (prompt: SessionPrompt) => prompt.everywhere && prompt.text === text;
      return everywhere ? [...this.prompts.values()].find(isSame) : undefined;
    }
    const known = this.prompts.get(concept);
    if (known) return known;
    throw new Sam3Error(
      "INVALID_PROMPT",
      `The session has no concept ${concept}; session.prompts lists them. Leave prompt out for a new one.`,
    );
  }

  /** Adds a concept, or examples of one that is known; says whether it had been computed on the frame without them. */
  addPrompt(
    given: GivenConcept,
    frame: number | undefined,
  ): { readonly prompt: SessionPrompt; readonly wasComputed: boolean; readonly undo: () => void } {
    const known = this.#knownPrompt(given);
    const before = frame === undefined ? undefined : known?.exemplars.get(frame);
    const exemplars = given.exemplars(before);
    const { text, everywhere, ids } = given;
    const prompt =
      known ?? new SessionPrompt({ id: this.nextPrompt++, firstFrame: frame ?? 0, text, everywhere, ids });
    this.prompts.set(prompt.id, prompt);
    const { firstFrame } = prompt;
    let wasComputed = false;
    if (frame !== undefined) {
      prompt.firstFrame = Math.min(firstFrame, frame);
      if (exemplars) prompt.exemplars.set(frame, exemplars);
      else prompt.exemplars.delete(frame);
      if (exemplars !== before) wasComputed = this.results.forgetPrompt(prompt.id, frame);
    }
    const undo = () => {
      if (!known) {
        this.prompts.delete(prompt.id);
        if (this.nextPrompt === prompt.id + 1) this.nextPrompt = prompt.id;
        prompt.dispose();
        return;
      }
      if (frame === undefined) return;
      prompt.firstFrame = firstFrame;
      if (before) prompt.exemplars.set(frame, before);
      else prompt.exemplars.delete(frame);
      if (wasComputed) this.results.get(frame)?.prompts.add(prompt.id);
    };
    return { prompt, wasComputed, undo };
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
      const near = index !== frame && Math.abs(index - frame) <= this.rules.correctionReach;
      if (conditioning && near && !track.inputs.has(index)) track.memories.delete(index);
    }
    this.state = vouchFor(this.state, [track.id]);
  }

  /** Removes an object on all frames. */
  removeObject(id: number): void {
    this.tracks.get(id)?.dispose();
    this.tracks.delete(id);
    this.state = removeTracks(this.state, [id]);
    this.results.forgetObject(id);
  }

  /** Whether an object is confirmed on a frame, as far as that is asked for. */
  isConfirmed(id: number, frame: number): boolean {
    const track = this.tracks.get(id);
    if (this.rules.confirmationFrames <= 1 || track?.prompt === null) return true;
    const now = this.state.tracks.find((one) => one.id === id);
    return now?.confirmed === true && track?.unconfirmed.has(frame) !== true;
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
    this.epoch++;
    this.features.dispose();
    this.state = EMPTY_STATE;
    this.nextPrompt = 0;
    this.framesDone = 0;
    this.reverse = null;
    if (this.source) return;
    this.newest = undefined;
    this.size = NO_SIZE;
  }

  /** What was given out is not taken back any more, whatever later passes and prompts find. */
  giveOut(ids: readonly number[]): void {
    const young = this.state.tracks.filter(({ id, settled }) => !settled && ids.includes(id));
    if (young.length === 0) return;
    this.state = settleTracks(
      this.state,
      young.map(({ id }) => id),
    );
  }

  /** What was computed before time turned stays. */
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
    // With what passes have encoded ahead, which ends with them.
    const bytes = this.deviceBytes;
    await this.line.close(reason);
    this.clear();
    this.features.dispose();
    this.place.release();
    await this.source?.dispose();
    return bytes;
  }

  /** Bytes of what objects remember, in one place. */
  memoryBytes(tier: "host" | "device"): number {
    let bytes = 0;
    for (const track of this.tracks.values()) {
      for (const [, { memory }] of track.memories.entries()) if (memory.tier === tier) bytes += memory.bytes;
    }
    return bytes;
  }
}
