import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type {
  NativeAddon,
  NativeDetectRequest,
  NativeFeatures,
  NativeReplica,
  NativeTextFeatures,
} from "../../lib/native/addon.js";
import { loadAddon } from "../../lib/native/load.js";
import { type Faults, loadFaults } from "./faults.js";
import {
  decodeRuns,
  EIGHT,
  encodeOne,
  encodeText,
  failure,
  noise,
  nth,
  only,
  openTiny,
  withTokens,
} from "./support.js";
import { clicked, Follower, remembering, rowOf, unending } from "./tracking.js";

const [WIDTH, HEIGHT] = [80, 60];
const BLOCK = Uint32Array.of(600, 600, WIDTH * HEIGHT - 1200); // ten columns

let addon: NativeAddon;
let faults: Faults;
let replica: NativeReplica;
let frames: NativeFeatures[];
let text: NativeTextFeatures;

beforeAll(async () => {
  addon = loadAddon();
  faults = loadFaults();
  replica = await openTiny(addon, 1, 2);
  frames = [];
  for (let i = 0; i < 5; i++) frames.push(await encodeOne(addon, replica, noise(WIDTH, HEIGHT, 100 + i)));
  text = await encodeText(addon, replica);
});
afterAll(() => replica?.close());

const detect = (changes: Partial<NativeDetectRequest> = {}) =>
  replica.detectConcepts({
    features: nth(frames, 0),
    prompts: [{ text, boxes: new Float32Array(0), labels: new Uint8Array(0) }],
    threshold: 0.1,
    overlapThreshold: 0,
    token: unending(addon),
    ...changes,
  });
const seed = (counts: Uint32Array = BLOCK) =>
  replica.seedObjects({ features: nth(frames, 0), items: [{ counts }], token: unending(addon) });

describe("a clip", () => {
  it("is followed, whatever each object remembers, and leaves nothing on the device", async () => {
    const before = replica.stats().featureBytes;
    const follower = new Follower(replica, unending(addon));
    const first = await follower.begin(nth(frames, 0), [clicked(20, 30), clicked(60, 10), clicked(5, 55)]);
    expect(first.masks.count).toBe(3);
    for (let i = 1; i < 5; i++) {
      const tracked = await follower.follow(nth(frames, i), i % 2 === 0 ? [1] : []);
      expect(tracked.objectScores).toHaveLength(3);
      expect([...tracked.objectScores, ...tracked.quality].every(Number.isFinite)).toBe(true);
      const rows = [0, 1, 2].map((row) => ({ masks: tracked.cleaned, row }));
      const read = await replica.readMasks({ rows, width: 33, height: 21, token: unending(addon) });
      for (const { counts, area, box } of read) {
        const bits = decodeRuns(counts, 33 * 21);
        expect(bits.reduce((sum, bit) => sum + bit, 0)).toBe(area);
        const inside = [...bits.keys()].filter((at) => bits[at] === 1);
        const xs = inside.map((at) => Math.floor(at / 21));
        const ys = inside.map((at) => at % 21);
        const around = [Math.min(...xs), Math.min(...ys), Math.max(...xs) + 1, Math.max(...ys) + 1];
        expect([...box]).toEqual(area === 0 ? [0, 0, 0, 0] : around);
      }
    }
    expect(follower.memories.map(({ length }) => length)).toEqual([5, 3, 5]);
    expect(replica.stats().featureBytes).toBeGreaterThan(before);
    follower.dispose();
    expect(replica.stats().featureBytes).toBeLessThanOrEqual(before);
  });

  it("goes on the same after its memories were saved and restored, here or on the host", async () => {
    const follower = new Follower(replica, unending(addon));
    await follower.begin(nth(frames, 0), [clicked(20, 30), clicked(60, 10)]);
    await follower.follow(nth(frames, 1));
    const blocks = await replica.saveMemories(follower.memories.flat(), unending(addon));
    const host = await replica.moveMemories(follower.memories.flat(), "host", unending(addon));
    expect(host.map(({ tier }) => tier)).toEqual(Array(4).fill("host"));
    const back = await replica.moveMemories(host, "device", unending(addon));
    // As after a restart: the bytes went through a file, and the replica is another.
    const other = await openTiny(addon, 1, 2);
    const restored = await other.restoreMemories(
      blocks.map((block) => Buffer.from(block)),
      unending(addon),
    );
    const tokens = { cleanArea: 0, token: unending(addon) };
    const scores = [];
    for (const [owner, features, list] of [
      [replica, nth(frames, 2), follower.memories.flat()],
      [replica, nth(frames, 2), back],
      [other, await encodeOne(addon, other, noise(WIDTH, HEIGHT, 102)), restored],
    ] as const) {
      const items = [remembering(list.slice(0, 2)), remembering(list.slice(2))];
      const tracked = await owner.trackObjects({ features, items, ...tokens });
      scores.push([...tracked.objectScores, ...tracked.quality]);
    }
    expect(scores[1]).toEqual(scores[0]);
    expect(scores[2]).toEqual(scores[0]);
    expect(
      await failure(
        replica.trackObjects({ features: nth(frames, 2), items: [remembering(host)], ...tokens }),
      ),
    ).toMatchObject({ code: "INVALID_ARGUMENT" });
    follower.dispose();
    await other.close();
  });

  it("refuses bytes that are no memory of this model", async () => {
    const follower = new Follower(replica, unending(addon));
    await follower.begin(nth(frames, 0), [clicked(20, 30)]);
    const [block] = await replica.saveMemories(nth(follower.memories, 0), unending(addon));
    const changed = Uint8Array.from(block ?? []);
    changed[changed.length - 1] = (changed[changed.length - 1] ?? 0) ^ 1;
    for (const bytes of [new Uint8Array(0), changed, changed.subarray(0, 30)]) {
      expect(await failure(replica.restoreMemories([bytes], unending(addon)))).toMatchObject({
        code: "INVALID_ARGUMENT",
      });
    }
    follower.dispose();
  });
});

