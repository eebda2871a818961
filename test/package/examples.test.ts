import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openVideo } from "../../lib/video/sources/open-video.js";
import type { VideoFrame } from "../../lib/video/sources/video-source.js";
import { ROOT } from "../cli/support/cli.js";
import { clipPath, FFMPEG, ffmpeg } from "../unit/video-clips.js";

// Every example as a person runs it: in a process of its own, with mini. They run in a copy of their folder, because some
// write next to themselves; it lies in the repository, so that `import "sam3-node"` finds the package.

let folder: string;

beforeAll(async () => {
  await mkdir(join(ROOT, ".cache"), { recursive: true });
  folder = await mkdtemp(join(ROOT, ".cache", "examples-"));
  await cp(join(ROOT, "examples"), folder, { recursive: true });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

/** What an example prints. It must end well and say nothing on standard error. */
async function example(name: string, args: readonly string[] = []): Promise<string> {
  ran.add(name);
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [`${name}.mjs`, ...args], {
    cwd: folder,
    env: { ...process.env, SAM3_FFMPEG: FFMPEG },
  });
  expect(stderr).toBe("");
  return stdout;
}

const ran = new Set<string>();
const lines = (text: string) => text.trimEnd().split("\n");
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

type Box = readonly number[];

function iou(a: Box, b: Box): number {
  const [ax1 = 0, ay1 = 0, ax2 = 0, ay2 = 0] = a;
  const [bx1 = 0, by1 = 0, bx2 = 0, by2 = 0] = b;
  const both =
    Math.max(0, Math.min(ax2, bx2) - Math.max(ax1, bx1)) *
    Math.max(0, Math.min(ay2, by2) - Math.max(ay1, by1));
  return both / ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - both);
}

/** Where draw-clip.mjs has its red circle. */
const circleAt = (n: number): Box => {
  const [x, y] = [40 + 5 * n, 90 + 20 * Math.sin(n / 8)];
  return [x - 30, y - 30, x + 30, y + 30];
};

// Seconds on a machine that is free; others may be at work on it.
describe("videos", { timeout: 240_000 }, () => {
  test("track-a-clip follows the red circle", async () => {
    const short = clipPath("ten.mp4");
    await ffmpeg("-v", "error", "-i", join(folder, "shapes.mp4"), "-frames:v", "10", short);
    const printed = lines(await example("track-a-clip", [short, "red circle"]));
    for (const [n, line] of printed.entries()) {
      const [, index, time, id, box = ""] =
        /^(\d+) (\d\.\d\d) s #(\d+) [01]\.\d\d \[([\d.,]+)\]$/.exec(line) ?? expect.fail(line);
      expect([Number(index), Number(id)]).toEqual([n, 0]);
      expect(Number(time)).toBeCloseTo(n / 12, 2);
      expect(iou(box.split(",").map(Number), circleAt(n)), line).toBeGreaterThan(0.8);
    }
    expect(printed.length).toBe(10);
  });

  test("save-and-restore goes on with the same object", async () => {
    expect(lines(await example("save-and-restore"))).toEqual([
      ...range(0, 12).map((n) => `${n} #0 circle`),
      "— saved, closed, restored —",
      ...range(12, 24).map((n) => `${n} #0 circle`),
    ]);
  });

  test("live-camera meets the star when it comes in", async () => {
    const printed = lines(await example("live-camera", ["36"]));
    const held = printed.filter((line) => line.startsWith("frame"));
    expect(held.map((line) => /^frame (\d+) [1-9]\d* bytes held$/.exec(line)?.[1])).toEqual([
      "0",
      "10",
      "20",
      "30",
    ]);
    const found = printed.filter((line) => line.startsWith("new"));
    expect(found.length).toBe(1);
    const [, frame, x] =
      /^new on frame (\d+) VideoObject { #0 yellow star 0\.\d\d, box \[(\d+), .* new }$/.exec(
        found[0] ?? "",
      ) ?? expect.fail(printed.join("\n"));
    // Its first pixels are there from frame 26 on, at the right border; its middle on frame 30.
    expect(Number(frame)).toBeGreaterThan(25);
    expect(Number(x)).toBeGreaterThan(240);
  });

  test("draw-clip draws the clip of the examples", async () => {
    const before = await openVideo(join(ROOT, "examples", "shapes.mp4"));
    await rm(join(folder, "shapes.mp4"));
    expect(await example("draw-clip")).toBe("");
    const after = await openVideo(join(folder, "shapes.mp4"));
    expect(after.info).toEqual(before.info);
    const [drawn, known] = [after, before].map((video) => video.frames()[Symbol.asyncIterator]());
    for (let n = 0; n < 48; n++) {
      const [a, b] = await Promise.all([drawn?.next(), known?.next()]);
      expect(difference(a?.value as VideoFrame, b?.value as VideoFrame), `frame ${n}`).toBeLessThan(2);
    }
    await Promise.all([before.dispose(), after.dispose()]);
  });
});

