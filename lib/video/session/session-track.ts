import type { NativeTextFeatures } from "../../native/addon.js";
import { FrameSpans } from "./frame-spans.js";
import { disposeOnce } from "./handles.js";
import { TrackMemories } from "./track-memories.js";

/** What shows an object on one frame. */
export type ObjectInput =
  | {
      readonly kind: "points";
      /** As in `NativeTrackItem`; a box comes first, as its two corners. */
      readonly points: Float32Array;
      readonly labels: Int32Array;
      /** Asked of the frame alone: the object was not tracked to it before. */
      readonly alone: boolean;
    }
  | { readonly kind: "mask"; readonly counts: Uint32Array };

/** Where an object was born in a pass: in passes of that direction there is nothing of it before. */
export interface BornInPass {
  readonly frame: number;
  readonly reverse: boolean;
}

/** What a restored object went through before. */
export interface TrackPast {
  readonly lastSeen?: number;
  readonly late?: boolean;
  readonly tracked?: FrameSpans["spans"];
  readonly unconfirmed?: FrameSpans["spans"];
}

/** One object of a session. */
export class SessionTrack {
  readonly id: number;
  /** Number of the concept prompt that found it; null for an object of clicks. */
  readonly prompt: number | null;
  /** Score of the detection it was born from, 0–1; null for an object of clicks. */
  readonly score: number | null;
  /** The frame it was first seen on. */
  readonly firstFrame: number;
  /** Null where a prompt made it: then it is looked for on every frame. */
  readonly since: BornInPass | null;
  readonly memories = new TrackMemories();
  /** What the user showed, by frame. */
  readonly inputs = new Map<number, ObjectInput>();
  /** Frames it was tracked to, or born on: there a prompt corrects it, elsewhere it shows the object anew. */
  readonly tracked: FrameSpans;
  /** Frames it is shown on to nobody, because it was not confirmed in time; see the rule `confirmationFrames`. */
  readonly unconfirmed: FrameSpans;

  constructor(
    facts: Pick<SessionTrack, "id" | "prompt" | "score" | "firstFrame" | "since">,
    past: TrackPast = {},
  ) {
    this.id = facts.id;
    this.prompt = facts.prompt;
    this.score = facts.score;
    this.firstFrame = facts.firstFrame;
    this.since = facts.since;
    this.lastSeen = past.lastSeen ?? facts.firstFrame;
    this.late = past.late ?? false;
    this.tracked = new FrameSpans(past.tracked);
    this.unconfirmed = new FrameSpans(past.unconfirmed);
  }

  /** The newest frame it was seen on; only kept up in live sessions. */
  lastSeen: number;
  /** It was born on one frame after its concept had been computed on others. */
  late: boolean;

  /** Whether its results are made for itself, where those of its concept are known already. */
  get edited(): boolean {
    return this.late || this.inputs.size > 0;
  }

  /** Whether a pass looks for it on a frame. */
  isActive(frame: number, reverse: boolean): boolean {
    if (this.since === null || this.since.reverse !== reverse) return true;
    return reverse ? frame <= this.since.frame : frame >= this.since.frame;
  }

  /** Whether a detection on that frame made it, and nothing was shown of it there since. */
  isBornOn(frame: number): boolean {
    return this.prompt !== null && this.firstFrame === frame && !this.inputs.has(frame);
  }

  dispose(): void {
    this.memories.dispose();
  }
}

/** Exemplar boxes as the addon takes them. */
export interface FrameExemplars {
  readonly boxes: Float32Array;
  readonly labels: Uint8Array;
}

export const NO_EXEMPLARS: FrameExemplars = { boxes: new Float32Array(0), labels: new Uint8Array(0) };

/** One concept that is looked for. */
export class SessionPrompt {
  readonly id: number;
  /** What objects are called; the bundle's fallback text where the prompt has boxes only. */
  readonly text: string;
  readonly ids: Int32Array;
  /** False: boxes only, which detect on their own frames. */
  readonly everywhere: boolean;
  /** The earliest frame it was given on. */
  firstFrame: number;
  readonly exemplars = new Map<number, FrameExemplars>();
  #features: NativeTextFeatures | undefined;

  constructor(facts: Pick<SessionPrompt, "id" | "text" | "ids" | "everywhere" | "firstFrame">) {
    this.id = facts.id;
    this.firstFrame = facts.firstFrame;
    this.text = facts.text;
    this.ids = facts.ids;
    this.everywhere = facts.everywhere;
  }

  /** Whether it is looked for on a frame, or only tracked to it. */
  detectsOn(frame: number): boolean {
    return this.everywhere || this.exemplars.has(frame);
  }

  /** Bytes on the device. */
  get bytes(): number {
    return this.#features?.bytes ?? 0;
  }

  /** Its text's features, made when they are first needed. */
  async features(encode: (ids: Int32Array) => Promise<NativeTextFeatures>): Promise<NativeTextFeatures> {
    this.#features ??= await encode(this.ids);
    return this.#features;
  }

  dispose(): void {
    if (this.#features) disposeOnce(this.#features);
    this.#features = undefined;
  }
}
