import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type FrameResult,
  Mask,
  type PropagateOptions,
  Sam3,
  type VideoPrompt,
  type VideoSession,
} from "../../lib/index.js";
import type { VideoRules } from "../../lib/video/rules/options.js";
import { pythonWith } from "./python.js";

interface Shown {
  frame: number;
  objects: { id: number; score?: number; counts: number[] }[];
}
/** What video_parity_reference.py beside this file writes. */
interface Reference {
  words: {
    name: string;
    seed: number;
    texts: string[];
    config: Record<string, number>;
    frames: Shown[];
    removed: number[];
  }[];
  clicks: {
    name: string;
    seed: number;
    steps: { frame: number; reverse: boolean; prompts: ClickPrompt[] }[];
    shown: Shown[];
  }[];
}
interface ClickPrompt {
  object: number;
  points?: [x: number, y: number, label: number][];
  mask?: [x1: number, y1: number, x2: number, y2: number];
}

const models = process.env.SAM3_FIXTURES ?? resolve(".cache/fixtures");
const setUp = existsSync(join(models, "0", "bundle"))
  ? pythonWith(["torch", "transformers", "tokenizers", "PIL"])
  : { reason: `no tiny models at ${models}; npm run setup -- --test makes them` };
if ("reason" in setUp) {
  console.log(`not run: parity of videos with transformers: ${setUp.reason}`);
  it.skip(`parity with transformers (not run: ${setUp.reason})`, () => {});
}

const [WIDTH, HEIGHT] = [84, 60];
/** Transformers' names of the rules that the cases change. */
const NAMES: Record<string, keyof VideoRules> = {
  new_det_thresh: "newObjectScore",
  det_nms_thresh: "detectionOverlap",
  assoc_iou_thresh: "associationIou",
  hotstart_delay: "hotstartDelay",
  hotstart_unmatch_thresh: "hotstartUnmatched",
  hotstart_dup_thresh: "hotstartDuplicate",
  recondition_every_nth_frame: "reconditionEvery",
  high_conf_thresh: "reconditionScore",
  high_iou_thresh: "reconditionIou",
  suppress_overlapping_based_on_recent_occlusion_threshold: "recentOcclusionIou",
};
/**
 * Masks of tracked objects differ where a logit lies within rounding of 0, and what differs is remembered: on a picture of
 * 5,040 pixels with masks of 1,000 two pixels are 0.998. What the issue asks for is 0.99.
 */
const LEAST_IOU = 0.99;
/** A mask so small that one pixel is more than that may differ by this many. */
const FEW_PIXELS = 4;