describe("pictures", () => {
  test("many-prompts counts what is in the picture", async () => {
    const counts = lines(await example("many-prompts")).map((line) => line.split(" (")[0]);
    expect(counts.slice(2)).toEqual(["yellow star: 1", "square: 2", "ring: 1"]);
    // The same two circles, for whichever text found them better.
    const circles = counts.slice(0, 2).map((line) => Number(/^(?:red )?circle: (\d)$/.exec(line ?? "")?.[1]));
    expect(circles.reduce((sum, count) => sum + count)).toBe(2);
  });

  test("batch-to-coco prints a data set", async () => {
    const dataSet = JSON.parse(await example("batch-to-coco", ["square", "shapes.png"]));
    expect(dataSet.images).toMatchObject([{ width: 960, height: 640 }]);
    expect(dataSet.categories).toEqual([{ id: 1, name: "square" }]);
    expect(dataSet.annotations.length).toBe(2);
  });

  test("click-and-refine draws the object that was clicked", async () => {
    const printed = lines(await example("click-and-refine"));
    const [, box = ""] =
      /^refined: ObjectMask { quality 0\.\d\d, box \[(.*)\], \d+ px }$/m.exec(printed.join("\n")) ?? [];
    // draw-shapes.mjs: a circle at 375, 140 with a radius of 74.
    expect(iou(box.split(",").map(Number), [301, 66, 449, 214])).toBeGreaterThan(0.8);
    expect(await sharp(join(folder, "object.png")).metadata()).toMatchObject({ width: 960, height: 640 });
  });

  test("draw-shapes draws the picture of the examples", async () => {
    await rm(join(folder, "shapes.png"));
    expect(await example("draw-shapes")).toBe("");
    const [drawn, known] = await Promise.all(
      [folder, join(ROOT, "examples")].map((it) =>
        sharp(join(it, "shapes.png")).removeAlpha().raw().toBuffer(),
      ),
    );
    expect(drawn?.length).toBe(960 * 640 * 3);
    expect(meanDifference(drawn as Buffer, known as Buffer)).toBeLessThan(0.5);
  });
});

test("every example was run, and none wrote into the repository's own folder", async () => {
  const names = (await readdir(join(ROOT, "examples"))).filter((name) => name.endsWith(".mjs"));
  expect([...ran].map((name) => `${name}.mjs`).sort()).toEqual(names.sort());
  await expect(stat(join(ROOT, "examples", "object.png"))).rejects.toThrow(/ENOENT/);
  for (const name of names) {
    expect(await readFile(join(folder, name), "utf8")).toBe(
      await readFile(join(ROOT, "examples", name), "utf8"),
    );
  }
});

/** Mean difference of two frames' bytes. */
function difference(a: VideoFrame, b: VideoFrame): number {
  expect(a.index).toBe(b.index);
  return meanDifference(a.pixels.data, b.pixels.data);
}

function meanDifference(a: Uint8Array, b: Uint8Array): number {
  expect(a.length).toBe(b.length);
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += Math.abs((a[i] as number) - (b[i] as number));
  return sum / a.length;
}
