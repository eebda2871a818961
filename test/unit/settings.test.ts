import { describe, expect, it } from "vitest";
import { readLoadOptions, readSettings } from "../../lib/options.js";
import { SETTINGS } from "../../lib/settings.js";

const code = (value: string, ...words: string[]) =>
  expect.objectContaining({
    code: value,
    message: expect.stringMatching(new RegExp(words.map((w) => `(?=.*${w})`).join(""), "s")),
  });

describe("settings", () => {
  it("have defaults", () => {
    expect(readSettings({}, {})).toEqual({
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
    });
  });

  it("read every variable of the environment", () => {
    const env = {
      SAM3_MODEL: "/m",
      SAM3_CHECKPOINT: "/c.pt",
      SAM3_BPE_PATH: "/bpe.gz",
      IMAGE_MODEL_DEVICE: "CUDA:1, GPU-0A1b",
      IMAGE_MODEL_CONFIDENCE_THRESHOLD: "0.25",
      IMAGE_MODEL_RESOLUTION: "1008",
      SAM3_THREADS: " 3 ",
      SAM3_MAX_PIXELS: "1000000",
      LOG_LEVEL: "DEBUG",
      SAM3_LIBTORCH: "/torch",
      SAM3_HOME: "/home",
      SAM3_LIBTORCH_FROM_PYTHON: "1",
      SAM3_PYTHON: "/python",
      SAM3_LOAD: "Lazy",
      SAM3_WARM_UP: "true",
      SAM3_DEVICE_MEMORY_MB: "500",
      SAM3_MAX_ENCODE_BATCH: "1",
      SAM3_MAX_DECODE_BATCH: "2",
      SAM3_BATCH_DELAY_MS: "0",
      SAM3_ENCODE_DELAY_MS: "8",
      SAM3_DECODE_DELAY_MS: "9",
      SAM3_MAX_QUEUE: "4",
      SAM3_QUEUE_TIMEOUT_MS: "5",
      SAM3_CALL_TIMEOUT_MS: "6",
      ENABLE_FEATURE_CACHE: "false",
      FEATURE_CACHE_TTL_SECONDS: "1.5",
      MAX_CACHE_SIZE_MB: "0",
      MAX_CPU_CACHE_SIZE_MB: "7",
      VIDEO_MODEL_TEMPORAL_DISAMBIGUATION: "false",
      VIDEO_GPU_LIST: "0, 2,CPU:1",
      MAX_CONCURRENT_SESSIONS: "3",
      SESSION_TIMEOUT_SECONDS: "60",
      SESSION_CLEANUP_INTERVAL_SECONDS: "5",
      SAM3_VIDEO_DECODER: "FFmpeg",
      SAM3_FFMPEG: "/ffmpeg",
      SAM3_VIDEO_READ_AHEAD: "4",
      SAM3_VIDEO_STALL_TIMEOUT_MS: "0",
      SAM3_MAX_VIDEO_MB: "100",
    };
    expect(
      Object.values(SETTINGS)
        .map(({ env: name }) => name)
        .sort(),
    ).toEqual(Object.keys(env).sort());
    expect(readSettings({}, env)).toEqual({
      model: "/m",
      checkpoint: "/c.pt",
      bpePath: "/bpe.gz",
      devices: [
        { device: "cuda:1", replicas: 1, required: true },
        { device: "GPU-0A1b", replicas: 1, required: true },
      ],
      confidenceThreshold: 0.25,
      resolution: 1008,
      threads: 3,
      maxPixels: 1_000_000,
      logLevel: "debug",
      libtorch: "/torch",
      home: "/home",
      libtorchFromPython: true,
      python: "/python",
      load: "lazy",
      warmUp: true,
      deviceMemoryMb: 500,
      maxEncodeBatch: 1,
      maxDecodeBatch: 2,
      batchDelayMs: 0,
      encodeDelayMs: 8,
      decodeDelayMs: 9,
      maxQueue: 4,
      queueTimeoutMs: 5,
      callTimeoutMs: 6,
      featureCache: false,
      cacheTtlSeconds: 1.5,
      maxCacheSizeMb: 0,
      maxCpuCacheSizeMb: 7,
      temporalDisambiguation: false,
      videoDevices: ["cuda:0", "cuda:2", "cpu:1"],
      maxSessions: 3,
      sessionTimeoutSeconds: 60,
      sessionCleanupIntervalSeconds: 5,
      videoDecoder: "ffmpeg",
      ffmpeg: "/ffmpeg",
      videoReadAhead: 4,
      videoStallTimeoutMs: 0,
      maxVideoMb: 100,
    });
  });

  it("take options before the environment, and an empty variable as not set", () => {
    expect(readSettings({ threads: 1 }, { SAM3_THREADS: "2", SAM3_MODEL: "" })).toMatchObject({
      threads: 1,
      model: "mini",
    });
    expect(readSettings({ threads: undefined }, { SAM3_THREADS: "2" }).threads).toBe(2);
    expect(
      readSettings({ confidenceThreshold: 0 }, { IMAGE_MODEL_CONFIDENCE_THRESHOLD: "1" }).confidenceThreshold,
    ).toBe(0);
  });

  it.each([
    ["SAM3_THREADS", "many"],
    ["SAM3_THREADS", "-1"],
    ["SAM3_THREADS", "1.5"],
    ["SAM3_THREADS", " "],
    ["IMAGE_MODEL_CONFIDENCE_THRESHOLD", "7"],
    ["IMAGE_MODEL_CONFIDENCE_THRESHOLD", "NaN"],
    ["IMAGE_MODEL_CONFIDENCE_THRESHOLD", "0,5"],
    ["IMAGE_MODEL_DEVICE", "gpu"],
    ["IMAGE_MODEL_DEVICE", "cuda:x"],
    ["IMAGE_MODEL_RESOLUTION", "0"],
    ["SAM3_MAX_PIXELS", "Infinity"],
    ["LOG_LEVEL", "loud"],
    ["SAM3_LIBTORCH_FROM_PYTHON", "yes"],
    ["SAM3_LOAD", "soon"],
    ["MAX_CACHE_SIZE_MB", "-1"],
    ["MAX_CPU_CACHE_SIZE_MB", "-1"],
    ["FEATURE_CACHE_TTL_SECONDS", "-0.1"],
    ["SAM3_DEVICE_MEMORY_MB", "0"],
    ["SAM3_DEVICE_MEMORY_MB", "-500"],
    ["SAM3_MAX_ENCODE_BATCH", "0"],
    ["SAM3_QUEUE_TIMEOUT_MS", "-1"],
    ["SAM3_MAX_QUEUE", "0"],
    ["IMAGE_MODEL_DEVICE", "cuda:0,,cuda:1"],
  ])("name the variable %s that is %j", (name, value) => {
    expect(() => readSettings({}, { [name]: value })).toThrow(code("INVALID_SETTING", name));
  });

  it.each([
    ["threads", Number.NaN],
    ["threads", 1e9],
    ["threads", null],
    ["model", ""],
    ["model", 5],
    ["model", {}],
    ["devices", "tpu"],
    ["devices", ["cpu", "tpu"]],
    ["devices", { device: "cpu" }],
    ["maxCacheSizeMb", -1],
    ["deviceMemoryMb", -1],
    ["batchDelayMs", 1e6],
    ["encodeDelayMs", -1],
    ["decodeDelayMs", 1e6],
    ["confidenceThreshold", 1.01],
    ["confidenceThreshold", true],
    ["maxPixels", 0],
    ["logLevel", 3],
  ])("name the option %s that is %j", (name, value) => {
    expect(() => readSettings({ [name]: value }, {})).toThrow(code("INVALID_SETTING", name));
  });

  it("refuse options that do not exist, with a hint", () => {
    expect(() => readLoadOptions({ device: "cpu" } as never, {})).toThrow(
      code("INVALID_ARGUMENT", 'did you mean "devices"'),
    );
    expect(() => readLoadOptions({ modle: "mini" } as never, {})).toThrow(
      code("INVALID_ARGUMENT", 'did you mean "model"'),
    );
    expect(() => readLoadOptions(null as never, {})).toThrow(code("INVALID_ARGUMENT"));
    expect(() => readLoadOptions("mini" as never, {})).toThrow(code("INVALID_ARGUMENT", "mini"));
    expect(() => readLoadOptions({ logger: {} as never }, {})).toThrow(code("INVALID_SETTING", "logger"));
    expect(() => readLoadOptions({ signal: true as never }, {})).toThrow(code("INVALID_ARGUMENT", "signal"));
    expect(() => readLoadOptions({ onProgress: 1 as never }, {})).toThrow(
      code("INVALID_SETTING", "onProgress"),
    );
  });
});
