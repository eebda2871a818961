import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { Mask, Sam3, type VideoSession } from "../../lib/index.js";
import type { VideoRules } from "../../lib/video/rules/options.js";
import { pythonWith } from "./python.js";

/** What is to be seen on a frame. */
export interface Shown {
  frame: number;
  objects: { id: number; score?: number; counts: number[] }[];
}

/** Pixels of the frames; video_parity_model.py draws them. */
export const [WIDTH, HEIGHT] = [84, 60];
/**
 * Masks of tracked objects differ where a logit lies within rounding of 0, and what differs is remembered: on a picture of
 * 5,040 pixels with masks of 1,000 two pixels are 0.998. What the issue asks for is 0.99.
 */
const LEAST_IOU = 0.99;
/** A mask so small that one pixel is more than that may differ by this many. */
const FEW_PIXELS = 4;

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

/** Compares a mask with run lengths of transformers'. */
export function expectSame(mask: Mask, counts: readonly number[], where: string): void {
  const expected = Mask.fromRle({ size: [HEIGHT, WIDTH], counts });
  const both = mask.overlap(expected);
  const different = mask.area + expected.area - 2 * both;
  if (different > FEW_PIXELS) expect(mask.iou(expected), where).toBeGreaterThanOrEqual(LEAST_IOU);
}
