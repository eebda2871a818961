import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { Mask } from "../../lib/index.js";
import { ROOT, SHAPES, sam3, TINY } from "./support/cli.js";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sam3-segment-"));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

const size = z.int().positive();
const ms = z.number().nonnegative();
const success = z.strictObject({
  file: z.string(),
  image: z.strictObject({ width: size, height: size }),
  objects: z.array(
    z.strictObject({
      prompt: z.int().nonnegative(),
      text: z.string(),
      score: z.number().min(0).max(1),
      box: z.tuple([z.number(), z.number(), z.number(), z.number()]),
      area: z.int().nonnegative(),
      mask: z.strictObject({ size: z.tuple([size, size]), counts: z.string() }),
    }),
  ),
  prompts: z.array(
    z.strictObject({
      text: z.string(),
      truncated: z.boolean(),
      presence: z.number().min(0).max(1),
      semantic: z.null(),
      suppressed: z.int().nonnegative(),
    }),
  ),
  timings: z.strictObject({ decodeMs: ms, encodeMs: ms, segmentMs: ms }),
  cache: z.enum(["hit", "miss", "off"]),
});
const shown = z.strictObject({
  file: z.string(),
  image: z.strictObject({ width: size, height: size }),
  objectScore: z.number().min(0).max(1),
  masks: z.array(
    z.strictObject({
      quality: z.number(),
      box: z.tuple([z.number(), z.number(), z.number(), z.number()]),
      area: z.int().nonnegative(),
      mask: z.strictObject({ size: z.tuple([size, size]), counts: z.string() }),
    }),
  ),
  best: z.int().nonnegative(),
  timings: z.strictObject({ decodeMs: ms, encodeMs: ms, segmentMs: ms }),
  cache: z.enum(["hit", "miss", "off"]),
});
const failure = z.strictObject({
  file: z.string(),
  error: z.strictObject({ code: z.string(), message: z.string() }),
});

// Random weights find anything when the bar is low enough.
const FINDS = ["--model", TINY, "--device", "cpu", "--threshold", "0.05"];

describe("--json", () => {
  test("- writes the agreed form and nothing else", async () => {
    const { code, stdout, stderr } = await sam3([
      "segment",
      SHAPES,
      "--text",
      "red circle",
      "--json",
      "-",
      ...FINDS,
    ]);
    expect(stderr).toBe("");
    expect(code).toBe(0);
    const result = success.parse(JSON.parse(stdout));
    expect(result.file).toBe(SHAPES);
    expect(result.image).toEqual({ width: 960, height: 640 });
    expect(result.objects.length).toBeGreaterThan(0);
    for (const { text, prompt, mask } of result.objects) {
      expect([text, prompt]).toEqual(["red circle", 0]);
      expect(mask.size).toEqual([640, 960]);
    }
  });

  test("takes words that look like numbers or options as words, and boxes with texts", async () => {
    const args = [
      "--text",
      "3",
      "--text",
      "-5",
      "--text=007",
      "--box",
      "-10,20,300,240.5",
      "--box",
      "1e1,5,90,80:negative",
    ];
    const { code, stdout } = await sam3(["segment", SHAPES, ...args, "--json", "-", ...FINDS]);
    expect(code).toBe(0);
    const { objects } = success.parse(JSON.parse(stdout));
    const texts = new Map(objects.map(({ prompt, text }) => [prompt, text]));
    for (const [prompt, text] of texts) expect(text).toBe(["3", "-5", "007"][prompt]);
    expect(texts.size).toBeGreaterThan(0);
  });

  test("with boxes only", async () => {
    const { code, stdout } = await sam3([
      "segment",
      SHAPES,
      "--box",
      "300,60,450,215",
      "--json",
      "-",
      ...FINDS,
    ]);
    expect(code).toBe(0);
    success.parse(JSON.parse(stdout));
  });

  test("several pictures are a list; one that fails is an entry, and the exit code says so", async () => {
    const text = join(folder, "text.png");
    await writeFile(text, "this is no picture");
    const files = [SHAPES, join(folder, "missing.png"), text, SHAPES];
    const { code, stdout, stderr } = await sam3([
      "segment",
      ...files,
      "--text",
      "ring",
      "--json",
      "-",
      ...FINDS,
    ]);
    expect(code).toBe(1);
    const list = z.array(z.union([success, failure])).parse(JSON.parse(stdout));
    expect(list.map(({ file }) => file)).toEqual(files);
    expect(list.map((it) => ("error" in it ? it.error.code : "ok"))).toEqual([
      "ok",
      "IMAGE_NOT_FOUND",
      "IMAGE_INVALID",
      "ok",
    ]);
    expect(stderr.trim().split("\n")).toHaveLength(2);
  });

  test("a single picture that fails is an entry too", async () => {
    const { code, stdout } = await sam3(["segment", folder, "--text", "ring", "--json", "-", ...FINDS]);
    expect(code).toBe(1);
    expect(failure.parse(JSON.parse(stdout)).error.code).toBe("IMAGE_NOT_FOUND");
  });

  test("into a file, in a folder that is made", async () => {
    const path = join(folder, "new", "found.json");
    const { code, stdout } = await sam3(["segment", SHAPES, "--text", "ring", "--json", path, ...FINDS]);
    expect([code, stdout]).toEqual([0, ""]);
    success.parse(JSON.parse(await readFile(path, "utf8")));
  });

  test.runIf(process.platform === "linux")("into a full disk", async () => {
    const { code, stderr } = await sam3([
      "segment",
      SHAPES,
      "--text",
      "ring",
      "--json",
      "/dev/full",
      ...FINDS,
    ]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^DISK_FULL: [^\n]+\n$/);
  });

  test("into a place that is no folder", async () => {
    const { code, stderr } = await sam3([
      "segment",
      SHAPES,
      "--text",
      "ring",
      "--json",
      join(SHAPES, "x.json"),
      ...FINDS,
    ]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^OUTPUT_FAILED: [^\n]+\n$/);
  });
});

