import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type CocoRle, Mask, Sam3, type VideoObject } from "../../lib/index.js";
import { pythonWith } from "../unit/python.js";
import { deepest } from "./click.js";
import {
  concepts,
  emptyTally,
  type Found,
  follow,
  type Tally,
  type VideoScores,
  watch,
} from "./video-scores.js";

/** What of scripts/mini/video_evaluation.py's file is needed here. */
interface ClipSet {
  /** Pixels: an object that shows fewer is not there. */
  leastVisible: number;
  clips: {
    folder: string;
    frames: number;
    clickable: number[];
    objects: { shape: string; colour: string; masks: (CocoRle | null)[] }[];
  }[];
}

/**
 * What the model is meant to reach. `gone…` and `late` are shares: of objects that left, those not found any more from the
 * third frame on, by text and by click; of objects that appeared late, those found within 16 frames. An id that is on another
 * object by then is a switch: asked for in words, its object counts as gone. A clicked one does not, it is one thing that
 * somebody pointed at; `heldClick` says how many of those there are. Masks of nothing have no target of their own.
 */
const TARGETS = {
  text: 0.8,
  click: 0.85,
  switches: 0.02,
  switchesClick: 0.02,
  goneText: 1,
  goneClick: 1,
  late: 1,
};
type Target = keyof typeof TARGETS;
/** Those that are meant to be low. */
const SWITCHES: readonly Target[] = ["switches", "switchesClick"];
/** The number of clips that the targets are meant for. */
const ALL = "30";

/**
 * What the model in models/mini was measured to reach on these very clips. Where that is short of a target, the test
 * holds the model to its measurement and says so aloud.
 */
const measured = JSON.parse(readFileSync("models/mini/scores.json", "utf8")) as {
  video?: { readonly seed: number; readonly frames: number; readonly byClips: Record<string, VideoScores> };
};

// Other processors round differently; what a track remembers carries that on.
const ROUNDING = 0.01;

const MEASURED_SEED = 991_211;
/** Clips of another seed were never measured: they are held to the targets alone. */
const SEED = Number(process.env.SAM3_TEST_CLIPS_SEED ?? MEASURED_SEED);
const FRAMES = 60;
/** All 30 take a quarter of an hour of processor time; the first few are enough to see that nothing broke. */
const CLIPS = Number(process.env.SAM3_TEST_CLIPS ?? 6);

const { tracker } = JSON.parse(readFileSync("models/mini/manifest.json", "utf8")) as {
  tracker: { memoryTrained?: boolean };
};
const setUp = tracker.memoryTrained
  ? pythonWith(["cv2", "numpy", "pycocotools"])
  : { reason: "mini's memory is not trained yet" };
if ("reason" in setUp) {
  console.log(`not run: the evaluation of mini on video: ${setUp.reason}`);
  it.skip(`mini on clips it never saw (not run: ${setUp.reason})`, () => {});
}

