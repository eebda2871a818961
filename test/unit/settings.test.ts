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
      devices: "auto",
      threads: 0,
      maxPixels: 128_000_000,
      logLevel: "warn",
      libtorchFromPython: false,
    });
  });

  it("read every variable of the environment", () => {
    const env = {
      SAM3_MODEL: "/m",
      SAM3_CHECKPOINT: "/c.pt",
      SAM3_BPE_PATH: "/bpe.gz",
      IMAGE_MODEL_DEVICE: "CUDA:1",
      IMAGE_MODEL_CONFIDENCE_THRESHOLD: "0.25",
      IMAGE_MODEL_RESOLUTION: "1008",
      SAM3_THREADS: " 3 ",
      SAM3_MAX_PIXELS: "1000000",
      LOG_LEVEL: "DEBUG",
      SAM3_LIBTORCH: "/torch",
      SAM3_HOME: "/home",
      SAM3_LIBTORCH_FROM_PYTHON: "1",
      SAM3_PYTHON: "/python",
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
      devices: "cuda:1",
      confidenceThreshold: 0.25,
      resolution: 1008,
      threads: 3,
      maxPixels: 1_000_000,
      logLevel: "debug",
      libtorch: "/torch",
      home: "/home",
      libtorchFromPython: true,
      python: "/python",
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
    ["devices", ["cpu"]],
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
