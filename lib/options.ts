import type { z } from "zod";
import { readSignal } from "./abort.js";
import { describe, issuesInOneLine } from "./describe.js";
import { Sam3Error } from "./errors.js";
import { isLogger, type Logger } from "./logger.js";
import { readOptions } from "./read-options.js";
import { type DeviceRequest, type LogLevel, SETTINGS, type SettingName } from "./settings.js";

/** A device by name; `GPU-…` and `MIG-…` are ids as `nvidia-smi -L` lists them. */
export type DeviceName =
  | "auto"
  | "cpu"
  | "cuda"
  | `cpu:${number}`
  | `cuda:${number}`
  | `GPU-${string}`
  | `MIG-${string}`;

/** Replicas on one device. */
export interface DeviceOptions {
  readonly device: DeviceName;
  /** How many copies of the model, 1–16; 1 when left out. */
  readonly replicas?: number | undefined;
  /** Threads each computes with on the CPU; the option `threads` when left out. */
  readonly threads?: number | undefined;
  /** False: when it cannot be loaded, `health()` says so and the others work. */
  readonly required?: boolean | undefined;
}

/** Where a model may run. */
export type DeviceChoice = DeviceName | readonly (DeviceName | DeviceOptions)[];

/** How far loading has come. */
export interface LoadProgress {
  /** `verify`: the parts' hashes are checked; `load`: the parts are moved to the device. */
  readonly stage: "verify" | "load";
  /** Name of the part that was just finished. */
  readonly part: string;
  readonly done: number;
  readonly total: number;
}

/** What `Sam3.load` takes; everything is optional. Values left out come from the environment, then from the default. */
export interface LoadOptions {
  /** `"mini"` (comes with the package) or the folder of a bundle that `sam3 export` wrote. */
  readonly model?: string | undefined;
  /** One device, or a list: each entry is a replica, and work goes to the least loaded one. */
  readonly devices?: DeviceChoice | undefined;
  /** Threads a replica computes with on the CPU; 0 = one for each physical core. */
  readonly threads?: number | undefined;
  /** `"lazy"` loads a replica when its work comes; `"eager"`, the default, before `Sam3.load` is done. */
  readonly load?: "eager" | "lazy" | undefined;
  /** Segments a small picture on every replica after loading. */
  readonly warmUp?: boolean | undefined;
  /** Most memory on one device in MB; a load that would go over is refused with `DEVICE_MEMORY`. */
  readonly deviceMemoryMb?: number | undefined;
  /** Most pictures in one batch of the image encoder. */
  readonly maxEncodeBatch?: number | undefined;
  /** Most prompts in one batch of a decoder. */
  readonly maxDecodeBatch?: number | undefined;
  /** Most milliseconds that work waits on an idle device for calls that are on their way. */
  readonly batchDelayMs?: number | undefined;
  /** The same for the image encoder alone. */
  readonly encodeDelayMs?: number | undefined;
  /** The same for the text encoder and the decoders alone. */
  readonly decodeDelayMs?: number | undefined;
  /** Most calls that wait; a further one fails with `QUEUE_FULL`. */
  readonly maxQueue?: number | undefined;
  /** Most milliseconds in a queue, after which a call fails with `TIMEOUT`; 0 = as long as it takes. */
  readonly queueTimeoutMs?: number | undefined;
  /** Most milliseconds of a call that names no `timeoutMs`; 0 = as long as it takes. */
  readonly callTimeoutMs?: number | undefined;
  /** Whether features are kept for the next call with the same picture or text. */
  readonly featureCache?: boolean | undefined;
  /** Seconds that features are kept after their last use; 0 = until their room is needed. */
  readonly cacheTtlSeconds?: number | undefined;
  /** Most MB of kept features on the devices. */
  readonly maxCacheSizeMb?: number | undefined;
  /** Most MB of main memory for features that no longer fit the device's share. */
  readonly maxCpuCacheSizeMb?: number | undefined;
  /** Objects with a score above this are returned, 0–1; a prompt's own `threshold` wins. */
  readonly confidenceThreshold?: number | undefined;
  /** The resolution the bundle must have, in pixels. */
  readonly resolution?: number | undefined;
  /** Pictures with more pixels are refused. */
  readonly maxPixels?: number | undefined;
  /** Whether a video's objects are decided with hindsight, 15 frames late; a session can say otherwise. */
  readonly temporalDisambiguation?: boolean | undefined;
  /** Replicas that video sessions may live on, by name, or CUDA devices by number; all when left out. */
  readonly videoDevices?: string | readonly (string | number)[] | undefined;
  /** Most video sessions open at a time; a further one fails with `SESSION_LIMIT`. */
  readonly maxSessions?: number | undefined;
  /** Seconds after which a video session that nobody used is closed; 0 = never. */
  readonly sessionTimeoutSeconds?: number | undefined;
  /** Seconds between two looks for such sessions. */
  readonly sessionCleanupIntervalSeconds?: number | undefined;
  /** What decodes video files; node-av where it is installed when left out, else ffmpeg. */
  readonly videoDecoder?: "auto" | "node-av" | "ffmpeg" | undefined;
  /** The ffmpeg program. */
  readonly ffmpeg?: string | undefined;
  /** Most frames that decoding is ahead of what is asked for. */
  readonly videoReadAhead?: number | undefined;
  /** Most milliseconds without a new frame before a video fails with `VIDEO_STALLED`; 0 = no limit. */
  readonly videoStallTimeoutMs?: number | undefined;
  /** Most MB of a stream that are kept in a temporary file. */
  readonly maxVideoMb?: number | undefined;
  /** Folder of the libtorch to use. */
  readonly libtorch?: string | undefined;
  /** Whether the torch of the Python on the path may be used where no other libtorch is found. */
  readonly libtorchFromPython?: boolean | undefined;
  /** Folder with downloads of `sam3 libtorch install`. */
  readonly home?: string | undefined;
  /** What the built-in logger writes; without effect on `logger`. */
  readonly logLevel?: LogLevel | undefined;
  /** Takes log lines instead of the built-in logger: `console`, pino, or any object with debug, info, warn and error; `child` is used where there is one. */
  readonly logger?: Logger | undefined;
  /** Stops loading; the promise then rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Called after each part. */
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
}

