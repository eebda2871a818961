import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import sharp from "sharp";
import ts from "typescript";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ROOT, SHAPES } from "../cli/support/cli.js";
import { ffmpeg } from "../unit/video-clips.js";

// The code of the README, one piece after the other as it stands there, in a folder that has the files it names.

const FRAMES = 14;
let folder: string;

beforeAll(async () => {
  await mkdir(join(ROOT, ".cache"), { recursive: true });
  // In the repository, so that `import "sam3-node"` finds the package.
  folder = await mkdtemp(join(ROOT, ".cache", "readme-"));
  await mkdir(join(folder, "examples"));
  await writeFile(join(folder, "examples", "shapes.png"), await readFile(SHAPES));
  await sharp(SHAPES).jpeg().toFile(join(folder, "street.jpg"));
  await sharp(SHAPES).toFile(join(folder, "aerial.tif"));
  const clip = join(ROOT, "examples", "shapes.mp4");
  // So large, and moved so, that its circle is where the README clicks on frame 12.
  const filters = "scale=1280:960,pad=1520:960:240:0,crop=1520:820:0:140";
  const scaled = ["-vf", filters, "-frames:v", String(FRAMES), "-pix_fmt", "yuv420p"];
  await ffmpeg("-v", "error", "-i", clip, ...scaled, join(folder, "clip.mp4"));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

test("the code in the README runs", { timeout: 240_000 }, async () => {
  const readme = await readFile(join(ROOT, "README.md"), "utf8");
  const pieces = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code = ""]) => code);
  expect(pieces.length).toBeGreaterThanOrEqual(6);
  const code = pieces.join("\n");
  const program = `
    import { readFile, writeFile } from "node:fs/promises";
    const buffer = await readFile("examples/shapes.png");
    const files = ["street.jpg", "missing.jpg", "aerial.tif"];
    const drawn = [];
    const draw = (frame, id, text, mask, box) => drawn.push([frame, id, text, mask.area > 0, box.length]);
    const shown = [];
    const show = ({ index, time }) => shown.push([index, time]);
    const camera = (async function* () {
      for (let i = 0; i < 3; i++) yield { image: buffer, time: i / 10 };
    })();
    ${code}
    console.log(JSON.stringify({
      both: both.objects.length,
      like: like.objects.length,
      not: not.objects.length,
      better: better.best.box,
      answers: answers.map(({ status }) => status),
      pictures: pictures.map(({ status }) => status),
      small: small.image,
      frames: session.status().framesDone,
      objects: session.objects.map(({ prompt }) => prompt),
      drawn,
      shown,
      again: again.status().framesDone,
    }));`;
  // await using is not known to every Node that is supported.
  const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
  await writeFile(
    join(folder, "readme.mjs"),
    ts.transpileModule(program, { compilerOptions: options }).outputText,
  );
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ["readme.mjs"], { cwd: folder });
  expect(stderr).toBe("");
  const printed = stdout.trimEnd().split("\n");
  const result = JSON.parse(printed.pop() as string);
  // The two red circles: score, box, area, run lengths.
  expect(printed.join(" ")).toMatch(/^(?:[01]\.\d\d \[(?:\s+\d[\d.]*,?){4}\s+\] \d{4,5} \d{2,4}\s*){2}$/);
  expect(result.both).toBeGreaterThanOrEqual(2);
  expect(result.like).toBeGreaterThanOrEqual(1);
  expect(result.better).toHaveLength(4);
  expect(result.answers).toEqual(["fulfilled", "fulfilled"]);
  expect(result.pictures).toEqual(["fulfilled", "rejected", "fulfilled"]);
  expect(result.small).toEqual({ width: 960, height: 640 });
  expect(JSON.parse(await readFile(join(folder, "annotations.json"), "utf8")).images).toHaveLength(1);
  expect(await sharp(join(folder, "overlay.png")).metadata()).toMatchObject({ width: 960, height: 640 });
  // The object that was clicked, on its frame at least.
  expect(result.frames).toBeGreaterThanOrEqual(FRAMES);
  expect(result.objects).toContain(null);
  expect(result.again).toBe(result.frames);
  expect(result.shown).toEqual([
    [0, 0],
    [1, 0.1],
    [2, 0.2],
  ]);
  const clicked = result.drawn.filter(([frame]: [number]) => frame === 12);
  expect(clicked.length).toBeGreaterThanOrEqual(1);
  for (const [, id, text, isThere, corners] of result.drawn) {
    expect([typeof id, typeof text, isThere, corners]).toEqual(["number", "string", true, 4]);
  }
});
