import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import installer from "@ffmpeg-installer/ffmpeg";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { readTrackPrompts } from "../../lib/cli/track-prompt.js";
import { Mask } from "../../lib/index.js";
import { openVideo } from "../../lib/video/sources/open-video.js";
import { sam3, sam3Here, TINY } from "./support/cli.js";

const FFMPEG = installer.path;
const [WIDTH, HEIGHT, COUNT] = [80, 60, 6];

let folder: string;
let pictures: string;
let clip: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sam3-track-"));
  pictures = join(folder, "pictures");
  await mkdir(pictures);
  for (let n = 0; n < COUNT; n++) {
    const circle = `<svg width="${WIDTH}" height="${HEIGHT}"><rect width="100%" height="100%" fill="#ccd"/><circle cx="${20 + 5 * n}" cy="30" r="12" fill="#c22"/></svg>`;
    await sharp(Buffer.from(circle))
      .png()
      .toFile(join(pictures, `f${n}.png`));
  }
  clip = join(folder, "clip.mp4");
  await promisify(execFile)(FFMPEG, [
    ...["-v", "error", "-r", "10", "-i", join(pictures, "f%d.png")],
    ...["-c:v", "libx264", "-pix_fmt", "yuv420p", clip],
  ]);
});

afterAll(() => rm(folder, { recursive: true, force: true }));

const size = z.int().positive();
const header = z.strictObject({
  file: z.string(),
  model: z.string(),
  video: z.strictObject({
    kind: z.enum(["file", "pictures"]),
    frameCount: z.int().positive(),
    fps: z.number(),
    variableFrameRate: z.boolean(),
    width: size,
    height: size,
    duration: z.number(),
    codec: z.string().nullable(),
    container: z.string().nullable(),
    rotation: z.literal(0),
    hasAudio: z.boolean(),
    decoder: z.string(),
  }),
  prompts: z.array(z.strictObject({ prompt: z.int(), text: z.string() })),
});
const line = z.strictObject({
  frame: z.int().nonnegative(),
  time: z.number(),
  objects: z.array(
    z.strictObject({
      id: z.int().nonnegative(),
      prompt: z.int().nonnegative().nullable(),
      text: z.string(),
      score: z.number().min(0).max(1),
      box: z.tuple([z.number(), z.number(), z.number(), z.number()]),
      mask: z.strictObject({ size: z.tuple([size, size]), counts: z.string() }),
    }),
  ),
});

function readLines(text: string) {
  const [first, ...rest] = text.trimEnd().split("\n");
  return {
    header: header.parse(JSON.parse(first as string)),
    frames: rest.map((it) => line.parse(JSON.parse(it))),
  };
}

describe("what to track", () => {
  test("texts, examples, clicks and boxes", () => {
    expect(
      readTrackPrompts(
        {
          text: ["dog", "red ball"],
          box: ["2,1,2,30,40", "2,5,5,9,9:negative", "0,10,10,20,20@7"],
          point: ["4,12,13@7", "0,3,4", "0,5,6:negative"],
        },
        0,
      ),
    ).toEqual([
      ...["dog", "red ball"].map((text) => ({
        prompt: {
          frame: 2,
          text,
          exemplars: [
            { box: [1, 2, 30, 40], label: "positive" },
            { box: [5, 5, 9, 9], label: "negative" },
          ],
        },
        object: undefined,
      })),
      { prompt: { frame: 0, box: [10, 10, 20, 20] }, object: "7" },
      {
        prompt: {
          frame: 0,
          points: [
            { x: 3, y: 4, label: "positive" },
            { x: 5, y: 6, label: "negative" },
          ],
        },
        object: "1",
      },
      { prompt: { frame: 4, points: [{ x: 12, y: 13, label: "positive" }] }, object: "7" },
    ]);
    expect(readTrackPrompts({ text: ["3"] }, 9)).toEqual([
      { prompt: { frame: 9, text: "3" }, object: undefined },
    ]);
    expect(readTrackPrompts({ box: ["1,0,0,5,5"] }, 0)).toEqual([
      { prompt: { frame: 1, exemplars: [{ box: [0, 0, 5, 5], label: "positive" }] }, object: undefined },
    ]);
  });

  const cases: [string, string[], RegExp][] = [
    ["nothing", [], /^USAGE: no video is named/],
    ["no prompt", ["a.mp4"], /^USAGE: say what to track/],
    ["two videos", ["a.mp4", "b.mp4", "--text", "dog"], /^USAGE: one video at a time/],
    ["a point without a frame", ["a.mp4", "--point", "3,4"], /^USAGE: --point 3,4 is not frame,x,y/],
    ["a point that is no number", ["a.mp4", "--point", "0,3,x"], /^USAGE: --point/],
    ["a point of another kind", ["a.mp4", "--point", "0,3,4:maybe"], /^USAGE: --point/],
    [
      "a negative box of an object",
      ["a.mp4", "--box", "0,1,1,5,5:negative@2"],
      /^USAGE: the box of an object/,
    ],
    [
      "two boxes of an object",
      ["a.mp4", "--box", "0,1,1,5,5@2", "--box", "0,1,1,6,6@2"],
      /^USAGE: object @2/,
    ],
    ["a direction that is none", ["a.mp4", "--text", "dog", "--direction", "up"], /^USAGE: --direction up/],
    ["no frames", ["a.mp4", "--text", "dog", "--max-frames", "0"], /^USAGE: --max-frames 0/],
    ["a start that is none", ["a.mp4", "--text", "dog", "--start", "-1"], /^USAGE: --start -1/],
    ["an unknown ending", ["a.mp4", "--text", "dog", "--out", "b.xyz"], /^USAGE: --out b.xyz must end in/],
    ["its own input", ["a.mp4", "--text", "dog", "--out", "./a.mp4"], /^USAGE: --out .* would write/],
    [
      "into its own folder",
      ["pics", "--text", "dog", "--json", "pics/x.json"],
      /^USAGE: --json .* would write/,
    ],
    ["an unknown option", ["a.mp4", "--text", "dog", "--fast"], /^USAGE: /],
  ];
  for (const [what, args, expected] of cases) {
    test(`refuses ${what}`, async () => {
      const { code, stdout, stderr } = await sam3Here(["track", ...args]);
      expect(stderr).toMatch(expected);
      expect([code, stdout]).toEqual([2, ""]);
    });
  }

  test("an empty text, a box without area", async () => {
    expect(await sam3Here(["track", "a.mp4", "--text", " "])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^INVALID_PROMPT: /),
    });
    expect(await sam3Here(["track", "a.mp4", "--box", "0,9,9,5,5"])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^INVALID_BOX: /),
    });
  });

  test("a video that is not there, before a model is loaded", async () => {
    expect(
      await sam3Here(["track", join(folder, "none.mp4"), "--text", "dog", "--model", "/none"]),
    ).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^VIDEO_NOT_FOUND: /),
    });
  });
});

