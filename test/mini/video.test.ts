import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type FrameResult, Sam3, type SessionOptions, type VideoSession } from "../../lib/index.js";
import { runScenario } from "../lifetime/run-scenario.js";
import { CLIP, drawClip, type Mover } from "./clip.js";

// These hold for any weights, so they tell a broken program from a weak model; how well mini tracks is measured elsewhere.
const FRAMES = 8;
/** A frame takes a second where other work has the machine. */
const TIMEOUT = 240_000;
const movers: Mover[] = [
  { kind: "circle", color: "#d02020", size: 56, at: [60, 60], by: [6, 3] },
  { kind: "circle", color: "#d02020", size: 44, at: [200, 130], by: [-5, -3] },
  { kind: "square", color: "#2040d0", size: 50, at: [190, 50], by: [-4, 4] },
];
const options: SessionOptions = { temporalDisambiguation: false };
/** A clip that is long enough for hindsight: what comes as a circle turns out to be a square, and is taken back. */
const LONG = 28;
const passing: Mover[] = [
  { kind: "circle", color: "#d02020", size: 50, at: [40, 50], by: [6, 0] },
  { kind: "circle", color: "#d02020", size: 50, at: [216, 130], by: [-6, 0] },
  { kind: "circle", color: "#d02020", size: 38, at: [128, 90], by: [0, 0], frames: [3, 4] },
  { kind: "square", color: "#d02020", size: 38, at: [128, 90], by: [0, 0], frames: [5, LONG] },
];

let sam: Sam3;
let folder: string;
let clip: string;
let long: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sam3-video-"));
  clip = await writeClip("clip", movers, FRAMES);
  long = await writeClip("long", passing, LONG);
  // One thread: sums are then taken in one order, and results of equal work are equal to the bit.
  sam = await Sam3.load({ threads: 1, featureCache: false });
});
afterAll(async () => {
  await sam?.close();
  if (folder) await rm(folder, { recursive: true });
});

async function writeClip(name: string, things: readonly Mover[], count: number): Promise<string> {
  const path = join(folder, name);
  await mkdir(path);
  const frames = await drawClip(things, count);
  await Promise.all(frames.map((png, i) => writeFile(join(path, `${String(i).padStart(3, "0")}.png`), png)));
  return path;
}

async function prompted(session: VideoSession): Promise<VideoSession> {
  await session.addPrompt({ text: "red circle" });
  await session.addPrompt({ box: [60, 30, 110, 80] });
  return session;
}

async function all(frames: AsyncIterable<FrameResult>): Promise<FrameResult[]> {
  const out: FrameResult[] = [];
  for await (const frame of frames) out.push(frame);
  return out;
}
const facts = (frames: readonly FrameResult[]) =>
  frames.map((frame) => ({ ...(JSON.parse(JSON.stringify(frame)) as object), removedIds: frame.removedIds }));
/** The same objects in the same places, as far as sums that were taken in another order may tell. */
function expectAlike(again: readonly FrameResult[], first: readonly FrameResult[]): void {
  expect(again.map(({ index }) => index)).toEqual(first.map(({ index }) => index));
  again.forEach(({ objects }, i) => {
    const before = first[i]?.objects ?? [];
    expect(objects.map(({ id }) => id)).toEqual(before.map(({ id }) => id));
    objects.forEach(({ box }, k) => {
      const moved = box.map((edge, side) => Math.abs(edge - (before[k]?.box[side] as number)));
      expect(Math.max(...moved)).toBeLessThanOrEqual(2);
    });
  });
}