describe("handles", () => {
  it("tell what they hold, and are let go once", async () => {
    const before = replica.stats().featureBytes;
    const found = await detect();
    expect(found.masks.count).toBe(found.scores.length);
    expect(found.boxes).toHaveLength(4 * found.scores.length);
    expect(found.presence).toHaveLength(1);
    const { masks, cleaned, pointers } = await seed();
    expect([masks.count, pointers.count]).toEqual([1, 1]);
    expect(masks.bytes).toBeGreaterThan(32 * 32 * 4);
    for (const handle of [found.masks, masks, cleaned, pointers]) {
      expect(handle.disposed).toBe(false);
      handle.dispose();
      handle.dispose();
      expect(handle.disposed).toBe(true);
      expect(handle.bytes).toBeGreaterThan(0);
    }
    expect(replica.stats().featureBytes).toBeLessThanOrEqual(before);
  });

  it("that were let go, of another kind or of another replica are refused", async () => {
    const { masks, cleaned, pointers } = await seed();
    const token = unending(addon);
    const read = (rows: unknown) => replica.readMasks({ rows, width: 8, height: 8, token } as never);
    expect(await failure(read([{ masks: pointers, row: 0 }]))).toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(await failure(read([{ masks: {}, row: 0 }]))).toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(await failure(read([{ masks, row: 1 }]))).toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(await failure(read([{ masks, row: "0" }]))).toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(await failure(read([{ masks, row: 0, hidden: 1 }]))).toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(await failure(read({}))).toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(await failure(replica.readMasks(undefined as never))).toMatchObject({ code: "INVALID_ARGUMENT" });
    cleaned.dispose();
    expect(await failure(read([{ masks: cleaned, row: 0 }]))).toMatchObject({ code: "DISPOSED" });
    const other = await openTiny(addon, 1, 2);
    const theirs = await failure(other.readMasks({ rows: [{ masks, row: 0 }], width: 8, height: 8, token }));
    expect(theirs).toMatchObject({ code: "INVALID_ARGUMENT" });
    await other.close();
    masks.dispose();
    expect(await failure(read([{ masks, row: 0 }]))).toMatchObject({ code: "DISPOSED" });
    pointers.dispose();
    expect(() => new (masks.constructor as new () => unknown)()).toThrow("made by a replica only");
  });

  it("of overlapping objects are empty for one that keeps less of itself than it must", async () => {
    const token = unending(addon);
    const answers = [await seed(), await seed()];
    const rows = answers.map((answer) => ({ ...rowOf(answer, 0), group: 0 }));
    const request = { features: nth(frames, 0), rows, binarize: true, throughSquare: false, token };
    // The same mask twice: every cell is the first one's, and the second keeps nothing.
    const [least, most] = [
      await replica.rememberObjects({ ...request, leastKept: 0 }),
      await replica.rememberObjects({ ...request, leastKept: 0.3 }),
    ];
    const [first, second, winner, loser] = (await replica.saveMemories([...least, ...most], token)).map(
      (block) => Buffer.from(block).toString("hex"),
    );
    expect(second).toBe(first);
    expect(winner).toBe(first);
    expect(loser).not.toBe(first);
    const handles = answers.flatMap(({ masks, cleaned, pointers }) => [masks, cleaned, pointers]);
    for (const handle of [...new Set(handles), ...least, ...most]) handle.dispose();
  });

  it("of hundreds of frames do not add up", async () => {
    const before = replica.stats().featureBytes;
    for (let round = 0; round < 100; round++) {
      const { masks, cleaned, pointers } = await seed();
      const token = unending(addon);
      const request = {
        features: nth(frames, 0),
        binarize: true,
        throughSquare: true,
        leastKept: 0.3,
        token,
      };
      const kept = await replica.rememberObjects({ ...request, rows: [rowOf({ masks, pointers }, 0)] });
      const copy = await replica.cleanMasks({ rows: [{ masks, row: 0 }], area: 2, token });
      for (const handle of [masks, cleaned, pointers, copy, ...kept]) handle.dispose();
    }
    // Less, where the collector found handles that other tests let lie.
    expect(replica.stats().featureBytes).toBeLessThanOrEqual(before);
  });
});