describe("--format", () => {
  const segment = (...args: string[]) => sam3(["segment", ...args, ...FINDS]);
  const words = ["--text", "ring", "--text", "star"];

  test("json is what --json writes", async () => {
    const { code, stdout } = await segment(SHAPES, ...words, "--format", "json");
    expect(code).toBe(0);
    success.parse(JSON.parse(stdout));
  });

  test("coco writes one data set, with a category for each text, and leaves out a picture that failed", async () => {
    const path = join(folder, "coco.json");
    const files = [SHAPES, join(folder, "missing.png")];
    const { code, stdout } = await segment(...files, ...words, "--format", "coco", "--to", path);
    expect([code, stdout]).toEqual([1, ""]);
    const data = JSON.parse(await readFile(path, "utf8"));
    expect(data.images).toEqual([{ id: 1, file_name: SHAPES, width: 960, height: 640 }]);
    expect(data.categories).toEqual([
      { id: 1, name: "ring" },
      { id: 2, name: "star" },
    ]);
    expect(data.annotations.length).toBeGreaterThan(0);
    for (const { image_id, category_id, segmentation, area } of data.annotations) {
      expect([image_id, [1, 2].includes(category_id)]).toEqual([1, true]);
      expect(Mask.fromRle(segmentation).area).toBe(area);
    }
  });

  test("geojson writes a feature for each object", async () => {
    const { code, stdout } = await segment(SHAPES, ...words, "--format", "geojson", "--to", "-");
    expect(code).toBe(0);
    const { type, features } = JSON.parse(stdout);
    expect([type, features.length > 0]).toEqual(["FeatureCollection", true]);
    for (const { properties } of features) expect(["ring", "star"]).toContain(properties.text);
  });

  test("yolo writes a file for each picture and one of classes, or lines of a single picture", async () => {
    const other = join(folder, "shapes.png");
    await writeFile(other, await readFile(SHAPES));
    const to = join(folder, "labels");
    const { code } = await segment(SHAPES, other, ...words, "--format", "yolo", "--to", to);
    expect(code).toBe(0);
    expect((await readdir(to)).sort()).toEqual(["classes.txt", "shapes-2.txt", "shapes.txt"]);
    expect(await readFile(join(to, "classes.txt"), "utf8")).toBe("ring\nstar\n");
    const lines = await readFile(join(to, "shapes.txt"), "utf8");
    expect(lines).toBe(await readFile(join(to, "shapes-2.txt"), "utf8"));
    for (const line of lines.trimEnd().split("\n")) expect(line).toMatch(/^[01]( (0|1|0\.\d+)){6,}$/);
    expect((await segment(SHAPES, ...words, "--format", "yolo")).stdout).toBe(lines);
  });

  test("masks writes a picture for each object and one of all", async () => {
    const to = join(folder, "masks");
    const { code, stdout } = await segment(SHAPES, "--text", "ring", "--format", "masks", "--to", to);
    expect([code, stdout]).toEqual([0, ""]);
    const names = await readdir(to);
    expect(names).toContain("shapes.labels.png");
    expect(names.length).toBeGreaterThan(1);
    for (const name of names) {
      const { width, height, channels } = await sharp(join(to, name)).metadata();
      expect([width, height, channels]).toEqual([960, 640, 1]);
    }
  });
});

