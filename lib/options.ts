import type { z } from "zod";
import { readSignal } from "./abort.js";
import { describe, hintFor } from "./describe.js";
import { Sam3Error } from "./errors.js";
import { isLogger, type Logger } from "./logger.js";
import { type LogLevel, SETTINGS, type SettingName } from "./settings.js";

/** Where a model may run. */
export type DeviceChoice = "auto" | "cpu" | "cuda" | `cuda:${number}`;

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
  /** `"auto"`, `"cpu"`, `"cuda"` or `"cuda:N"`. */
  readonly devices?: DeviceChoice | undefined;
  /** Threads the model computes with on the CPU; 0 = one for each physical core. */
  readonly threads?: number | undefined;
  /** Objects with a score above this are returned, 0–1; a prompt's own `threshold` wins. */
  readonly confidenceThreshold?: number | undefined;
  /** The resolution the bundle must have, in pixels. */
  readonly resolution?: number | undefined;
  /** Pictures with more pixels are refused. */
  readonly maxPixels?: number | undefined;
  /** Folder of the libtorch to use. */
  readonly libtorch?: string | undefined;
  /** Whether the torch of the Python on the path may be used where no other libtorch is found. */
  readonly libtorchFromPython?: boolean | undefined;
  /** Folder with downloads of `sam3 libtorch install`. */
  readonly home?: string | undefined;
  /** What the built-in logger writes; without effect on `logger`. */
  readonly logLevel?: LogLevel | undefined;
  /** Takes log lines instead of the built-in logger: `console`, pino, or any object with debug, info, warn and error. */
  readonly logger?: Logger | undefined;
  /** Stops loading; the promise then rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Called after each part. */
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
}

/** The settings after reading options and environment; undefined where neither says anything and the default depends on more. */
export interface Settings {
  readonly model: string;
  readonly devices: string;
  readonly threads: number;
  readonly confidenceThreshold: number | undefined;
  readonly resolution: number | undefined;
  readonly maxPixels: number;
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
  devices: "auto",
  threads: 0,
  maxPixels: 128_000_000,
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
  if (typeof options !== "object" || options === null) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `Sam3.load takes an object of options, not ${describe(options)}.`,
    );
  }
  const known = [...Object.keys(SETTINGS), ...HANDLES];
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) {
      throw new Sam3Error(
        "INVALID_ARGUMENT",
        `Sam3.load has no option "${name}"${hintFor(name, known)}. It takes ${known.join(", ")}.`,
      );
    }
  }
  const { logger, signal, onProgress } = options;
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
  throw new Sam3Error(
    "INVALID_SETTING",
    `${source} is ${describe(value)}; it must be ${type.replaceAll("`", "")}.`,
    {
      cause: read.error,
    },
  );
}
