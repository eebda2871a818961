import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type CocoRle, type ConceptPrompt, type ConceptResult, Mask, Sam3 } from "../../lib/index.js";
import { pythonWith } from "../unit/python.js";

/** What scripts/mini/evaluation_set.py writes. */
interface SceneSet {
  scenes: {
    file: string;
    objects: { mask: CocoRle }[];
    prompts: {
      kind: string;
      text: string;
      boxes: [number, number, number, number, 0 | 1][];
      targets: number[];
    }[];
  }[];
}

interface Tally {
  prompts: number;
  hit: number;
  false: number;
  missed: number;
  iou: number;
  absent: number;
  absentFound: number;
}

/** What the model is meant to reach, on 300 fresh scenes. */
const TARGETS = { f1: 0.92, iou: 0.88, absentFound: 0.03, exemplarF1: 0.85 };

/**
 * What the model in models/mini was measured to reach on this very set (models/mini/scores.json). Where that is short of
 * a target, the test holds the model to its measurement and says so aloud; it is never held to less than a target met.
 */
type Scores = typeof TARGETS & { readonly seed: number; readonly scenes: number };
const measured = JSON.parse(readFileSync("models/mini/scores.json", "utf8")) as Scores;

// Other processors round differently, which turns a few borderline objects among a few thousand.
const ROUNDING = 0.005;

const floor = (key: "f1" | "iou" | "exemplarF1") =>
  measured[key] >= TARGETS[key] ? TARGETS[key] : measured[key] - ROUNDING;
const ceiling =
  measured.absentFound <= TARGETS.absentFound ? TARGETS.absentFound : measured.absentFound + ROUNDING;

// Fresh scenes: training draws from other random streams, and no one looked at these before the model was final.
const SEED = 991_203;
const SCENES = 300;

/** Pairs found masks with expected ones, best score first; IoU of each pair of 0.5 and more. */
function pairUp(found: readonly Mask[], expected: readonly Mask[]): number[] {
  const free = new Set(expected);
  const pairs: number[] = [];
  for (const mask of found) {
    let best: Mask | undefined;
    let bestIou = 0;
    for (const candidate of free) {
      const iou = mask.iou(candidate);
      if (iou > bestIou) {
        best = candidate;
        bestIou = iou;
      }
    }
    if (best && bestIou >= 0.5) {
      free.delete(best);
      pairs.push(bestIou);
    }
  }
  return pairs;
}

const f1 = ({ hit, false: wrong, missed }: Tally) => (2 * hit) / Math.max(1, 2 * hit + wrong + missed);

const setUp = pythonWith(["cv2", "numpy", "pycocotools"]);
if ("reason" in setUp) {
  console.log(`not run: the evaluation of mini: ${setUp.reason}`);
  it.skip(`evaluation of mini (not run: ${setUp.reason})`, () => {});
}