describe("one object", () => {
  test("shown by points and a box", async () => {
    const { code, stdout, stderr } = await sam3([
      ...["segment", SHAPES, "--point", "375,140", "--point", "10,10:negative", "--box", "300,66,450,215"],
      ...["--json", "-", "--model", TINY],
    ]);
    expect([code, stderr]).toEqual([0, ""]);
    const { masks, best } = shown.parse(JSON.parse(stdout));
    expect([masks.length, best]).toEqual([1, 0]);
  });

  test("with three masks, as a table and drawn", async () => {
    const out = join(folder, "object.png");
    const args = ["--object", "--box", "300,66,450,215", "--multimask", "--out", out, "--model", TINY];
    const { code, stdout } = await sam3(["segment", SHAPES, ...args]);
    expect(code).toBe(0);
    const [head, columns, ...rows] = stdout.trimEnd().split("\n");
    expect(head).toMatch(/^3 masks in 960 × 640 pixels, \d+ ms$/);
    expect(columns).toMatch(/^#\s+quality\s+x1/);
    expect(rows).toHaveLength(4);
    expect(await sharp(out).metadata()).toMatchObject({ width: 960, height: 640 });
  });

  test("outside the picture is refused", async () => {
    const outside = await sam3(["segment", SHAPES, "--point", "5000,3", "--model", TINY]);
    expect([outside.code, outside.stderr]).toEqual([1, expect.stringMatching(/^INVALID_POINT: Point 0 /)]);
  });
});

test("tiles find in the same picture, and duplicates are left out", async () => {
  const args = ["--text", "ring", "--text", "ring", "--tiles", "500,100", "--suppress-duplicates", "0.9"];
  const { code, stdout } = await sam3(["segment", SHAPES, ...args, "--json", "-", ...FINDS]);
  expect(code).toBe(0);
  const { objects, prompts, image } = success.parse(JSON.parse(stdout));
  expect(image).toEqual({ width: 960, height: 640 });
  expect(new Set(objects.map(({ prompt }) => prompt))).toEqual(new Set([0]));
  expect(prompts[1]?.suppressed).toBe(objects.length);
});

describe("--out", () => {
  test("writes the picture with the objects on it", async () => {
    const path = join(folder, "found.png");
    const { code, stdout } = await sam3(["segment", SHAPES, "--text", "ring", "--out", path, ...FINDS]);
    expect(code).toBe(0);
    expect(stdout).toContain(path);
    expect(await sharp(path).metadata()).toMatchObject({ format: "png", width: 960, height: 640 });
  });

  test("writes JPEG where the name says so, and keeps standard output for the JSON", async () => {
    const path = join(folder, "found.jpg");
    const { stdout, stderr } = await sam3([
      ...["segment", SHAPES, "--text", "ring", "--out", path, "--json", "-"],
      ...FINDS,
    ]);
    success.parse(JSON.parse(stdout));
    expect(stderr).toContain(path);
    expect((await sharp(path).metadata()).format).toBe("jpeg");
  });

  test("several pictures of the same name go into a folder side by side", async () => {
    const other = join(folder, "shapes.png");
    await writeFile(other, await readFile(SHAPES));
    const out = join(folder, "found");
    const { code } = await sam3(["segment", SHAPES, other, "--text", "ring", "--out", out, ...FINDS]);
    expect(code).toBe(0);
    expect((await readdir(out)).sort()).toEqual(["shapes-2.overlay.png", "shapes.overlay.png"]);
  });
});

test("without --out and --json it prints a table", async () => {
  const { code, stdout, stderr } = await sam3(["segment", SHAPES, "--text", "ring", ...FINDS]);
  expect([code, stderr]).toEqual([0, ""]);
  const [head, columns, ...rows] = stdout.trimEnd().split("\n");
  expect(head).toMatch(/^\d+ objects? in 960 × 640 pixels, \d+ ms$/);
  expect(columns?.split(/\s+/).filter(Boolean)).toEqual([
    "#",
    "text",
    "score",
    "x1",
    "y1",
    "x2",
    "y2",
    "area",
  ]);
  expect(rows.length).toBe(Number(head?.split(" ", 1)[0]));
});

test("nothing found is no error", async () => {
  const { code, stdout } = await sam3([
    "segment",
    SHAPES,
    "--text",
    "ring",
    "--model",
    TINY,
    "--threshold",
    "1",
  ]);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^0 objects/);
});

