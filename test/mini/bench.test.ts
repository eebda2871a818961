import { execFile, execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { pythonWith } from "../unit/python.js";

// One round of each benchmark: that it runs and prints what it is there for. How much is its business on a quiet machine.

const execute = promisify(execFile);
const ROUNDS = "1";

/** Runs a benchmark of bench/ and gives what it prints. */
async function bench(file: string, args: readonly string[], env: Record<string, string> = {}) {
  const { stdout, stderr } = await execute(process.execPath, [join("bench", file), ...args], {
    env: { ...process.env, ...env },
  });
  expect(stderr).toBe("");
  return stdout;
}

/** Least, median and most milliseconds of a line that begins with `name` and says something with `before` in front. */
function figures(printed: string, name: string, before = ""): number[] {
  const number = "(\\d+\\.\\d)";
  const found = new RegExp(`^ *${name}.*?${before} +${number} / ${number} / ${number}(?= |$)`, "m").exec(
    printed,
  );
  return (found ?? []).slice(1).map(Number);
}

/** How many times as long something takes, of the line that begins with `name`. */
function ratio(printed: string, name: string): number {
  return Number(new RegExp(`^ *${name} takes (\\d+\\.\\d+) times as long`, "m").exec(printed)?.[1]);
}

function expectFigures(printed: string, name: string, before?: string): void {
  const values = figures(printed, name, before);
  expect(values, `${name} in\n${printed}`).toHaveLength(3);
  for (const value of values) expect(value, name).toBeGreaterThan(0);
  expect(values).toEqual([...values].sort((a, b) => a - b));
}

function expectRatio(printed: string, name: string): void {
  expect(ratio(printed, name), `${name} in\n${printed}`).toBeGreaterThan(0);
}

it("batching.mjs prints batches against one by one, for both kinds of work", async () => {
  const printed = await bench("batching.mjs", ["mini", "cpu", ROUNDS]);
  const works = printed.split("ms a call").slice(1);
  expect(works).toHaveLength(2);
  for (const work of works) {
    expectFigures(work, "one by one");
    expectFigures(work, "in batches");
    expectRatio(work, "one by one");
  }
  for (const stage of ["encodeImages", "segmentConcepts"]) {
    const items = new RegExp(`^ *${stage} +(\\d+\\.\\d)$`, "m").exec(printed)?.[1];
    expect(Number(items), `${stage} in\n${printed}`).toBeGreaterThan(1);
  }
}, 600_000);

it("cache.mjs prints the second text against the first", async () => {
  const printed = await bench("cache.mjs", ["mini", "cpu", ROUNDS]);
  for (const name of ["first text on a picture", "second text, picture cached", "first text again"]) {
    expectFigures(printed, name);
  }
  expectRatio(printed, "the first");
  const [hits, misses] = (/pictures (\d+) hits, (\d+) misses/.exec(printed) ?? []).slice(1).map(Number);
  // Two rounds to warm up and one that counts: of three calls each, the first encodes.
  expect([hits, misses]).toEqual([6, 3]);
}, 600_000);

const setUp = pythonWith(["torch", "transformers", "safetensors", "tokenizers", "PIL"]);
if ("reason" in setUp) {
  console.log(`not run: bench/transformers.mjs: ${setUp.reason}`);
  it.skip(`transformers.mjs (not run: ${setUp.reason})`, () => {});
}

describe.skipIf("reason" in setUp)("transformers.mjs", () => {
  it("prints stages and throughput beside transformers' from one run, with the same objects", async () => {
    const { python } = setUp as { python: string };
    const folder = await mkdtemp(join(tmpdir(), "sam3-bench-test-"));
    try {
      // A third of mini's resolution: here it need not be its size.
      execFileSync(python, [resolve("scripts/mini/model.py"), folder, "96"], { stdio: "ignore" });
      const args = ["--checkpoint", folder, "--rounds", ROUNDS, "--pictures", "9"];
      const printed = await bench("transformers.mjs", args, { SAM3_PYTHON: python });
      for (const stage of ["decoding the file", "image encoder", "first text, whole", "second text"]) {
        expectFigures(printed, stage, "ours");
        expectFigures(printed, stage, "transformers");
        expectRatio(printed, `${stage}: transformers`);
      }
      const throughput = printed.slice(printed.indexOf("at the same time"));
      for (const side of ["ours", "transformers"]) {
        expectFigures(throughput, `${side}, one by one`);
        expectFigures(throughput, `${side}, in batches`);
        expectRatio(throughput, `"${side}, one by one"`);
      }
      expectRatio(throughput, '"transformers, in batches"');
      const gathered = /in a batch of ours, on average: (\d+\.\d)$/m.exec(throughput)?.[1];
      expect(Number(gathered)).toBeGreaterThan(1);
      // Every query of nine pictures is an object: all four ways find as many.
      expect(printed).toMatch(/^objects of both texts, ours \/ theirs: 36 and 36 \/ 36 and 36$/m);
      expect(printed).toMatch(/^objects, ours and theirs: 324$/m);
    } finally {
      await rm(folder, { recursive: true });
    }
  }, 600_000);
});
