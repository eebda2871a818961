import { z } from "zod";
import { CALL_OPTIONS, type CallOptions } from "../call.js";
import { describe, issuesInOneLine } from "../describe.js";
import type { Engine } from "../devices/engine.js";
import { Sam3Error } from "../errors.js";
import { readOptions } from "../read-options.js";
import { DEFAULT_VIDEO_RULES, type VideoRules, videoRules } from "./rules/options.js";
import type { OutputChoice } from "./session/leaving-frame.js";
import type { SessionBudgets } from "./session/session-core.js";
import type { VideoSourceOptions } from "./sources/video-source.js";

/** How a session is opened; everything is optional. */
export interface SessionOptions extends CallOptions, Pick<VideoSourceOptions, "decoder" | "ffmpeg" | "fps"> {
  /** Names the session for `sam.video.get`; one is made up when left out. */
  readonly id?: string | undefined;
  /** Where it lives: the name of a replica (`cuda:0/1`) or of a device (`cuda:1`); the one with the fewest sessions when left out. */
  readonly device?: string | undefined;
  /** Whether objects are decided with hindsight; the setting `temporalDisambiguation` when left out. */
  readonly temporalDisambiguation?: boolean | undefined;
  /** Numbers of the algorithm that shall be others than SAM 3's. */
  readonly rules?: Partial<VideoRules> | undefined;
  /** Most bytes of finished results in main memory; what is over is computed again when asked for. 256 MB when left out. */
  readonly maxResultBytes?: number | undefined;
  /** Most bytes of features on the device for further prompts on the same frame. 256 MB when left out. */
  readonly maxFeatureBytes?: number | undefined;
  /** Most bytes on the device of what objects remember; the rest waits in main memory. 1 GB when left out. */
  readonly maxMemoryBytes?: number | undefined;
  /** Most frames that are encoded ahead of the one that is tracked, 1–16; 2 when left out. Each holds features. */
  readonly framesAhead?: number | undefined;
  /**
   * Whether a frame that was tracked before becomes a conditioning frame when an object is corrected on it, so that the
   * correction stays in memory however far away. True when left out; transformers forgets it after some frames.
   */
  readonly correctionsCondition?: boolean | undefined;
  /**
   * Live frames after which an instance of a concept that is not seen any more is forgotten, so that a stream without an
   * end holds no more than what is there; should it come back it is a new object. 900 when left out; 0 = never.
   */
  readonly forgetAfterFrames?: number | undefined;
  /** Whether a bundle whose tracker was not trained for video may be used all the same. False when left out. */
  readonly allowUntrained?: boolean | undefined;
}

/** How a session is restored; rules and what belongs to them come from the file. */
export type RestoreOptions = Omit<
  SessionOptions,
  "rules" | "temporalDisambiguation" | "correctionsCondition"
>;

/** How a clip is gone through; everything is optional. */
export interface PropagateOptions {
  /** `"both"`: from the start frame to the end, then from the one before it to the beginning. `"forward"` when left out. */
  readonly direction?: "forward" | "backward" | "both" | undefined;
  /** The earliest frame with a prompt when left out. */
  readonly startFrame?: number | undefined;
  /** Most frames in each direction, the start frame counted; all when left out. */
  readonly maxFrames?: number | undefined;
  /** Stops it; the iteration then throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** What of each frame is given out; everything that is to be seen when left out. */
  readonly outputs?: OutputOptions | undefined;
  /** Called after each frame that is given out. */
  readonly onProgress?: ((progress: PropagateProgress) => void) | undefined;
}

/** What of a frame is given out. */
export interface OutputOptions {
  /** Ids of the objects that are wanted; all when left out. */
  readonly objects?: readonly number[] | undefined;
  /** Numbers of the concept prompts that are wanted; all when left out. */
  readonly prompts?: readonly number[] | undefined;
  /** Whether objects that are not to be seen on a frame are listed too, with empty masks. */
  readonly empty?: boolean | undefined;
}