describe("tracking with the real addon", () => {
  it(
    "gives well-formed objects, which leave each other's pixels alone",
    async () => {
      await using session = await prompted(await sam.video.open(clip, options));
      const frames = await all(session.propagate({ direction: "both", outputs: { empty: true } }));
      expect(frames.map(({ index }) => index)).toEqual(Array.from({ length: FRAMES }, (_, i) => i));
      expect(frames[0]?.objects.length).toBeGreaterThan(0);
      for (const { image, objects, index } of frames) {
        expect(image).toEqual(CLIP);
        expect(new Set(objects.map(({ id }) => id)).size).toBe(objects.length);
        for (const { mask, box, score, trackScore, isNew, id } of objects) {
          expect([mask.width, mask.height]).toEqual([CLIP.width, CLIP.height]);
          expect(mask.area).toBe(mask.toBitmap().reduce((sum, v) => sum + v, 0));
          expect(box).toEqual(mask.box);
          for (const share of [score, trackScore]) expect(share >= 0 && share <= 1).toBe(true);
          expect(isNew).toBe(session.objects.find((it) => it.id === id)?.firstFrame === index);
        }
        const found = objects.filter(({ prompt }) => prompt === 0);
        for (const one of found)
          for (const other of found) if (one !== other) expect(one.mask.overlap(other.mask)).toBe(0);
      }
    },
    TIMEOUT,
  );

  it(
    "gives the same again: from its results, computed anew, and beside another session",
    async () => {
      await using one = await prompted(await sam.video.open(clip, options));
      const first = await all(one.propagate());
      expect(facts(await all(one.propagate()))).toEqual(facts(first));
      await using two = await prompted(await sam.video.open(clip, options));
      await using three = await prompted(await sam.video.open(clip, options));
      const [second, third] = await Promise.all([all(two.propagate()), all(three.propagate())]);
      // Frames of two sessions may be encoded as one batch, whose sums are not those of one alone.
      for (const again of [second, third]) expectAlike(again, first);
    },
    TIMEOUT,
  );

  it(
    "keeps apart who passed each other before a frame where the text was given again",
    async () => {
      await using once = await sam.video.open(long, options);
      await once.addPrompt({ text: "red circle" });
      const expected = await all(once.propagate());
      const [left, right] = [expected[0], expected.at(-1)].map((frame) =>
        frame?.objects.map(({ id, box }) => [id, box[0] < CLIP.width / 2]).slice(0, 2),
      );
      expect([left, right]).toEqual([
        expect.arrayContaining([
          [0, true],
          [1, false],
        ]),
        expect.arrayContaining([
          [0, false],
          [1, true],
        ]),
      ]);
      await using twice = await sam.video.open(long, options);
      await twice.addPrompt({ text: "red circle" });
      const { frame } = await twice.addPrompt({ frame: LONG - 4, text: "red circle" });
      expect(frame?.objects.length).toBeGreaterThanOrEqual(2);
      expectAlike(await all(twice.propagate()), expected);
    },
    TIMEOUT,
  );

  it(
    "says how much it holds on the device, and gives it back",
    async () => {
      const held = () => sam.stats().replicas[0]?.featureBytes as number;
      const before = held();
      const session = await prompted(await sam.video.open(clip, options));
      expect(session.status().deviceBytes).toBe(held() - before);
      await all(session.propagate());
      expect(session.status().deviceBytes).toBeGreaterThan(0);
      expect(session.status().deviceBytes).toBe(held() - before);
      await session.close();
      expect(held()).toBe(before);
    },
    TIMEOUT,
  );

  it(
    "goes on after its process was killed with what it would have gone on with",
    async () => {
      const file = join(folder, "killed.session");
      const { signal, output } = await runScenario(
        new URL("./video-scenario.mjs", import.meta.url),
        JSON.stringify({ file, clip: long, frames: 5 }),
      );
      expect({ signal, output }).toEqual({ signal: "SIGKILL", output: "saved\n" });
      await using whole = await prompted(await sam.video.open(long));
      const expected = await all(whole.propagate());
      // Something was taken back with hindsight, before the kill and known by the file alone.
      expect(expected.flatMap(({ removedIds }) => removedIds).length).toBeGreaterThan(0);
      await using restored = await sam.video.restore(file, long);
      const { framesDone } = restored.status();
      expect(framesDone).toBeGreaterThanOrEqual(15);
      expect(framesDone).toBeLessThan(LONG);
      expect(facts(await all(restored.propagate()))).toEqual(facts(expected));
    },
    TIMEOUT,
  );

  it(
    "tracks live frames for as long as they come, and holds no more for it",
    async () => {
      // Two objects at most: a weak model finds the same one anew on every frame.
      await using session = await sam.video.open(null, { ...options, rules: { maxObjects: 2 } });
      await session.addPrompt({ text: "red circle" });
      const frames = await drawClip(movers, FRAMES);
      async function* camera() {
        for (let i = 0; i < 24; i++) yield frames[i % FRAMES] as Buffer;
      }
      const bytes: number[] = [];
      for await (const { index } of session.stream(camera())) {
        expect(index).toBe(bytes.length);
        bytes.push(session.status().deviceBytes / Math.max(1, session.status().objects));
      }
      // Per object: what it remembers is full after the longest pointer's age.
      expect(bytes.at(-1)).toBeLessThanOrEqual(Math.max(...bytes.slice(0, 20)) * 1.01);
    },
    TIMEOUT,
  );
});