describe.skipIf("reason" in setUp)(`mini on ${CLIPS} clips it never saw`, () => {
  let scores: VideoScores;
  let sam: Sam3;
  let folder: string;
  let least: number;
  const known = SEED === MEASURED_SEED ? measured.video?.byClips[String(CLIPS)] : undefined;
  /** The share of surplus masks that one track makes which lives for a clip. */
  let oneTrack: number;
  let counts: { departures: { text: number; click: number }; arrivals: number };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "sam3-clips-"));
    const { python } = setUp as { python: string };
    const options = ["--clips", String(CLIPS), "--frames", String(FRAMES), "--seed", String(SEED)];
    execFileSync(python, ["video_evaluation.py", folder, ...options], { cwd: resolve("scripts/mini") });
    const { clips, leastVisible } = JSON.parse(readFileSync(join(folder, "clips.json"), "utf8")) as ClipSet;
    least = leastVisible;
    sam = await Sam3.load();
    const text = emptyTally();
    const click = emptyTally();
    const lowest = emptyTally();
    for (const clip of clips) {
      const objects = clip.objects.map(({ shape, colour, masks }) => ({
        name: `${colour} ${shape}`,
        masks: masks.map((mask) => mask && Mask.fromRle(mask)),
      }));
      await byText(join(folder, clip.folder), objects, text);
      await byClick(join(folder, clip.folder), objects, clip.clickable, click, lowest);
    }
    scores = {
      text: mean(text),
      click: mean(click),
      switches: rate(text.switches, text.frames),
      switchesClick: rate(click.switches, click.frames),
      goneText: share(text.gone, text.left),
      goneClick: share(click.gone, click.left),
      heldClick: rate(click.held, click.left),
      late: share(text.found, text.late),
      surplus: rate(text.surplus, text.frames),
    };
    oneTrack = FRAMES / Math.max(1, text.frames);
    counts = { departures: { text: text.left, click: click.left }, arrivals: text.late };
    console.log(`video scores: ${JSON.stringify({ seed: SEED, clips: CLIPS, ...scores })}`);
    console.log(
      `of ${text.frames} object-frames by text, ${click.frames} by click, ${text.left} and ${click.left} departures, ${text.late} arrivals`,
    );
    console.log(`clicks on the lowest object of every clip alone: ${mean(lowest)}`);
    if (SEED !== MEASURED_SEED)
      console.log("not compared with models/mini/scores.json: clips of another seed");
    const short = shortOf(scores);
    if (short.length > 0) console.log(`mini is NOT at its target yet in: ${short.join(", ")}`);
  }, 5_400_000);

  afterAll(async () => {
    await sam?.close();
    if (folder) await rm(folder, { recursive: true });
  });

  async function byText(path: string, objects: readonly NamedTrack[], tally: Tally): Promise<void> {
    // On some grounds nothing stands out, and a clip there has no objects.
    if (objects.length === 0) return;
    await using session = await sam.video.open(path);
    for (const text of concepts(objects)) await session.addPrompt({ frame: 0, text });
    const frames: Found[] = [];
    for await (const { objects } of session.propagate()) frames.push({ objects: objects.filter(isThere) });
    watch(frames, objects, tally);
  }

  /**
   * Clicks every object once, on frame 0. Clicked objects do not know of each other, so each is followed as if it were alone.
   * The first is the one that all others of its clip cover: the hardest.
   */
  async function byClick(
    path: string,
    objects: readonly NamedTrack[],
    clickable: readonly number[],
    tally: Tally,
    lowest: Tally,
  ): Promise<void> {
    if (clickable.length === 0) return;
    await using session = await sam.video.open(path);
    const tracks: { id: number | null; object: NamedTrack; found: (Mask | null)[] }[] = [];
    for (const clicked of clickable.map((i) => objects[i] as NamedTrack)) {
      const { x, y } = middle(clicked.masks[0] as Mask);
      const { object } = await session.addPrompt({ frame: 0, points: [{ x, y, label: "positive" }] });
      tracks.push({ id: object, object: clicked, found: [] });
    }
    for await (const frame of session.propagate()) {
      const there = frame.objects.filter(isThere);
      for (const { id, found } of tracks) found.push(there.find((object) => object.id === id)?.mask ?? null);
    }
    for (const [i, { found, object }] of tracks.entries()) {
      follow(found, object, objects, tally);
      if (i === 0) follow(found, object, objects, lowest);
    }
  }

  /** What shows too few pixels is not there, neither in a clip nor in what was found. */
  function isThere({ mask }: VideoObject): boolean {
    return mask.area >= least;
  }

  it.runIf(SEED === MEASURED_SEED)("was measured on these very clips, and on all of them", () => {
    expect(measured.video).toMatchObject({ seed: SEED, frames: FRAMES });
    expect(known, `no scores for ${CLIPS} clips in models/mini/scores.json`).toBeDefined();
    const all = measured.video?.byClips[ALL];
    expect(all, `no scores for ${ALL} clips in models/mini/scores.json`).toBeDefined();
    const short = shortOf(all as VideoScores);
    if (short.length > 0)
      console.log(`on ${ALL} clips mini is NOT at its target yet in: ${short.join(", ")}`);
  });

  it("saw objects leave and appear late", () => {
    expect(counts.departures.text).toBeGreaterThan(0);
    expect(counts.departures.click).toBeGreaterThan(0);
    expect(counts.arrivals).toBeGreaterThan(0);
  });

  it.each(["text", "click", "goneText", "goneClick", "late"] as const)("is as good as it was: %s", (key) => {
    const least = known ? Math.min(TARGETS[key], known[key] - ROUNDING) : TARGETS[key];
    expect(scores[key]).toBeGreaterThanOrEqual(least);
  });

  it.each(SWITCHES)("keeps identities apart as it did: %s", (key) => {
    expect(scores[key]).toBeLessThanOrEqual(
      known ? Math.max(TARGETS[key], known[key] + ROUNDING) : TARGETS[key],
    );
  });

  // A score at the border, rounded otherwise, decides whether a track is born, and it may live until its clip ends.
  it.runIf(known)("finds no more that is not there than it did", () => {
    expect(scores.surplus).toBeLessThanOrEqual((known as VideoScores).surplus + oneTrack);
  });
});

/** The targets that scores do not reach. */
function shortOf(scores: VideoScores): Target[] {
  return (Object.keys(TARGETS) as Target[]).filter(
    (key) => !(SWITCHES.includes(key) ? scores[key] <= TARGETS[key] : scores[key] >= TARGETS[key]),
  );
}

/** One object of a clip: its name, and its mask on every frame it is visible on. */
interface NamedTrack {
  readonly name: string;
  readonly masks: readonly (Mask | null)[];
}

/** Where a person would click on a mask. */
function middle(mask: Mask): { x: number; y: number } {
  const inside = deepest({ width: mask.width, height: mask.height, bits: mask.toBitmap() });
  if (!inside) throw new Error("an object that can be clicked has a mask");
  return inside;
}

const mean = ({ iou, frames }: Tally) => rate(iou, frames);
/** None of none. */
const rate = (some: number, all: number) => round(some / Math.max(1, all));
/** All of none. */
const share = (some: number, all: number) => (all === 0 ? 1 : round(some / all));
const round = (value: number) => Number(value.toFixed(4));