/** The settings after reading options and environment; undefined where neither says anything and the default depends on more. */
export interface Settings {
  readonly model: string;
  readonly devices: readonly DeviceRequest[];
  readonly threads: number;
  readonly load: "eager" | "lazy";
  readonly warmUp: boolean;
  readonly deviceMemoryMb: number | undefined;
  readonly maxEncodeBatch: number;
  readonly maxDecodeBatch: number;
  readonly batchDelayMs: number;
  readonly encodeDelayMs: number | undefined;
  readonly decodeDelayMs: number | undefined;
  readonly maxQueue: number;
  readonly queueTimeoutMs: number;
  readonly callTimeoutMs: number;
  readonly featureCache: boolean;
  readonly cacheTtlSeconds: number;
  readonly maxCacheSizeMb: number | undefined;
  readonly maxCpuCacheSizeMb: number;
  readonly confidenceThreshold: number | undefined;
  readonly resolution: number | undefined;
  readonly maxPixels: number;
  readonly temporalDisambiguation: boolean;
  readonly videoDevices: readonly string[] | undefined;
  readonly maxSessions: number;
  readonly sessionTimeoutSeconds: number;
  readonly sessionCleanupIntervalSeconds: number;
  readonly videoDecoder: "auto" | "node-av" | "ffmpeg";
  readonly ffmpeg: string | undefined;
  readonly videoReadAhead: number;
  readonly videoStallTimeoutMs: number;
  readonly maxVideoMb: number;
  readonly logLevel: LogLevel;
  readonly libtorch: string | undefined;
  readonly libtorchFromPython: boolean;
  readonly home: string | undefined;
  readonly python: string | undefined;
  readonly checkpoint: string | undefined;
  readonly bpePath: string | undefined;
}

