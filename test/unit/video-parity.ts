import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { Mask, Sam3, type VideoSession } from "../../lib/index.js";
import { areaOf, subtract, unite } from "../../lib/masks/runs.js";
import type { VideoRules } from "../../lib/video/rules/options.js";
import { pythonWith } from "./python.js";

/** What is to be seen on a frame. */
export interface Shown {
  frame: number;
  objects: ShownObject[];
}
export interface ShownObject {
  id: number;
  score?: number;
  /** Run lengths of its mask. */
  counts: number[];
  /** Run lengths of the pixels where its logit, or one of those it gives way to, is as good as 0 (UNDECIDED of video_parity_model.py). */
  undecided: number[];
}

/** Pixels of the frames; video_parity_model.py draws them. */
export const [WIDTH, HEIGHT] = [84, 60];
/**
 * What the issue asks for. Where objects give way to each other a few pixels may be left of one: there a single pixel is
 * more than that.
 */
const LEAST_IOU = 0.99;

const models = process.env.SAM3_FIXTURES ?? resolve(".cache/fixtures");

/** The Python to ask, or why there is none; then a skipped test that says so stands in the report. */
export function parityOf(what: string): { python: string } | { reason: string } {
  const setUp = existsSync(join(models, "0", "bundle"))
    ? pythonWith(["torch", "transformers", "tokenizers", "PIL"])
    : { reason: `no tiny models at ${models}; npm run setup -- --test makes them` };
  if ("reason" in setUp) {
    console.log(`not run: parity of ${what} with transformers: ${setUp.reason}`);
    it.skip(`parity with transformers (not run: ${setUp.reason})`, () => {});
  }
  return setUp;
}

/** Clips, what transformers shows of them, and the same tiny models to show it too. */
export class Parity<T> {
  readonly reference: T;
  readonly #folder: string;
  readonly #loaded = new Map<number, Sam3>();

  private constructor(folder: string, reference: T) {
    this.#folder = folder;
    this.reference = reference;
  }

  /** Asks transformers by a script beside this file. */
  static async make<T>(python: string, script: string): Promise<Parity<T>> {
    const folder = await mkdtemp(join(tmpdir(), "sam3-video-parity-"));
    const path = fileURLToPath(new URL(script, import.meta.url));
    execFileSync(python, [path, models, folder], { stdio: ["ignore", "ignore", "pipe"] });
    const answer = readFileSync(join(folder, "reference.json"), "utf8");
    return new Parity(folder, JSON.parse(answer) as T);
  }

  /** A session on one of the clips, with the tiny model of that seed. */
  async open(
    clip: string,
    seed: number,
    rules: Partial<VideoRules>,
    { correctionsCondition }: { correctionsCondition: boolean },
  ): Promise<VideoSession> {
    const sam = this.#loaded.get(seed) ?? (await Sam3.load({ model: join(models, String(seed), "bundle") }));
    this.#loaded.set(seed, sam);
    return sam.video.open(join(this.#folder, clip), {
      // What transformers does not do.
      rules: { memorySelection: false, ...rules },
      correctionsCondition,
      allowUntrained: true,
    });
  }

  async close(): Promise<void> {
    for (const sam of this.#loaded.values()) await sam.close();
    await rm(this.#folder, { recursive: true });
  }
}

/**
 * Compares a mask with transformers': both show something or both nothing, and they differ only in pixels that rounding
 * decides. Gives how many those are.
 */
export function expectSame(mask: Mask, { counts, undecided }: ShownObject, where: string): number {
  const expected = Mask.fromRle({ size: [HEIGHT, WIDTH], counts });
  expect(mask.area > 0, `${where} is to be seen`).toBe(expected.area > 0);
  const [ours, theirs] = [mask.toCounts(), expected.toCounts()];
  const different = unite(subtract(ours, theirs), subtract(theirs, ours));
  const decided = subtract(different, Uint32Array.from(undecided));
  expect(areaOf(decided), `${where}: pixels that differ and are not as good as 0`).toBe(0);
  if (areaOf(different) > 1) expect(mask.iou(expected), where).toBeGreaterThanOrEqual(LEAST_IOU);
  return areaOf(different);
}
