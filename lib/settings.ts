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
const whole = (least: number, most: number) => numeric.pipe(z.int().min(least).max(most));
/** Megabytes of up to a petabyte. */
const megabytes = whole(0, 2 ** 30);

/** Replicas that are wanted on one device. */
export interface DeviceRequest {
  /** `auto`, `cpu`, `cpu:N`, `cuda`, `cuda:N`, or the driver's id of a GPU or MIG device. */
  readonly device: string;
  readonly replicas: number;
  /** Undefined: the setting `threads`. */
  readonly threads?: number | undefined;
  readonly required: boolean;
}

const THREADS = [0, 1024] as const;
const REPLICAS = [1, 16] as const;

const deviceName = text
  .transform((value) => (/^(gpu|mig)-/i.test(value) ? value : value.toLowerCase()))
  .refine(
    (value) => /^(auto|cpu(:\d{1,3})?|cuda(:\d{1,3})?|(gpu|mig)-[0-9a-z/-]+)$/i.test(value),
    "must be auto, cpu, cpu:N, cuda, cuda:N, GPU-… or MIG-…",
  );
const oneDevice = (device: string): DeviceRequest => ({ device, replicas: 1, required: true });
const devicesSchema = z.union([
  text
    .transform((value) => value.split(",").map((name) => name.trim()))
    .pipe(z.array(deviceName).max(64))
    .transform((names) => names.map(oneDevice)),
  z
    .array(
      z.union([
        deviceName.transform(oneDevice),
        z.strictObject({
          device: deviceName,
          replicas: z.int().min(REPLICAS[0]).max(REPLICAS[1]).default(1),
          threads: z.int().min(THREADS[0]).max(THREADS[1]).optional(),
          required: z.boolean().default(true),
        }),
      ]),
    )
    .min(1, "must name at least one device")
    .max(64),
]);

/** Names of replicas, or the numbers of CUDA devices, as `VIDEO_GPU_LIST` has them. */
const replicaNames = z.union([
  text.transform((value) => value.split(",").map((name) => name.trim())),
  z.array(z.union([z.string().trim(), z.int().min(0).transform(String)])),
]);
const videoDevicesSchema = replicaNames.pipe(
  z
    .array(
      z
        .string()
        .min(1)
        .transform((name) => (/^\d+$/.test(name) ? `cuda:${name}` : name.toLowerCase())),
    )
    .min(1)
    .max(64),
);

