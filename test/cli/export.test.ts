import { chmod, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { SHAPES, sam3 } from "./support/cli.js";
import { zipOf } from "./support/zip.js";

let folder: string;
let checkpoint: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sam3-export-"));
  checkpoint = join(folder, "sam3.pt");
  await writeFile(checkpoint, zipOf({ "archive/data.pkl": "not looked at here" }));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

/** A stand-in for Python that prints what the export program would. */
async function python(script: string): Promise<string> {
  const path = join(folder, "python");
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
  return path;
}

const run = (args: readonly string[], env: Record<string, string | undefined> = {}) =>
  sam3(["export", "--out", join(folder, "bundle"), ...args], {
    env: { SAM3_HOME: folder, SAM3_BPE_PATH: undefined, SAM3_CHECKPOINT: undefined, ...env },
  });

describe("says at once, before anything is installed", () => {
  test("that the checkpoint is a picture", async () => {
    const { code, stderr } = await run(["--checkpoint", SHAPES]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^CHECKPOINT_INVALID: .*shapes\.png[^\n]*\n$/);
  });

  test("that it does not exist, also from SAM3_CHECKPOINT", async () => {
    expect((await run(["--checkpoint", "none.pt"])).stderr).toMatch(/^CHECKPOINT_NOT_FOUND: .*none\.pt/);
    expect((await run([], { SAM3_CHECKPOINT: "gone.pt" })).stderr).toMatch(
      /^CHECKPOINT_NOT_FOUND: .*gone\.pt/,
    );
  });

  test("that it is empty", async () => {
    await writeFile(checkpoint, "");
    expect((await run(["--checkpoint", checkpoint])).stderr).toMatch(/^CHECKPOINT_INVALID: /);
  });

  test("that the vocabulary does not exist", async () => {
    const { code, stderr } = await run(["--checkpoint", checkpoint, "--bpe", "no.txt.gz"]);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/^INVALID_ARGUMENT: .*no\.txt\.gz/)]);
  });

  test("that there is no Python", async () => {
    const { code, stderr } = await run(["--checkpoint", checkpoint], { SAM3_PYTHON: join(folder, "none") });
    expect([code, stderr]).toEqual([1, expect.stringMatching(/^PYTHON_NOT_FOUND: .*3\.10[^\n]*\n$/)]);
  });

  test("that the Python named cannot be started", async () => {
    const { code, stderr } = await run(["--checkpoint", checkpoint, "--python", join(folder, "none")]);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/PYTHON_NOT_FOUND: .*--python/)]);
  });
});

describe("follows the export program", () => {
  test("to the end", async () => {
    const script = [
      `echo '{"stage": "image_encoder", "done": 0, "total": 7}'`,
      "echo a library says hello",
      `echo '{"stage": "done", "done": 1, "total": 1, "bundle": "/models/new"}'`,
      `echo "$@" > ${join(folder, "arguments")}`,
    ].join("\n");
    const args = ["--checkpoint", checkpoint, "--dtype", "bf16", "--resolution", "504", "--name", "small"];
    const { code, stdout, stderr } = await run([...args, "--python", await python(script)]);
    expect(stdout).toBe("bundle written to /models/new\n");
    expect(stderr).toBe("starting the export\nexporting: image_encoder\n");
    expect(code).toBe(0);
  });

  test.each([
    ["CHECKPOINT_INVALID", "CHECKPOINT_INVALID"],
    ["OUTPUT_FAILED", "OUTPUT_FAILED"],
    ["TOKENIZER_NOT_FOUND", "INVALID_ARGUMENT"],
    ["SOMETHING_NEW", "EXPORT_FAILED"],
  ])("to its error %s", async (said, code) => {
    const script = `echo '{"error": {"code": "${said}", "message": "it went wrong"}}'; exit 1`;
    const result = await run(["--checkpoint", checkpoint, "--python", await python(script)]);
    expect(result.code).toBe(1);
    expect(result.stderr).toContain(`${code}: it went wrong\n`);
  });

  test("when it dies without a word", async () => {
    const script = "echo 'ImportError: no module named torch' >&2; exit 3";
    const { code, stderr } = await run(["--checkpoint", checkpoint, "--python", await python(script)]);
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/EXPORT_FAILED: ImportError: no module named torch/),
    ]);
  });

  test("when the system kills it", async () => {
    const { code, stderr } = await run(["--checkpoint", checkpoint, "--python", await python("kill -9 $$")]);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/OUT_OF_MEMORY: /)]);
  });

  test("and stops it on Ctrl-C", async () => {
    const marker = join(folder, "tidied");
    const script = `trap 'touch ${marker}; exit 130' INT\necho '{"stage": "text_encoder"}'\nsleep 30 & wait`;
    const started = Date.now();
    const { code, stderr } = await sam3(
      ["export", "--checkpoint", checkpoint, "--out", join(folder, "b"), "--python", await python(script)],
      { interruptAt: /text_encoder/ },
    );
    expect(Date.now() - started).toBeLessThan(10_000);
    expect(stderr).toMatch(/interrupted\n$/);
    expect(code).toBe(130);
    expect((await stat(marker)).isFile()).toBe(true);
  });
});
