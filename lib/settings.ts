import { z } from "zod";

/** One setting: how it is called in code and in the environment, what it may be, and what it means. */
export interface Setting {
  /** Environment variable; an empty one counts as not set. */
  readonly env: string;
  /** What it may be, for the table in the docs. */
  readonly type: string;
  /** What holds when neither option nor variable is given, for the table in the docs. */
  readonly fallback: string;
  readonly meaning: string;
  /** Reads a value of either source; a variable arrives as text. */
  readonly schema: z.ZodType;
}

/** Levels of a log, loudest first. */
export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

// A number, or the text of one; the empty text is no number, though Number("") is 0.
const numeric = z.union([z.number(), z.string().trim().min(1).transform(Number)]);
const flag = z.union([
  z.boolean(),
  z.enum(["1", "true", "0", "false"]).transform((value) => value === "1" || value === "true"),
]);
const text = z.string().trim().min(1, "must not be empty");

/** Every setting there is. Options win over the environment, the environment over the default. */
export const SETTINGS = {
  model: {
    env: "SAM3_MODEL",
    type: "`mini` or a bundle folder",
    fallback: "`mini`",
    meaning: "The model to load.",
    schema: text,
  },
  devices: {
    env: "IMAGE_MODEL_DEVICE",
    type: "`auto`, `cpu`, `cuda` or `cuda:N`",
    fallback: "`auto`: the first CUDA device, else the CPU",
    meaning: "Where the model runs.",
    schema: text
      .transform((value) => value.toLowerCase())
      .refine((value) => /^(auto|cpu|cuda(:\d{1,3})?)$/.test(value), "must be auto, cpu, cuda or cuda:N"),
  },
  threads: {
    env: "SAM3_THREADS",
    type: "0–1024",
    fallback: "`0`: one for each physical core",
    meaning: "Threads the model computes with on the CPU.",
    schema: numeric.pipe(z.int().min(0).max(1024)),
  },
  confidenceThreshold: {
    env: "IMAGE_MODEL_CONFIDENCE_THRESHOLD",
    type: "0–1",
    fallback: "the bundle's own, `0.5` unless it says otherwise",
    meaning: "Objects with a score above this are returned; a prompt's own `threshold` wins.",
    schema: numeric.pipe(z.number().min(0).max(1)),
  },
  resolution: {
    env: "IMAGE_MODEL_RESOLUTION",
    type: "pixels",
    fallback: "the bundle's",
    meaning:
      "The resolution expected. A bundle has exactly one: another value is an error that says how to export it.",
    schema: numeric.pipe(z.int().min(1).max(8192)),
  },
  maxPixels: {
    env: "SAM3_MAX_PIXELS",
    type: "pixels",
    fallback: "`128000000`",
    meaning: "Pictures with more pixels are refused before they are decoded.",
    schema: numeric.pipe(
      z
        .int()
        .min(1)
        .max(2 ** 31 - 1),
    ),
  },
  logLevel: {
    env: "LOG_LEVEL",
    type: LOG_LEVELS.map((level) => `\`${level}\``).join(", "),
    fallback: "`warn`",
    meaning: "What the built-in logger writes to stderr; without effect on a `logger` of your own.",
    schema: text.transform((value) => value.toLowerCase()).pipe(z.enum(LOG_LEVELS)),
  },
  libtorch: {
    env: "SAM3_LIBTORCH",
    type: "folder",
    fallback: "looked for: see `sam3 doctor`",
    meaning: "The libtorch to use: a folder that holds `lib/`.",
    schema: text,
  },
  libtorchFromPython: {
    env: "SAM3_LIBTORCH_FROM_PYTHON",
    type: "`true` or `false` (in the environment also `1` or `0`)",
    fallback: "`false`",
    meaning: "Whether the torch of the Python on the path may be used where no other libtorch is found.",
    schema: flag,
  },
  home: {
    env: "SAM3_HOME",
    type: "folder",
    fallback: "`~/.cache/sam3-node` or the platform's like",
    meaning: "Where `sam3 libtorch install` and `sam3 export` keep what they download.",
    schema: text,
  },
  python: {
    env: "SAM3_PYTHON",
    type: "file",
    fallback: "`python3` or `python` on the path",
    meaning: "The Python that `sam3 export` and `sam3 libtorch install` make their environment with.",
    schema: text,
  },
  checkpoint: {
    env: "SAM3_CHECKPOINT",
    type: "file or folder",
    fallback: "none",
    meaning: "The checkpoint that `sam3 export` reads.",
    schema: text,
  },
  bpePath: {
    env: "SAM3_BPE_PATH",
    type: "file",
    fallback: "the one beside the checkpoint",
    meaning: "The `bpe_simple_vocab_16e6.txt.gz` that `sam3 export` makes the tokenizer from.",
    schema: text,
  },
} as const satisfies Record<string, Setting>;

export type SettingName = keyof typeof SETTINGS;