/** How far a pass has come. */
export interface PropagateProgress {
  /** Frames given out. */
  readonly done: number;
  /** Frames there will be; null where that is not known. */
  readonly total: number | null;
  /** Index of the frame that was given out. */
  readonly frame: number;
}

/** How live frames are tracked. */
export type StreamOptions = Pick<PropagateOptions, "signal" | "outputs">;

const MB = 2 ** 20;
const bytes = z.number().min(0);
const share = z.number().min(0).max(1);
const count = z.int().min(0);
const schema = z.strictObject({
  id: z.string().min(1).max(200).optional(),
  device: z.string().min(1).max(200).optional(),
  temporalDisambiguation: z.boolean().optional(),
  rules: z
    .strictObject({
      scoreThreshold: share,
      detectionOverlap: share,
      associationIou: share,
      matchedIou: share,
      newObjectScore: share,
      boundaryMargin: z.number().min(0).max(0.5),
      confirmationFrames: count.max(1024),
      hotstartDelay: count.max(1024),
      hotstartUnmatched: count.max(1024),
      hotstartDuplicate: count.max(1024),
      suppressUnmatchedOnlyWithinHotstart: z.boolean(),
      keepAliveInitial: z.int(),
      keepAliveMax: z.int(),
      keepAliveMin: z.int(),
      decreaseKeepAliveForEmpty: z.boolean(),
      recentOcclusionIou: share,
      holeArea: count.max(1_000_000),
      leastKeptArea: share,
      maxObjects: z.int().min(1).max(1_000_000),
      reconditionEvery: count,
      reconditionScore: share,
      reconditionIou: share,
      reconditionOnTrackMasks: z.boolean(),
      correctionReach: count.max(100_000_000),
      maxPoints: count.max(256),
      memorySelection: z.boolean(),
      memorySelectionThreshold: share,
      memories: z.int().min(1).max(64),
      maxConditioningFrames: z.int().min(2).max(64),
      maxObjectPointers: z.int().min(1).max(256),
    } satisfies Record<keyof VideoRules, z.ZodType>)
    .partial()
    .optional(),
  maxResultBytes: bytes.default(256 * MB),
  maxFeatureBytes: bytes.default(256 * MB),
  maxMemoryBytes: bytes.default(1024 * MB),
  framesAhead: z.int().min(1).max(16).default(2),
  correctionsCondition: z.boolean().default(true),
  forgetAfterFrames: count.max(100_000_000).default(900),
  allowUntrained: z.boolean().default(false),
});

/** Options of a session with their defaults. */
export interface SessionSettings {
  readonly id: string | undefined;
  readonly device: string | undefined;
  readonly rules: VideoRules;
  readonly budgets: SessionBudgets;
  readonly framesAhead: number;
  readonly correctionsCondition: boolean;
  readonly forgetAfterFrames: number;
  readonly allowUntrained: boolean;
  readonly source: Pick<VideoSourceOptions, "decoder" | "ffmpeg" | "fps">;
}

const SOURCE_NAMES = ["decoder", "ffmpeg", "fps"] as const;
const NAMES = [...Object.keys(schema.shape), ...SOURCE_NAMES, ...CALL_OPTIONS];

/**
 * Reads what was given to `sam.video.open`.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT`
 */
export function readSessionOptions(
  method: string,
  options: SessionOptions,
  { manifest, video }: Pick<Engine, "manifest" | "video">,
): SessionSettings {
  const {
    decoder,
    ffmpeg,
    fps,
    signal: _,
    timeoutMs: __,
    requestId: ___,
    ...own
  } = readOptions(method, options, NAMES);
  const read = schema.safeParse(own);
  if (!read.success) {
    throw new Sam3Error("INVALID_ARGUMENT", `${method}: ${issuesInOneLine(read.error)}.`, {
      cause: read.error,
    });
  }
  const given = read.data;
  const rules = videoRules({
    tracker: manifest.tracker,
    temporalDisambiguation: given.temporalDisambiguation ?? video.temporalDisambiguation,
    // What is undefined was not given.
    overrides: Object.fromEntries(
      Object.entries(given.rules ?? {}).filter(([, value]) => value !== undefined),
    ) as Partial<VideoRules>,
  });
  checkHotstart(method, rules);
  return {
    id: given.id,
    device: given.device,
    rules,
    budgets: {
      resultBytes: given.maxResultBytes,
      featureBytes: given.maxFeatureBytes,
      deviceBytes: given.maxMemoryBytes,
    },
    framesAhead: given.framesAhead,
    correctionsCondition: given.correctionsCondition,
    forgetAfterFrames: given.forgetAfterFrames,
    allowUntrained: given.allowUntrained,
    source: { decoder, ffmpeg, fps },
  };
}