describe("calls", () => {
  it("overlap masks with masks, hidden ones with nothing", async () => {
    const { masks } = await seed();
    const rows = [
      { masks, row: 0 },
      { masks, row: 0, hidden: true },
    ];
    const { iou, areasA, areasB } = await replica.compareMasks({ a: rows, b: rows, token: unending(addon) });
    expect([...iou]).toEqual([1, 0, 0, 0]);
    expect(areasA).toEqual(areasB);
    expect(areasA[1]).toBe(0);
    masks.dispose();
  });

  it("that were cancelled are ABORTED, before they begin and while they wait", async () => {
    const token = new addon.CancelToken();
    const waiting = [detect({ token }), detect({ token }), detect({ token })];
    token.cancel();
    const codes = await Promise.all(waiting.map((call) => failure(call)));
    // The first may have begun; what it found is not handed out any more.
    expect(codes.map(({ code }) => code)).toEqual(["ABORTED", "ABORTED", "ABORTED"]);
    expect(await failure(detect({ token }))).toMatchObject({ code: "ABORTED" });
  });

  it("on a closed replica are DISPOSED", async () => {
    const other = await openTiny(addon, 1, 2);
    await other.close();
    expect(await failure(other.restoreMemories([], unending(addon)))).toMatchObject({ code: "DISPOSED" });
  });

  it("take what is no request as INVALID_ARGUMENT", async () => {
    const calls = [
      "detectConcepts",
      "trackObjects",
      "seedObjects",
      "rememberObjects",
      "compareMasks",
      "cleanMasks",
      "readMasks",
      "moveMemories",
      "saveMemories",
      "restoreMemories",
    ] as const;
    const token = unending(addon);
    const strange = [undefined, null, 1, "x", {}, [], [1], () => 1, text, new Uint8Array(3)];
    for (const call of calls) {
      const ask = replica[call].bind(replica) as (...args: unknown[]) => Promise<unknown>;
      for (const value of strange) {
        const requests = [
          [value, value, value],
          [
            {
              token,
              features: nth(frames, 0),
              rows: value,
              items: value,
              prompts: value,
              a: value,
              b: value,
              area: value,
            },
          ],
          [
            {
              token,
              features: value,
              rows: [value],
              items: [value],
              prompts: [value],
              a: [value],
              b: [value],
            },
          ],
        ];
        for (const args of requests) {
          const { code } = await failure(ask(...args));
          // An empty list where a list is due asks for nothing, and that is given.
          expect(["INVALID_ARGUMENT", "none"], `${call}(${String(value)})`).toContain(code);
          if (!Array.isArray(value)) expect(code, `${call}(${String(value)})`).toBe("INVALID_ARGUMENT");
        }
      }
    }
  });
});

