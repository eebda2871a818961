import { afterAll, beforeAll, expect, it } from "vitest";
import type {
  NativeAddon,
  NativeFeatures,
  NativeReplica,
  NativeTextFeatures,
} from "../../lib/native/addon.js";
import { loadAddon } from "../../lib/native/load.js";
import { CLICK, codes, encodeOne, encodeText, failure, noise, openTiny, PLAIN } from "./support.js";

let addon: NativeAddon;
let replica: NativeReplica;
let features: NativeFeatures;
let text: NativeTextFeatures;

beforeAll(async () => {
  addon = loadAddon();
  replica = await openTiny(addon, 1);
  features = await encodeOne(addon, replica, noise(30, 20));
  text = await encodeText(addon, replica);
});
afterAll(() => replica?.close());

/** What no item, and hardly any value in one, should be. */
const strange = () => [
  undefined,
  null,
  0,
  -1,
  Number.NaN,
  1e308,
  2 ** 53,
  "",
  "text",
  true,
  1n,
  Symbol("x"),
  {},
  [],
  [1, 2],
  () => 1,
  new Proxy({}, { get: () => 1 }),
  new Float64Array(4),
  new Float32Array(3),
  new Uint8Array(0),
  new BigInt64Array(2),
  new DataView(new ArrayBuffer(8)),
  new ArrayBuffer(8),
  new addon.CancelToken(),
  features,
  text,
  replica,
];

/** An object whose properties throw when they are looked at. */
const thorny = () =>
  new Proxy(
    {},
    {
      get: () => {
        throw new Error("do not touch");
      },
    },
  );

const calls = {
  encodeImages: () => ({ pixels: noise(4, 4) }),
  encodeTexts: () => ({ ids: Int32Array.from([1, 2]) }),
  segmentConcepts: () => ({ features, text, ...PLAIN, threshold: 0.5 }),
  segmentObjects: () => ({
    features,
    points: Float32Array.from([1, 1]),
    labels: Int32Array.from([1]),
    ...CLICK,
  }),
} as const;
const names = Object.keys(calls) as (keyof typeof calls)[];
const run = (name: keyof typeof calls, items: unknown, options: unknown = { atOnce: 64 }) =>
  (replica[name] as (items: unknown, options: unknown) => ReturnType<NativeReplica["encodeTexts"]>)(
    items,
    options,
  );

it.each(names)("%s: strange items fail alone", async (name) => {
  const good = { ...calls[name](), token: new addon.CancelToken() };
  const items = [...strange(), thorny(), good];
  const found = codes(await run(name, items));
  expect(found.at(-1)).toBe("ok");
  expect(new Set(found.slice(0, -1))).toEqual(new Set(["INVALID_ARGUMENT"]));
});

it.each(names)("%s: strange values in an item give a coded error or an answer", async (name) => {
  const allowed = new Set(["ok", "INVALID_ARGUMENT", "MODEL_FAILED"]);
  for (const key of [...Object.keys(calls[name]()), "token"]) {
    const items = strange().map((value) => ({
      ...calls[name](),
      token: new addon.CancelToken(),
      [key]: value,
    }));
    const found = codes(await run(name, items));
    expect(found.filter((code) => !allowed.has(code))).toEqual([]);
    expect(found).toContain("INVALID_ARGUMENT");
  }
});

it.each(names)("%s: a strange list or count is a coded rejection", async (name) => {
  for (const list of [undefined, null, 7, "items", {}, new Float32Array(2)]) {
    expect(await failure(run(name, list))).toMatchObject({ code: "INVALID_ARGUMENT" });
  }
  for (const options of [null, 8, {}, ...[0, -1, Number.NaN, "8"].map((atOnce) => ({ atOnce }))]) {
    expect(await failure(run(name, [], options))).toMatchObject({ code: "INVALID_ARGUMENT" });
  }
  expect(codes(await run(name, [], { atOnce: Number.POSITIVE_INFINITY }))).toEqual([]);
});

it("a replica is not opened with strange options", () => {
  for (const options of [
    undefined,
    null,
    7,
    {},
    { device: 7, threads: 1 },
    { device: "cpu", threads: "many" },
  ]) {
    expect(() => new addon.Replica(options as never)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  }
});

it("a picture whose memory was taken away is refused", async () => {
  const pixels = noise(16, 16);
  structuredClone(pixels.data, { transfer: [pixels.data.buffer as ArrayBuffer] });
  const batch = await run("encodeImages", [{ pixels, token: new addon.CancelToken() }]);
  expect(codes(batch)).toEqual(["INVALID_ARGUMENT"]);
});
