import { chmod, mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { Sam3Error } from "../../lib/errors.js";
import { canWriteText } from "../../lib/image/overlay.js";
import { Mask } from "../../lib/masks/mask.js";
import { type DecoderSearch, HERE } from "../../lib/video/sources/choose-decoder.js";
import { openVideo } from "../../lib/video/sources/open-video.js";
import type { VideoSource } from "../../lib/video/sources/video-source.js";
import { OverlayWriter } from "../../lib/video/writer/overlay-writer.js";
import { clipPath, FFMPEG } from "./video-clips.js";

const [WIDTH, HEIGHT, COUNT] = [97, 65, 12];

/** Grey frames, each a little lighter than the one before. */
const grey = (n: number) => ({
  data: new Uint8Array(WIDTH * HEIGHT * 3).fill(60 + 5 * n),
  width: WIDTH,
  height: HEIGHT,
  channels: 3 as const,
});

/** A square of 20 pixels at (x, 30). */
function square(x: number): Mask {
  const bitmap = new Uint8Array(WIDTH * HEIGHT);
  for (let row = 30; row < 50; row++) bitmap.fill(1, row * WIDTH + x, row * WIDTH + x + 20);
  return Mask.fromBitmap(bitmap, WIDTH, HEIGHT);
}

/** With the ffmpeg that is named, else with node-av alone. */
function open(video: VideoSource, out: string, ffmpeg: string | undefined): Promise<OverlayWriter> {
  const { signal } = new AbortController();
  const choice = { decoder: ffmpeg ? "ffmpeg" : "node-av", ffmpeg } as const;
  return OverlayWriter.open({ video, out, choice, search: { ...HERE, env: {} }, signal });
}

async function write(out: string, video: VideoSource, ffmpeg: string | undefined = FFMPEG): Promise<void> {
  await writeAll(await open(video, out, ffmpeg));
}

/** Every second frame from 2 on, to show that the frames in between are passed over. */
async function writeAll(writer: OverlayWriter): Promise<void> {
  for (let index = 2; index < COUNT; index += 2) {
    const objects = index === 4 ? [] : [{ id: 3, text: "box", score: 0.9, mask: square(index * 4) }];
    await writer.write({ index, objects });
  }
  await writer.close();
}

const at = (pixels: Uint8Array, x: number, y: number, width = WIDTH) => [
  ...pixels.subarray((y * width + x) * 3, (y * width + x) * 3 + 3),
];

it("draws into a folder of pictures", async () => {
  const video = await openVideo(Array.from({ length: COUNT }, (_, n) => grey(n)));
  const out = clipPath("drawn");
  await write(out, video);
  expect((await readdir(out)).sort()).toEqual([
    "000002.jpg",
    "000004.jpg",
    "000006.jpg",
    "000008.jpg",
    "000010.jpg",
  ]);
  const six = await sharp(join(out, "000006.jpg")).raw().toBuffer();
  const [red = 0, green = 0] = at(six, 34, 45);
  // Id 3 is green in the row of colours; grey at 45 % of it is left.
  expect(green - red).toBeGreaterThan(40);
  const [r = 0, g = 0, b = 0] = at(six, 80, 60);
  expect(Math.max(Math.abs(r - 90), Math.abs(g - 90), Math.abs(b - 90))).toBeLessThan(8);
  const four = await sharp(join(out, "000004.jpg")).raw().toBuffer();
  expect(Math.abs((at(four, 26, 40)[0] as number) - 80)).toBeLessThan(4);
});

const writers = [
  { name: "an ffmpeg", program: FFMPEG },
  { name: "node-av", program: null },
];

it.each(writers)(
  "draws into a video with $name, of even size where the frames are odd",
  async ({ program }) => {
    const video = await openVideo(
      Array.from({ length: COUNT }, (_, n) => grey(n)),
      { fps: 10 },
    );
    for (const ending of ["mp4", "mov", "mkv", "webm", "avi"]) {
      const out = clipPath(`drawn-${program ? "ffmpeg" : "node-av"}.${ending}`);
      const writer = await open(video, out, program ?? undefined);
      await writeAll(writer);
      const drawn = await openVideo(out, { ffmpeg: FFMPEG, decoder: "ffmpeg", rgb: true });
      expect(drawn.info, ending).toMatchObject({ frameCount: 5, width: 98, height: 66 });
      expect(drawn.info.fps, ending).toBeCloseTo(10, 1);
      const { pixels } = await drawn.frame(2);
      const [red = 0, green = 0] = at(pixels.data, 34, 45, 98);
      expect(green - red, ending).toBeGreaterThan(40);
      // Luma survives encoding within a few steps; the range is right: 90 stays 90.
      expect(Math.abs((at(pixels.data, 80, 60, 98)[0] as number) - 90), ending).toBeLessThan(8);
      await drawn.dispose();
    }
  },
);

describe("ids and labels", () => {
  const [W, H] = [640, 480];
  /** A box of the objects' masks; its label is a tag above it. */
  const [X, Y, SIDE] = [200, 150, 120];
  /** Ids 3, 15 and 27 have the same colour, which is the fourth. */
  const GREEN = [0x3d, 0xdc, 0x63];
  const TAG = Math.floor((W / 52) * 1.45);

  interface Labelled {
    readonly id: number;
    readonly text: string;
    readonly score: number;
    readonly x?: number;
  }

  let drawn = 0;

  /** One grey frame with these objects drawn on it, as it comes out of a folder or of a video. */
  async function draw(objects: readonly Labelled[], ending: "" | ".mp4" = ""): Promise<Uint8Array> {
    expect(await canWriteText(), "this machine has no font; labels cannot be tested").toBe(true);
    const data = new Uint8Array(W * H * 3).fill(128);
    const video = await openVideo([{ data, width: W, height: H, channels: 3 }]);
    const out = clipPath(`labels-${drawn++}${ending}`);
    const writer = await open(video, out, FFMPEG);
    await writer.write({
      index: 0,
      objects: objects.map(({ x = X, ...object }) => {
        const bitmap = new Uint8Array(W * H);
        for (let row = Y; row < Y + SIDE; row++) bitmap.fill(1, row * W + x, row * W + x + SIDE);
        return { ...object, mask: Mask.fromBitmap(bitmap, W, H) };
      }),
    });
    await writer.close();
    if (ending === "") return sharp(join(out, "000000.jpg")).raw().toBuffer();
    const written = await openVideo(out, { ffmpeg: FFMPEG, decoder: "ffmpeg", rgb: true });
    const { pixels } = await written.frame(0);
    await written.dispose();
    return pixels.data;
  }

  const off = (pixel: readonly number[], colour: readonly number[]) =>
    Math.max(...pixel.map((value, c) => Math.abs(value - (colour[c] as number))));

  /** The rectangle around pixels that fit. */
  function extent(pixels: Uint8Array, fits: (pixel: number[], x: number, y: number) => boolean) {
    let [left, top, right, bottom, count] = [W, H, -1, -1, 0];
    for (let y = 0; y < H; y++) {
      for (let x = 0; x < W; x++) {
        if (!fits(at(pixels, x, y, W), x, y)) continue;
        [left, top, right, bottom] = [
          Math.min(left, x),
          Math.min(top, y),
          Math.max(right, x),
          Math.max(bottom, y),
        ];
        count++;
      }
    }
    return { left, top, right, bottom, count };
  }

  /** Pixels that two pictures do not share; encoding differs by less. */
  const difference = (a: Uint8Array, b: Uint8Array) =>
    extent(a, (pixel, x, y) => off(pixel, at(b, x, y, W)) > 60);

  for (const ending of ["", ".mp4"] as const) {
    it(`are written above the object, in its colour, in ${ending || "a folder"}`, async () => {
      const pixels = await draw([{ id: 3, text: "box", score: 0.9 }], ending);
      // The tag: full colour, where the mask below is translucent.
      const tag = extent(pixels, (pixel, _, y) => y < Y - 2 && off(pixel, GREEN) < 40);
      expect(Math.abs(tag.left - X)).toBeLessThanOrEqual(2);
      expect(Math.abs(tag.top - (Y - TAG))).toBeLessThanOrEqual(2);
      // Words of eleven letters, all of them on the tag.
      expect(tag.right - tag.left).toBeGreaterThan(50);
      expect(tag.right - tag.left).toBeLessThan(140);
      const ink = extent(pixels, (pixel) => Math.max(...pixel) < 90);
      expect(ink.count).toBeGreaterThan(100);
      expect(ink.left).toBeGreaterThan(tag.left);
      expect(ink.right).toBeLessThan(tag.right);
      expect(ink.top).toBeGreaterThanOrEqual(tag.top);
      expect(ink.bottom).toBeLessThan(Y);
      // Beyond it the frame is as it was.
      expect(off(at(pixels, X + 200, Y - 10, W), [128, 128, 128])).toBeLessThan(8);
    });

    it(`say the id, the text and the score, in ${ending || "a folder"}`, async () => {
      const one = await draw([{ id: 15, text: "box", score: 0.9 }], ending);
      for (const other of [
        { id: 27, text: "box", score: 0.9 },
        { id: 15, text: "pad", score: 0.9 },
        { id: 15, text: "box", score: 0.4 },
      ]) {
        const { count, left, top, right, bottom } = difference(one, await draw([other], ending));
        expect(count, JSON.stringify(other)).toBeGreaterThan(8);
        // Nothing but letters is another.
        expect([left > X, right < X + 140, top >= Y - TAG, bottom < Y], JSON.stringify(other)).toEqual(
          Array(4).fill(true),
        );
      }
    });
  }

  it("stay with their object when another one comes, and an object keeps its colour", async () => {
    const alone = await draw([{ id: 3, text: "box", score: 0.9 }]);
    const both = await draw([
      { id: 2, text: "ball", score: 0.95, x: 400 },
      { id: 3, text: "box", score: 0.9 },
    ]);
    const { left, count } = difference(alone, both);
    expect(count).toBeGreaterThan(1000);
    expect(left).toBeGreaterThanOrEqual(396);
  });

  it("are not there for an object that is not to be seen", async () => {
    const data = new Uint8Array(W * H * 3).fill(128);
    const video = await openVideo([{ data, width: W, height: H, channels: 3 }]);
    const out = clipPath("nothing");
    const writer = await open(video, out, undefined);
    const mask = Mask.fromBitmap(new Uint8Array(W * H), W, H);
    await writer.write({ index: 0, objects: [{ id: 3, text: "box", score: 0.9, mask }] });
    await writer.close();
    const pixels = await sharp(join(out, "000000.jpg")).raw().toBuffer();
    expect(extent(pixels, (pixel) => off(pixel, [128, 128, 128]) > 3).count).toBe(0);
  });
});

describe("what cannot be written", () => {
  const nothing = { env: { PATH: "" }, nodeAv: async () => undefined };
  const signal = new AbortController().signal;
  const codeOf = (error: unknown) => (Sam3Error.is(error) ? error.code : String(error));

  it("is told by code", async () => {
    const video = await openVideo([grey(0), grey(1)]);
    const tryOut = (out: string, ffmpeg: string | undefined, search: DecoderSearch = nothing) =>
      OverlayWriter.open({ video, out, choice: { decoder: "auto", ffmpeg }, search, signal }).then(
        () => "opened",
        codeOf,
      );
    expect(await tryOut(clipPath("a.mp4"), undefined)).toBe("DECODER_NOT_FOUND");
    expect(await tryOut(clipPath("a.mp4"), "/no/ffmpeg")).toBe("DECODER_NOT_FOUND");
    expect(await tryOut(clipPath("a.xyz"), FFMPEG)).toBe("INVALID_ARGUMENT");
    // node-av comes without an ffmpeg.
    expect(await tryOut(clipPath("alone.mp4"), undefined, { ...HERE, env: { PATH: "" } })).toBe("opened");
    // A file is no folder to write into.
    const file = clipPath("file");
    await writeFile(file, "");
    expect(await tryOut(join(file, "folder"), undefined)).toBe("OUTPUT_FAILED");
    expect(await tryOut(join(file, "a.mp4"), FFMPEG)).toBe("OUTPUT_FAILED");
    expect(await tryOut(join(file, "a.mp4"), undefined, HERE)).toBe("OUTPUT_FAILED");
  });

  it.each(writers)("leaves no half of a file: $name", async ({ program }) => {
    const video = await openVideo([grey(0), grey(1)]);
    const out = clipPath(`given-up-${program ? 1 : 2}.mp4`);
    const writer = await open(video, out, program ?? undefined);
    await writer.write({ index: 0, objects: [] });
    await writer.abort();
    await expect(stat(out)).rejects.toThrow(/ENOENT/);
    await expect(stat(`${out}.partial`)).rejects.toThrow(/ENOENT/);
    // A second time does nothing.
    await writer.abort();
  });

  it.each(writers)("a name that is taken by a folder: $name", async ({ program }) => {
    const video = await openVideo([grey(0), grey(1)]);
    const out = clipPath(`taken-${program ? 1 : 2}.mp4`);
    await mkdir(out);
    const writer = await open(video, out, program ?? undefined);
    await writer.write({ index: 0, objects: [] });
    await expect(writer.close()).rejects.toMatchObject({ code: "OUTPUT_FAILED" });
    await expect(stat(`${out}.partial`)).rejects.toThrow(/ENOENT/);
    await writer.abort();
  });

  it("hardly any frames a second are written all the same", async () => {
    const video = await openVideo([grey(0), grey(1)], { fps: 0.0004 });
    const writer = await open(video, clipPath("slow.mp4"), undefined);
    await writer.write({ index: 0, objects: [] });
    await writer.close();
  });

  it("a program that dies", async () => {
    const video = await openVideo([grey(0), grey(1)]);
    const program = clipPath("dying");
    await writeFile(program, `#!/bin/sh\ncase "$*" in *rawvideo*) exit 7;; esac\nexec ${FFMPEG} "$@"\n`);
    await chmod(program, 0o755);
    const dying = await open(video, clipPath("dying.mp4"), program);
    await dying.write({ index: 0, objects: [] }).catch(() => {});
    await expect(dying.close()).rejects.toMatchObject({ code: "OUTPUT_FAILED" });
    await dying.abort();
  });
});