const FLAG = "`true` or `false` (in the environment also `1` or `0`)";

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
    type: "`auto`, `cpu`, `cpu:N`, `cuda`, `cuda:N`, `GPU-…` or `MIG-…`; several with commas or as a list, in code also of `{ device, replicas, threads, required }`",
    fallback: "`auto`: the first CUDA device, else the CPU",
    meaning:
      "Where the model runs. Each name is a replica with a queue of its own; `cpu:0`, `cpu:1` are several on the CPU. One with `required: false` may fail to load. `GPU-…` and `MIG-…` are ids as `nvidia-smi -L` lists them, visible by `CUDA_VISIBLE_DEVICES`.",
    schema: devicesSchema,
  },
  threads: {
    env: "SAM3_THREADS",
    type: "0–1024",
    fallback: "`0`: one for each physical core",
    meaning: "Threads a replica computes with on the CPU.",
    schema: whole(...THREADS),
  },
  load: {
    env: "SAM3_LOAD",
    type: "`eager` or `lazy`",
    fallback: "`eager`",
    meaning:
      "When replicas are loaded: all of them by `Sam3.load`, or each when its work comes. Lazily loaded parts are checked by hash then, too.",
    schema: text.transform((value) => value.toLowerCase()).pipe(z.enum(["eager", "lazy"])),
  },
  warmUp: {
    env: "SAM3_WARM_UP",
    type: FLAG,
    fallback: "`false`",
    meaning:
      "Whether every replica segments a small grey picture after it was loaded, so that the first call is not slower.",
    schema: flag,
  },
  deviceMemoryMb: {
    env: "SAM3_DEVICE_MEMORY_MB",
    type: "MB, at least 1",
    fallback: "what the device has free",
    meaning:
      "Most memory that models and features may hold on one device before a further load or session is refused with `DEVICE_MEMORY`.",
    schema: whole(1, 2 ** 30),
  },
  maxEncodeBatch: {
    env: "SAM3_MAX_ENCODE_BATCH",
    type: "1–256",
    fallback: "`8`",
    meaning: "Most pictures in one batch of the image encoder.",
    schema: whole(1, 256),
  },
  maxDecodeBatch: {
    env: "SAM3_MAX_DECODE_BATCH",
    type: "1–256",
    fallback: "`8`",
    meaning: "Most prompts in one batch of the text encoder or of a decoder.",
    schema: whole(1, 256),
  },
  batchDelayMs: {
    env: "SAM3_BATCH_DELAY_MS",
    type: "ms, 0–10000",
    fallback: "`20`",
    meaning:
      "Most milliseconds that work waits on an idle device for other calls that are on their way. A lone call does not wait.",
    schema: whole(0, 10_000),
  },
  encodeDelayMs: {
    env: "SAM3_ENCODE_DELAY_MS",
    type: "ms, 0–10000",
    fallback: "`batchDelayMs`",
    meaning: "The same for pictures at the image encoder alone.",
    schema: whole(0, 10_000),
  },
  decodeDelayMs: {
    env: "SAM3_DECODE_DELAY_MS",
    type: "ms, 0–10000",
    fallback: "`batchDelayMs`",
    meaning: "The same for prompts at the text encoder and the decoders alone.",
    schema: whole(0, 10_000),
  },
  maxQueue: {
    env: "SAM3_MAX_QUEUE",
    type: "1–1000000",
    fallback: "`1024`",
    meaning:
      "Most calls that wait, beside those whose batches are at work: of those that bring a picture, and at each replica of those on encoded ones. A further one fails with `QUEUE_FULL` before anything is done for it. A call counts as one, however many prompts it has; of a batch of pictures each does.",
    schema: whole(1, 1_000_000),
  },
  queueTimeoutMs: {
    env: "SAM3_QUEUE_TIMEOUT_MS",
    type: "ms",
    fallback: "`0`: as long as it takes",
    meaning:
      "Most milliseconds that a picture or prompt waits for its turn in any one line, that of reading included; after that the call fails with `TIMEOUT`.",
    schema: whole(0, 2 ** 31 - 1),
  },
  callTimeoutMs: {
    env: "SAM3_CALL_TIMEOUT_MS",
    type: "ms",
    fallback: "`0`: as long as it takes",
    meaning:
      "Most milliseconds of a call that names no `timeoutMs` of its own; after that it fails with `TIMEOUT`.",
    schema: whole(0, 2 ** 31 - 1),
  },
  featureCache: {
    env: "ENABLE_FEATURE_CACHE",
    type: FLAG,
    fallback: "`true`",
    meaning:
      "Whether features of pictures and texts are kept for the next call with the same content, and shared by calls that come together.",
    schema: flag,
  },
  cacheTtlSeconds: {
    env: "FEATURE_CACHE_TTL_SECONDS",
    type: "seconds",
    fallback: "`600`",
    meaning: "How long features are kept after their last use; 0 = until their room is needed.",
    schema: numeric.pipe(z.number().min(0).max(31_536_000)),
  },
  maxCacheSizeMb: {
    env: "MAX_CACHE_SIZE_MB",
    type: "MB",
    fallback:
      "`4096`, but at most half of what the devices have free, or `deviceMemoryMb` leaves, beside the model",
    meaning: "Most memory of kept features on the devices, all together; least recently used ones go first.",
    schema: megabytes,
  },
  maxCpuCacheSizeMb: {
    env: "MAX_CPU_CACHE_SIZE_MB",
    type: "MB",
    fallback: "`0`: none",
    meaning:
      "Most main memory for features that no longer fit a CUDA device's share; they come back when they are used.",
    schema: megabytes,
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
  temporalDisambiguation: {
    env: "VIDEO_MODEL_TEMPORAL_DISAMBIGUATION",
    type: FLAG,
    fallback: "`true`",
    meaning:
      "Whether a video's objects are decided with hindsight: results come 15 frames late, doubtful objects are taken back, memory is selected. `sam.video.open` can say otherwise for a session.",
    schema: flag,
  },
  videoDevices: {
    env: "VIDEO_GPU_LIST",
    type: "numbers of CUDA devices or names of replicas, with commas or as a list",
    fallback: "all replicas",
    meaning: "Where video sessions may live, of the replicas that `devices` makes.",
    schema: videoDevicesSchema,
  },
  maxSessions: {
    env: "MAX_CONCURRENT_SESSIONS",
    type: "1–10000",
    fallback: "`10`",
    meaning: "Most video sessions open at a time; a further one fails with `SESSION_LIMIT`.",
    schema: whole(1, 10_000),
  },
  sessionTimeoutSeconds: {
    env: "SESSION_TIMEOUT_SECONDS",
    type: "seconds",
    fallback: "`3600`",
    meaning: "A video session that nobody used for so long is closed; 0 = never.",
    schema: numeric.pipe(z.number().min(0).max(31_536_000)),
  },
  sessionCleanupIntervalSeconds: {
    env: "SESSION_CLEANUP_INTERVAL_SECONDS",
    type: "seconds, at least 1",
    fallback: "`300`",
    meaning: "How often sessions that nobody uses are looked for.",
    schema: numeric.pipe(z.number().min(1).max(86_400)),
  },
  videoDecoder: {
    env: "SAM3_VIDEO_DECODER",
    type: "`auto`, `node-av` or `ffmpeg`",
    fallback: "`auto`: node-av where it is installed, else ffmpeg",
    meaning: "What decodes video files.",
    schema: text.transform((value) => value.toLowerCase()).pipe(z.enum(["auto", "node-av", "ffmpeg"])),
  },
  ffmpeg: {
    env: "SAM3_FFMPEG",
    type: "file",
    fallback: "`ffmpeg` on the path",
    meaning: "The ffmpeg program that decodes and writes videos.",
    schema: text,
  },
  videoReadAhead: {
    env: "SAM3_VIDEO_READ_AHEAD",
    type: "1–256",
    fallback: "`8`",
    meaning: "Most frames that decoding is ahead of what is asked for.",
    schema: whole(1, 256),
  },
  videoStallTimeoutMs: {
    env: "SAM3_VIDEO_STALL_TIMEOUT_MS",
    type: "ms",
    fallback: "`60000`",
    meaning:
      "Most milliseconds without a new frame, or without new bytes of a stream, before `VIDEO_STALLED`; 0 = no limit.",
    schema: whole(0, 2 ** 31 - 1),
  },
  maxVideoMb: {
    env: "SAM3_MAX_VIDEO_MB",
    type: "MB, at least 1",
    fallback: "`16384`",
    meaning: "Most of a stream that is kept in a temporary file, so that its frames can be asked for again.",
    schema: whole(1, 2 ** 30),
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
    type: FLAG,
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