const DEFAULTS = {
  model: "mini",
  devices: [{ device: "auto", replicas: 1, required: true }],
  threads: 0,
  load: "eager",
  warmUp: false,
  maxEncodeBatch: 8,
  maxDecodeBatch: 8,
  batchDelayMs: 20,
  maxQueue: 1024,
  queueTimeoutMs: 0,
  callTimeoutMs: 0,
  featureCache: true,
  cacheTtlSeconds: 600,
  maxCpuCacheSizeMb: 0,
  maxPixels: 128_000_000,
  temporalDisambiguation: true,
  maxSessions: 10,
  sessionTimeoutSeconds: 3600,
  sessionCleanupIntervalSeconds: 300,
  videoDecoder: "auto",
  videoReadAhead: 8,
  videoStallTimeoutMs: 60_000,
  maxVideoMb: 16_384,
  logLevel: "warn",
  libtorchFromPython: false,
} as const;

/** Option names that are functions or objects and have no environment variable. */
const HANDLES = ["logger", "signal", "onProgress"] as const;

/**
 * Reads every setting from `options`, then from `env`, then from the defaults.
 *
 * @throws {Sam3Error} `INVALID_SETTING` naming the option or the variable that cannot be read
 * @example
 * ```ts
 * readSettings({ threads: 2 }, { SAM3_MODEL: "/models/sam3" }).model; // "/models/sam3"
 * ```
 */
export function readSettings(
  options: Readonly<Partial<Record<SettingName, unknown>>> = {},
  env: Readonly<Record<string, string | undefined>> = process.env,
): Settings {
  const out: Record<string, unknown> = { ...DEFAULTS };
  for (const [name, setting] of Object.entries(SETTINGS)) {
    const option = options[name as SettingName];
    const variable = env[setting.env];
    if (option !== undefined)
      out[name] = readOne(setting.schema, option, `The option "${name}"`, setting.type);
    else if (variable !== undefined && variable !== "") {
      out[name] = readOne(setting.schema, variable, `The environment variable ${setting.env}`, setting.type);
    }
  }
  return out as unknown as Settings;
}

/**
 * Reads what was given to `Sam3.load`.
 *
 * @throws {Sam3Error} `INVALID_SETTING` for a value that cannot be read, `INVALID_ARGUMENT` for a name that does not exist
 */
export function readLoadOptions(
  options: LoadOptions,
  env: Readonly<Record<string, string | undefined>> = process.env,
): {
  settings: Settings;
  logger: Logger | undefined;
  signal: AbortSignal | undefined;
  onProgress: LoadOptions["onProgress"];
} {
  const names = [...Object.keys(SETTINGS), ...HANDLES];
  const { logger, signal, onProgress } = readOptions("Sam3.load", options, names);
  if (logger !== undefined && !isLogger(logger)) {
    throw new Sam3Error(
      "INVALID_SETTING",
      `The option "logger" must have the methods debug, info, warn and error.`,
    );
  }
  if (onProgress !== undefined && typeof onProgress !== "function") {
    throw new Sam3Error(
      "INVALID_SETTING",
      `The option "onProgress" must be a function, not ${describe(onProgress)}.`,
    );
  }
  return {
    settings: readSettings(options as Record<string, unknown>, env),
    logger,
    signal: readSignal(signal),
    onProgress,
  };
}

function readOne(schema: z.ZodType, value: unknown, source: string, type: string): unknown {
  const read = schema.safeParse(value);
  if (read.success) return read.data;
  // What is wrong inside a list or an object is worth saying.
  const where = typeof value === "object" && value !== null ? ` (${issuesInOneLine(read.error)})` : "";
  throw new Sam3Error(
    "INVALID_SETTING",
    `${source} is ${describe(value)}; it must be ${type.replaceAll("`", "")}${where}.`,
    {
      cause: read.error,
    },
  );
}