/**
 * Reads what was given to `sam.video.restore`.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT`
 */
export function readRestoreOptions(
  options: RestoreOptions,
  engine: Pick<Engine, "manifest" | "video">,
): SessionSettings {
  const saved = ["rules", "temporalDisambiguation", "correctionsCondition"];
  readOptions(
    "sam.video.restore",
    options,
    NAMES.filter((name) => !saved.includes(name)),
  );
  return readSessionOptions("sam.video.restore", options, engine);
}

function checkHotstart(method: string, rules: VideoRules): void {
  for (const name of ["hotstartUnmatched", "hotstartDuplicate"] as const) {
    if (rules[name] > rules.hotstartDelay) {
      throw new Sam3Error(
        "INVALID_ARGUMENT",
        `${method}: rules.${name} is ${rules[name]}, more than rules.hotstartDelay (${rules.hotstartDelay}): no object is young for so long. The default is ${DEFAULT_VIDEO_RULES[name]}.`,
      );
    }
  }
}

/** What `propagate` was given, with its defaults. */
export interface PropagateSettings {
  readonly direction: "forward" | "backward" | "both";
  readonly startFrame: number | undefined;
  readonly maxFrames: number | null;
  readonly outputs: OutputChoice;
  readonly onProgress: PropagateOptions["onProgress"];
}

/**
 * Reads what was given to `propagate`.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT`
 */
export function readPropagateOptions(options: PropagateOptions): PropagateSettings {
  const names = ["direction", "startFrame", "maxFrames", "signal", "outputs", "onProgress"];
  const {
    direction = "forward",
    startFrame,
    maxFrames,
    outputs,
    onProgress,
  } = readOptions("propagate", options, names);
  if (!["forward", "backward", "both"].includes(direction)) {
    throw wrong("direction", direction, '"forward", "backward" or "both"');
  }
  if (startFrame !== undefined && !isIndex(startFrame)) {
    throw wrong("startFrame", startFrame, "the index of a frame");
  }
  if (maxFrames !== undefined && !(isIndex(maxFrames) && maxFrames > 0)) {
    throw wrong("maxFrames", maxFrames, "a whole number of frames, at least 1");
  }
  if (onProgress !== undefined && typeof onProgress !== "function") {
    throw wrong("onProgress", onProgress, "a function");
  }
  return {
    direction,
    startFrame,
    maxFrames: maxFrames ?? null,
    outputs: readOutputs(outputs),
    onProgress,
  };
}

/** Reads which outputs are wanted. */
export function readOutputs(outputs: OutputOptions | undefined): OutputChoice {
  const {
    objects,
    prompts,
    empty = false,
  } = readOptions("outputs", outputs ?? {}, ["objects", "prompts", "empty"]);
  if (typeof empty !== "boolean") throw wrong("outputs.empty", empty, "true or false");
  return {
    objects: readIds("outputs.objects", objects),
    prompts: readIds("outputs.prompts", prompts),
    empty,
  };
}

function readIds(name: string, ids: unknown): ReadonlySet<number> | undefined {
  if (ids === undefined) return undefined;
  if (!Array.isArray(ids) || !ids.every(isIndex)) throw wrong(name, ids, "a list of numbers");
  return new Set(ids);
}

function isIndex(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0;
}

function wrong(name: string, value: unknown, what: string): Sam3Error {
  return new Sam3Error("INVALID_ARGUMENT", `${name} is ${describe(value)}; it must be ${what}.`);
}