describe.skipIf("reason" in setUp)(`mini on ${SCENES} scenes it never saw`, () => {
  const kinds = new Map<string, Tally>();
  let all: Tally;
  let sam: Sam3;
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "sam3-evaluation-"));
    const { python } = setUp as { python: string };
    execFileSync(python, ["evaluation_set.py", folder, "--scenes", String(SCENES), "--seed", String(SEED)], {
      cwd: resolve("scripts/mini"),
    });
    const { scenes } = JSON.parse(readFileSync(join(folder, "scenes.json"), "utf8")) as SceneSet;
    sam = await Sam3.load();
    for (const scene of scenes) {
      await using picture = await sam.image.encode(join(folder, scene.file));
      const masks = scene.objects.map(({ mask }) => Mask.fromRle(mask));
      // Prompts of words alone are asked together.
      const words = scene.prompts.filter(({ boxes }) => boxes.length === 0);
      const together = await picture.segmentConcept({ text: words.map(({ text }) => text) });
      for (const prompt of scene.prompts) {
        const at = words.indexOf(prompt);
        const objects =
          at === -1
            ? (await picture.segmentConcept(asPrompt(prompt))).objects
            : together.objects.filter((object) => object.prompt === at);
        count(
          prompt.kind,
          objects,
          prompt.targets.map((target) => masks[target] as Mask),
        );
      }
    }
    all = [...kinds.values()].reduce((sum, tally) => add(sum, tally), empty());
    report();
  }, 1_200_000);

  afterAll(async () => {
    await sam?.close();
    if (folder) await rm(folder, { recursive: true });
  });

  function asPrompt({ kind, text, boxes }: SceneSet["scenes"][number]["prompts"][number]): ConceptPrompt {
    const exemplars = boxes.map(([x1, y1, x2, y2, label]) => ({
      box: [x1, y1, x2, y2] as [number, number, number, number],
      label: label === 1 ? ("positive" as const) : ("negative" as const),
    }));
    // Boxes alone: the bundle's own words stand in, as a user would have it.
    return kind.startsWith("exemplar") ? { exemplars } : { text, exemplars };
  }

  function count(kind: string, objects: ConceptResult["objects"], expected: readonly Mask[]): void {
    const pairs = pairUp(
      objects.map(({ mask }) => mask),
      expected,
    );
    kinds.set(
      kind,
      add(kinds.get(kind) ?? empty(), {
        prompts: 1,
        hit: pairs.length,
        false: objects.length - pairs.length,
        missed: expected.length - pairs.length,
        iou: pairs.reduce((sum, iou) => sum + iou, 0),
        absent: expected.length === 0 ? 1 : 0,
        absentFound: expected.length === 0 && objects.length > 0 ? 1 : 0,
      }),
    );
  }

  function report(): void {
    const line = (name: string, t: Tally) =>
      `${name.padEnd(18)} ${String(t.prompts).padStart(5)} prompts, F1 ${f1(t).toFixed(3)}, IoU ${(t.iou / Math.max(1, t.hit)).toFixed(3)}, absent but found ${t.absentFound}/${t.absent}`;
    const scores: Omit<Scores, "seed" | "scenes"> = {
      f1: f1(all),
      iou: all.iou / Math.max(1, all.hit),
      absentFound: all.absentFound / Math.max(1, all.absent),
      exemplarF1: exemplars().f1,
    };
    const short = (Object.keys(TARGETS) as (keyof typeof TARGETS)[]).filter((key) =>
      key === "absentFound" ? scores[key] > TARGETS[key] : scores[key] < TARGETS[key],
    );
    console.log(`scores: ${JSON.stringify({ ...scores, seed: SEED, scenes: SCENES })}`);
    if (short.length > 0) console.log(`mini is NOT at its target yet in: ${short.join(", ")}`);
    console.log([line("all", all), ...[...kinds].map(([kind, tally]) => line(kind, tally))].join("\n"));
  }

  it("is the model that was measured, on the set it was measured on", () => {
    expect({ seed: measured.seed, scenes: measured.scenes }).toEqual({ seed: SEED, scenes: SCENES });
  });

  it(`finds what is there: F1 at IoU 0.5 (target ${TARGETS.f1})`, () => {
    expect(all.hit + all.missed).toBeGreaterThan(SCENES);
    expect(f1(all)).toBeGreaterThanOrEqual(floor("f1"));
  });

  it(`outlines it: mean IoU of what matched (target ${TARGETS.iou})`, () => {
    expect(all.iou / all.hit).toBeGreaterThanOrEqual(floor("iou"));
  });

  it(`finds nothing where nothing is: share of absent concepts found (target ${TARGETS.absentFound})`, () => {
    expect(all.absent).toBeGreaterThan(SCENES);
    expect(all.absentFound / all.absent).toBeLessThanOrEqual(ceiling);
  });

  it(`finds the others of an example box's kind: F1 (target ${TARGETS.exemplarF1})`, () => {
    const { tally, f1: reached } = exemplars();
    expect(tally.prompts).toBeGreaterThan(SCENES / 2);
    expect(reached).toBeGreaterThanOrEqual(floor("exemplarF1"));
  });

  function exemplars(): { tally: Tally; f1: number } {
    const tally = [...kinds]
      .filter(([kind]) => kind.startsWith("exemplar"))
      .reduce((sum, [, t]) => add(sum, t), empty());
    return { tally, f1: f1(tally) };
  }
});

function empty(): Tally {
  return { prompts: 0, hit: 0, false: 0, missed: 0, iou: 0, absent: 0, absentFound: 0 };
}

function add(a: Tally, b: Tally): Tally {
  return Object.fromEntries(
    Object.keys(a).map((key) => [key, a[key as keyof Tally] + b[key as keyof Tally]]),
  ) as unknown as Tally;
}