describe("tracking", () => {
  const tiny = ["--model", TINY, "--device", "cpu", "--allow-untrained"];

  test("writes JSON lines: the video, then every frame", async () => {
    const { code, stdout, stderr } = await sam3(["track", clip, "--text", "circle", "--json", "-", ...tiny]);
    expect(stderr).toBe("");
    expect(code).toBe(0);
    const { header: first, frames } = readLines(stdout);
    expect(first).toMatchObject({
      file: clip,
      video: { frameCount: COUNT, fps: 10, width: WIDTH, height: HEIGHT, codec: "h264" },
      prompts: [{ prompt: 0, text: "circle" }],
    });
    expect(frames.map(({ frame }) => frame)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(frames[5]?.time).toBeCloseTo(0.5, 3);
    for (const { objects } of frames) {
      for (const { mask } of objects) expect(Mask.fromRle(mask).width).toBe(WIDTH);
    }
  });

  test("tracks what is clicked, both ways, and draws it", async () => {
    const out = join(folder, "drawn");
    const json = join(folder, "clicked.jsonl");
    const { code, stdout, stderr } = await sam3([
      ...["track", pictures, "--point", "3,35,30", "--point", "3,40,33@2", "--direction", "both"],
      ...["--start", "3", "--out", out, "--json", json, ...tiny],
    ]);
    expect(stderr).toBe("");
    expect(code).toBe(0);
    expect(stdout).toMatch(/objects? in 6 frames of 80 × 60 pixels/);
    expect(stdout).toContain(`overlay written to ${out}`);
    const { frames } = readLines(await readFile(json, "utf8"));
    expect(frames.map(({ frame }) => frame)).toEqual([3, 4, 5, 2, 1, 0]);
    expect((await readdir(out)).sort()).toEqual([0, 1, 2, 3, 4, 5].map((n) => `00000${n}.jpg`));
    // Random weights may lose an object; its two ids never mix.
    const ids = new Set(frames.flatMap(({ objects }) => objects.map(({ id }) => id)));
    expect(ids.size).toBeLessThanOrEqual(2);
  });

  test("writes a video with ffmpeg", async () => {
    const out = join(folder, "drawn.mp4");
    const { code, stderr } = await sam3(
      ["track", clip, "--text", "circle", "--max-frames", "4", "--immediate", "--out", out, ...tiny],
      { env: { SAM3_FFMPEG: FFMPEG } },
    );
    expect(stderr).toBe("");
    expect(code).toBe(0);
    expect((await readFile(out)).subarray(4, 8).toString()).toBe("ftyp");
  });

  test("on a terminal a bar shows how far it is, and how fast", async () => {
    const began = performance.now();
    const out = join(folder, "on-a-terminal");
    const { code, stdout, stderr } = await sam3Here(
      // Backward, so that drawing has frames left to do when tracking has ended.
      [
        "track",
        pictures,
        "--text",
        "circle",
        "--start",
        "5",
        "--direction",
        "backward",
        "--out",
        out,
        ...tiny,
      ],
      {},
      { interactive: true },
    );
    const seconds = (performance.now() - began) / 1000;
    expect(code, stderr).toBe(0);
    // Each line is drawn over the one before.
    const lines = stderr.split("\r\u001b[2K").slice(1);
    const tracking = lines.filter((it) => it.startsWith("tracking"));
    expect(tracking.length).toBeGreaterThan(0);
    let before = 0;
    for (const it of tracking) {
      const [, rate, bar = "", done] =
        /^tracking, (\d+\.\d) frames\/s \[([= ]{24})\] (\d) of 6$/.exec(it) ?? expect.fail(it);
      expect(bar).toBe("=".repeat(4 * Number(done)).padEnd(24));
      expect(Number(done)).toBeGreaterThan(before);
      before = Number(done);
      // Tracking took no longer than everything together, and no less than a millisecond a frame.
      expect(Number(rate)).toBeGreaterThanOrEqual(Math.floor((10 * before) / seconds) / 10);
      expect(Number(rate)).toBeLessThan(1000);
    }
    expect(before).toBe(6);
    expect(lines).toContain("drawing [========================] 6 of 6");
    expect(lines.findIndex((it) => it.startsWith("drawing"))).toBeGreaterThan(
      lines.lastIndexOf(tracking.at(-1) as string),
    );
    // What is left on the screen is the table alone.
    expect(lines.at(-1)).toBe("");
    expect(stdout).toMatch(/in 6 frames of 80 × 60 pixels .*tracked \d+\.\d frames\/s/);
    expect(stdout).not.toContain("\u001b");
  });

  test("a truncated video: every frame that is there, drawn too, then the error", async () => {
    const whole = join(folder, "whole.mp4");
    await promisify(execFile)(FFMPEG, [
      ...["-v", "error", "-stream_loop", "3", "-i", clip, "-c:v", "libx264", "-g", "6"],
      ...["-movflags", "faststart", whole],
    ]);
    const bytes = await readFile(whole);
    const cut = join(folder, "cut.mp4");
    await writeFile(cut, bytes.subarray(0, Math.floor(bytes.length * 0.8)));
    const [out, json] = [join(folder, "cut-drawn.mp4"), join(folder, "cut.jsonl")];
    const { code, stdout, stderr } = await sam3(
      ["track", cut, "--text", "circle", "--out", out, "--json", json, ...tiny],
      { env: { SAM3_FFMPEG: FFMPEG } },
    );
    const { header: first, frames } = readLines(await readFile(json, "utf8"));
    const { frameCount } = first.video;
    expect(frameCount).toBeGreaterThan(5);
    expect(frameCount).toBeLessThan(4 * COUNT);
    expect(frames.map(({ frame }) => frame)).toEqual(Array.from({ length: frameCount }, (_, i) => i));
    expect(stderr).toMatch(new RegExp(`^VIDEO_TRUNCATED: .*cut\\.mp4 breaks off after ${frameCount} frames`));
    expect(code).toBe(1);
    expect(stdout).toContain(`in ${frameCount} frames of 80 × 60 pixels`);
    expect(stdout).toContain(`overlay written to ${out}`);
    const drawn = await openVideo(out, { decoder: "ffmpeg", ffmpeg: FFMPEG });
    expect(drawn.info.frameCount).toBe(frameCount);
    await drawn.dispose();
  });

  test("a click outside, a frame that is not there, a damaged picture", async () => {
    const outside = await sam3(["track", pictures, "--point", "0,500,500", ...tiny]);
    expect(outside).toMatchObject({ code: 1, stderr: expect.stringMatching(/^INVALID_POINT: /) });
    const late = await sam3(["track", pictures, "--point", "99,5,5", ...tiny]);
    expect(late).toMatchObject({ code: 1, stderr: expect.stringMatching(/^FRAME_OUT_OF_RANGE: /) });
    const damaged = join(folder, "damaged");
    await mkdir(damaged);
    await writeFile(join(damaged, "1.png"), await readFile(join(pictures, "f0.png")));
    await writeFile(join(damaged, "2.png"), "no picture");
    const json = join(folder, "damaged.jsonl");
    const broken = await sam3([
      "track",
      damaged,
      "--point",
      "0,20,30",
      "--immediate",
      "--json",
      json,
      ...tiny,
    ]);
    expect(broken).toMatchObject({ code: 1, stderr: expect.stringMatching(/^IMAGE_INVALID: /) });
    // What came before is there.
    expect(readLines(await readFile(json, "utf8")).frames.map(({ frame }) => frame)).toEqual([0]);
  });
});
