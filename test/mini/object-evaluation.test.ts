import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Box, type CocoRle, Mask, type ObjectPrompt, type ObjectResult, Sam3 } from "../../lib/index.js";
import { pythonWith } from "../unit/python.js";
import { correction, deepest, type Region } from "./click.js";

/** What of scripts/mini/evaluation_set.py's file is needed here. */
interface SceneSet {
  scenes: { file: string; objects: { box: Box; mask: CocoRle }[] }[];
}

/** Mean IoU after one click, or after a box. */
const TARGETS = { click: 0.85, box: 0.9 };

/**
 * What the model in models/mini was measured to reach on this very set: after the first prompt and after each correction.
 * Every run must find it again, and by itself reach the targets and rise with every correction.
 */
interface Scores {
  readonly seed: number;
  readonly scenes: number;
  readonly click: readonly number[];
  readonly box: readonly number[];
}
const measured = (JSON.parse(readFileSync("models/mini/scores.json", "utf8")) as { objects: Scores }).objects;

// scores.json is rounded to a ten-thousandth, and other processors sum in another order: with AVX2 instead of AVX-512 no mean
// moved by more than 1e-6.
const ROUNDING = 0.0005;

// Fresh scenes: training draws from other random streams, and no training step ever saw one. So many that the mean of their
// objects is known to about half a hundredth (60 were not enough: they lie 0.01 below the mean of 300).
const SEED = 991_207;
const SCENES = 150;
const CORRECTIONS = 3;

const setUp = pythonWith(["cv2", "numpy", "pycocotools"]);
if ("reason" in setUp) {
  console.log(`not run: the evaluation of mini's object prompts: ${setUp.reason}`);
  it.skip(`object prompts on fresh scenes (not run: ${setUp.reason})`, () => {});
}

describe.skipIf("reason" in setUp)(`object prompts on ${SCENES} scenes mini never saw`, () => {
  const scores = { click: [] as number[], box: [] as number[] };
  let objects = 0;
  let sam: Sam3;
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "sam3-objects-"));
    const { python } = setUp as { python: string };
    execFileSync(python, ["evaluation_set.py", folder, "--scenes", String(SCENES), "--seed", String(SEED)], {
      cwd: resolve("scripts/mini"),
    });
    const { scenes } = JSON.parse(readFileSync(join(folder, "scenes.json"), "utf8")) as SceneSet;
    sam = await Sam3.load();
    const sums = { click: Array(CORRECTIONS + 1).fill(0), box: Array(CORRECTIONS + 1).fill(0) };
    for (const scene of scenes) {
      await using picture = await sam.image.encode(join(folder, scene.file));
      for (const object of scene.objects) {
        const gold = Mask.fromRle(object.mask);
        const inside = deepest(region(gold)) as { x: number; y: number };
        const first: Record<keyof typeof sums, ObjectPrompt> = {
          click: { points: [{ x: inside.x, y: inside.y, label: "positive" }] },
          box: { box: object.box },
        };
        objects++;
        for (const kind of ["click", "box"] as const) {
          let answer: ObjectResult = await picture.segmentObject(first[kind]);
          sums[kind][0] += answer.best.mask.iou(gold);
          for (let turn = 1; turn <= CORRECTIONS; turn++) {
            const point = correction(region(answer.best.mask), region(gold));
            if (point) answer = await picture.segmentObject({ refineFrom: answer, points: [point] });
            sums[kind][turn] += answer.best.mask.iou(gold);
          }
        }
      }
    }
    for (const kind of ["click", "box"] as const) scores[kind] = sums[kind].map((sum) => sum / objects);
    const shown = Object.entries(scores).map(([kind, means]) => [
      kind,
      means.map((mean) => Number(mean.toFixed(4))),
    ]);
    console.log(
      `object scores: ${JSON.stringify({ ...Object.fromEntries(shown), seed: SEED, scenes: SCENES })}`,
    );
  }, 1_200_000);

  afterAll(async () => {
    await sam?.close();
    if (folder) await rm(folder, { recursive: true });
  });

  it("is the model that was measured, on the set it was measured on", () => {
    expect({ seed: measured.seed, scenes: measured.scenes }).toEqual({ seed: SEED, scenes: SCENES });
    expect(objects).toBeGreaterThan(2 * SCENES);
  });

  it.each(["click", "box"] as const)("outlines an object from one %s", (kind) => {
    const [found] = scores[kind] as [number];
    expect(found).toBeGreaterThanOrEqual(TARGETS[kind]);
    expect(found).toBeGreaterThanOrEqual((measured[kind][0] as number) - ROUNDING);
  });

  it.each(["click", "box"] as const)("gets better with every corrective click after a %s", (kind) => {
    for (let turn = 1; turn <= CORRECTIONS; turn++) {
      const [before, found] = scores[kind].slice(turn - 1) as [number, number];
      expect(found, `correction ${turn}`).toBeGreaterThan(before);
      expect(found, `correction ${turn}`).toBeGreaterThanOrEqual((measured[kind][turn] as number) - ROUNDING);
    }
  });
});

/** A mask as plain bits. */
function region(mask: Mask): Region {
  return { width: mask.width, height: mask.height, bits: mask.toBitmap() };
}