test("no progress bar and no colours in a pipe", async () => {
  const { stdout, stderr } = await sam3(["segment", SHAPES, "--text", "ring", ...FINDS], {
    env: { FORCE_COLOR: "1" },
  });
  expect(stdout + stderr).not.toContain("\u001b");
});

test("a reader who leaves early is no error", async () => {
  const cli = join(ROOT, "dist", "cli.js");
  const args = [
    "segment",
    ...Array.from({ length: 6 }, () => SHAPES),
    "--text",
    "ring",
    "--json",
    "-",
    ...FINDS,
  ];
  const child = spawn(process.execPath, [cli, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  child.stdout.destroy();
  let stderr = "";
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  const code = await new Promise((done) => child.once("close", done));
  expect([code, stderr]).toEqual([0, ""]);
});

describe("what fails ends with 1 and one line that names it", () => {
  test.each([
    [["missing.png", "--text", "a"], /^IMAGE_NOT_FOUND: .*missing\.png/],
    [[SHAPES, "--text", " "], /^INVALID_PROMPT: /],
    [[SHAPES, "--box", "30,10,20,40"], /^INVALID_BOX: .*30,10,20,40/],
    [[SHAPES, "--box", "5000,5000,6000,6000"], /^INVALID_BOX: .*outside/],
    [[SHAPES, "--text", "a", "--model", "/no/such/bundle"], /^BUNDLE_NOT_FOUND: .*\/no\/such\/bundle/],
    [[SHAPES, "--text", "a", "--model", SHAPES], /^BUNDLE_NOT_FOUND: /],
    [[SHAPES, "--text", "a", "--device", "cuda:99"], /^DEVICE_UNKNOWN: .*cuda:99/],
    [[SHAPES, "--text", "a", "--device", "toaster"], /^INVALID_SETTING: .*toaster/],
  ])("sam3 segment %j", async (args, line) => {
    const model = args.includes("--model") ? [] : ["--model", TINY];
    const { code, stdout, stderr } = await sam3(["segment", ...args, ...model]);
    expect(stderr).toMatch(line);
    expect(stderr.trimEnd()).not.toContain("\n");
    expect(stdout).toBe("");
    expect(code).toBe(1);
  });

  test("no libtorch", async () => {
    const env = { SAM3_LIBTORCH: undefined, SAM3_HOME: folder };
    const { code, stderr } = await sam3(["segment", SHAPES, "--text", "a", "--model", TINY], { env });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^LIBTORCH_NOT_FOUND: [^\n]*sam3 libtorch install[^\n]*\n$/);
  });

  test("a bundle with a part missing, or a wrong one", async () => {
    const bundle = join(folder, "bundle");
    await mkdir(bundle);
    for (const name of await readdir(TINY)) {
      if (name !== "text_encoder.pt") await writeFile(join(bundle, name), await readFile(join(TINY, name)));
    }
    const missing = await sam3(["segment", SHAPES, "--text", "a", "--model", bundle]);
    expect(missing.stderr).toMatch(/^BUNDLE_PART_MISSING: .*text_encoder/);
    const { size } = await stat(join(TINY, "text_encoder.pt"));
    await writeFile(join(bundle, "text_encoder.pt"), Buffer.alloc(size));
    const wrong = await sam3(["segment", SHAPES, "--text", "a", "--model", bundle]);
    expect(wrong.stderr).toMatch(/^BUNDLE_HASH_MISMATCH: .*text_encoder/);
  });
});