describe("parts that fail", () => {
  let faulty: NativeReplica;
  let features: NativeFeatures;
  beforeAll(async () => {
    faulty = await openTiny(addon, 1, "faults");
    features = await encodeOne(addon, faulty, noise(WIDTH, HEIGHT));
  });
  beforeEach(() => faults.reset());
  afterAll(() => faulty?.close());

  it.each([
    ["memory_encoder", "memory", "OUT_OF_MEMORY"],
    ["memory_encoder", "error", "MODEL_FAILED"],
    ["object_decoder", "device", "DEVICE_FAULT"],
    ["object_decoder", "nan", "MODEL_FAILED"],
  ] as const)("%s with %s: the call fails with %s, the next one works", async (part, kind, code) => {
    const follower = new Follower(faulty, unending(addon));
    const begin = () => follower.begin(features, [clicked(20, 30)]);
    await begin();
    faults.arm(part, { kind });
    expect(await failure(begin())).toMatchObject({ code });
    await begin();
    follower.dispose();
  });

  it("a bundle without `masked` follows objects that remember equally much, and says what to do about others", async () => {
    const follower = new Follower(faulty, unending(addon));
    await follower.begin(features, [clicked(20, 30), clicked(60, 10)]);
    await follower.follow(features);
    await follower.follow(features, [1]);
    const failed = await failure(follower.follow(features));
    expect(failed).toMatchObject({ code: "BUNDLE_INVALID" });
    expect(failed.message).toContain("Export the bundle again");
    follower.dispose();
  });
});

describe("pixels in YUV 4:2:0", () => {
  const [width, height] = [33, 21];
  const luma = Uint8Array.from({ length: width * height }, (_, i) => 16 + ((i * 7) % 220));
  const grey = new Uint8Array(2 * 17 * 11).fill(128);
  const data = Uint8Array.of(...luma, ...grey);

  it("are encoded as the same pixels in RGB are", async () => {
    const rgb = new Uint8Array(width * height * 3);
    luma.forEach((y, i) => {
      rgb.fill(Math.min(255, Math.max(0, Math.round(((y - 16) * 255) / 219))), 3 * i, 3 * i + 3);
    });
    const found = [];
    for (const pixels of [
      { data: rgb, width, height },
      { data, width, height, yuv: { matrix: "bt709", range: "limited" } as const },
      { data, width, height, yuv: { matrix: "bt601", range: "full" } as const },
    ]) {
      const encoded = await encodeOne(addon, replica, pixels);
      const request = { features: encoded, items: [clicked(10, 10)], cleanArea: 0, token: unending(addon) };
      found.push([...(await replica.trackObjects(request)).objectScores]);
    }
    expect(found[1]).toEqual(found[0]);
    expect(found[2]).not.toEqual(found[0]);
  });

  it("are refused where the planes are too short or the kind is unknown", async () => {
    const encode = async (pixels: unknown) => {
      const items = withTokens(addon, [{ pixels } as never]);
      return failure(replica.encodeImages(items, EIGHT).then(only));
    };
    const kind = { matrix: "bt601", range: "limited" };
    expect(await encode({ data: data.subarray(1), width, height, yuv: kind })).toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    for (const yuv of [null, {}, { ...kind, matrix: "bt2020" }, { ...kind, range: "" }, "bt601"]) {
      expect(await encode({ data, width, height, yuv })).toMatchObject({ code: "INVALID_ARGUMENT" });
    }
  });
});