describe.skipIf("reason" in setUp)("a video's objects equal transformers'", () => {
  let folder: string;
  let reference: Reference;
  const loaded = new Map<number, Sam3>();

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "sam3-video-parity-"));
    const script = fileURLToPath(new URL("video_parity_reference.py", import.meta.url));
    execFileSync((setUp as { python: string }).python, [script, models, folder], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    reference = JSON.parse(readFileSync(join(folder, "reference.json"), "utf8")) as Reference;
    for (const seed of [0, 1, 2]) {
      loaded.set(seed, await Sam3.load({ model: join(models, String(seed), "bundle") }));
    }
  }, 600_000);

  afterAll(async () => {
    for (const sam of loaded.values()) await sam.close();
    if (folder) await rm(folder, { recursive: true });
  });

  const open = (name: string, seed: number, rules: Partial<VideoRules>): Promise<VideoSession> => {
    const sam = loaded.get(seed) as Sam3;
    return sam.video.open(join(folder, name), {
      // What transformers does not do: memory selection, and corrections that stay in memory.
      rules: { memorySelection: false, ...rules },
      correctionsCondition: false,
      allowUntrained: true,
    });
  };

  it("by words: the same ids on every frame, the same masks", async () => {
    let objects = 0;
    let removed = 0;
    for (const { name, seed, texts, config, frames, removed: gone } of reference.words) {
      const rules = Object.fromEntries(
        Object.entries(config).map(([key, value]) => [NAMES[key] as string, value]),
      );
      await using session = await open(name, seed, rules);
      for (const text of texts) await session.addPrompt({ text });
      const found: FrameResult[] = [];
      for await (const frame of session.propagate()) found.push(frame);
      expect(found.map(({ index }) => index)).toEqual(frames.map(({ frame }) => frame));
      found.forEach((frame, i) => {
        const expected = frames[i] as Shown;
        expect(
          frame.objects.map(({ id }) => id),
          `${name}, frame ${frame.index}`,
        ).toEqual(expected.objects.map(({ id }) => id));
        frame.objects.forEach((object, k) => {
          const { counts, score } = expected.objects[k] as Shown["objects"][number];
          expect(object.score).toBeCloseTo(score as number, 4);
          expectSame(object.mask, counts, `${name}, frame ${frame.index}, object ${object.id}`);
          objects++;
        });
      });
      expect([...new Set(found.flatMap(({ removedIds }) => removedIds))].sort((a, b) => a - b)).toEqual(gone);
      removed += gone.length;
    }
    // A case in which nothing happens proves nothing.
    console.log(
      `equal: ${objects} objects on ${reference.words.flatMap(({ frames }) => frames).length} frames, ${removed} taken back`,
    );
    expect(objects).toBeGreaterThan(120);
    expect(removed).toBeGreaterThan(0);
  }, 600_000);

  it("by points, boxes and masks: on every frame, forward and backward, before and after a correction", async () => {
    let objects = 0;
    for (const { name, seed, steps, shown } of reference.clicks) {
      await using session = await open(name, seed, {
        hotstartDelay: 0,
        hotstartUnmatched: 0,
        hotstartDuplicate: 0,
      });
      const ids = new Map<number, number>();
      for (let at = 0; at < steps.length; ) {
        const { frame, prompts, reverse } = steps[at] as Reference["clicks"][number]["steps"][number];
        for (const prompt of prompts) {
          const known = ids.get(prompt.object);
          const { object } = await session.addPrompt({
            frame,
            ...shownBy(prompt),
            object: known,
            replace: true,
          });
          ids.set(prompt.object, object as number);
        }
        // Frames up to the next prompt or turn, as one pass.
        let end = at + 1;
        while (end < steps.length && steps[end]?.prompts.length === 0 && steps[end]?.reverse === reverse)
          end++;
        const pass: PropagateOptions = {
          startFrame: frame,
          maxFrames: end - at,
          direction: reverse ? "backward" : "forward",
          outputs: { empty: true },
        };
        for await (const { index, objects: found } of session.propagate(pass)) {
          const expected = shown[at] as Shown;
          expect(index).toBe(expected.frame);
          for (const { id, counts } of expected.objects) {
            const object = found.find((it) => it.id === ids.get(id));
            expect(object, `${name}, call ${at}, object ${id}`).toBeDefined();
            expectSame(object?.mask as Mask, counts, `${name}, call ${at}, frame ${index}, object ${id}`);
            objects++;
          }
          at++;
        }
        expect(at).toBe(end);
      }
    }
    console.log(`equal: ${objects} masks of objects that were shown`);
    expect(objects).toBeGreaterThan(100);
  }, 600_000);
});

function shownBy({ points, mask }: ClickPrompt): VideoPrompt {
  if (mask) {
    const [x1, y1, x2, y2] = mask;
    const bitmap = new Uint8Array(WIDTH * HEIGHT);
    for (let y = y1; y < y2; y++) bitmap.fill(1, y * WIDTH + x1, y * WIDTH + x2);
    return { mask: Mask.fromBitmap(bitmap, WIDTH, HEIGHT) };
  }
  const corner = (label: number) => points?.find((point) => point[2] === label);
  const [upper, lower] = [corner(2), corner(3)];
  const clicks = (points ?? [])
    .filter(([, , label]) => label < 2)
    .map(([x, y, label]) => ({ x, y, label: label === 1 ? ("positive" as const) : ("negative" as const) }));
  return {
    ...(clicks.length > 0 ? { points: clicks } : {}),
    ...(upper && lower ? { box: [upper[0], upper[1], lower[0], lower[1]] as const } : {}),
  };
}

function expectSame(mask: Mask, counts: readonly number[], where: string): void {
  const expected = Mask.fromRle({ size: [HEIGHT, WIDTH], counts });
  const both = mask.overlap(expected);
  const different = mask.area + expected.area - 2 * both;
  if (different > FEW_PIXELS) expect(mask.iou(expected), where).toBeGreaterThanOrEqual(LEAST_IOU);
}
