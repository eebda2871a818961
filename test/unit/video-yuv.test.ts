// The addon's way from YUV 4:2:0 to RGB beside ffmpeg's. The addon gives no pixels out, so it goes in two steps: what is
// calculated here is what the addon calculates, because the model answers both to the bit alike (and answers otherwise where
// one level of one pixel is another); and that is compared with the rgb24 of ffmpeg, pixel by pixel.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { NativeAddon, NativePixels, NativeReplica } from "../../lib/native/addon.js";
import { loadAddon } from "../../lib/native/load.js";
import { encodeOne, openTiny } from "../native/support.js";
import { clicked, unending } from "../native/tracking.js";
import { seeded } from "./random.js";
import { FFMPEG } from "./video-clips.js";

type Yuv = NonNullable<NativePixels["yuv"]>;
interface Size {
  readonly width: number;
  readonly height: number;
}

const KINDS = (["bt601", "bt709"] as const).flatMap((matrix) =>
  (["limited", "full"] as const).map((range): Yuv => ({ matrix, range })),
);
/** Smaller than the tiny model's picture, so that every pixel has its say there. */
const SIZES: readonly Size[] = [
  { width: 34, height: 22 },
  { width: 33, height: 22 },
  { width: 34, height: 21 },
  { width: 33, height: 21 },
];
const FRAMES = 32;

const hasFfmpeg = existsSync(FFMPEG);
if (!hasFfmpeg) {
  console.log(`not run: YUV beside ffmpeg: no ffmpeg at ${FFMPEG}`);
  it.skip("YUV beside ffmpeg (not run: no ffmpeg)", () => {});
}

describe("pixels in YUV 4:2:0 are, in RGB,", () => {
  let addon: NativeAddon;
  let replica: NativeReplica;
  beforeAll(async () => {
    addon = loadAddon();
    // One thread: sums are then taken in one order.
    replica = await openTiny(addon, 1, 2);
  });
  afterAll(() => replica?.close());

  /** What the model makes of a picture. */
  async function answer(pixels: NativePixels): Promise<number[]> {
    const features = await encodeOne(addon, replica, pixels);
    const items = [clicked(10, 10), clicked(25, 12), clicked(5, 18)];
    const token = unending(addon);
    const { objectScores, quality, ...handles } = await replica.trackObjects({
      features,
      items,
      cleanArea: 0,
      token,
    });
    for (const handle of new Set([handles.masks, handles.cleaned, handles.pointers, features]))
      handle.dispose();
    return [...objectScores, ...quality];
  }

  it("what is calculated here", async () => {
    for (const size of SIZES) {
      for (const yuv of KINDS) {
        const data = planes(size, 1, { range: "full", flat: false });
        const rgb = toRgb(data, size, yuv);
        const where = `${size.width}×${size.height}, ${yuv.matrix}, ${yuv.range}`;
        const expected = await answer({ data: rgb, ...size });
        expect(await answer({ data, ...size, yuv }), where).toEqual(expected);
        // Not so for any other picture.
        const at = Math.floor(rgb.length / 2);
        rgb[at] = (rgb[at] as number) < 128 ? (rgb[at] as number) + 1 : (rgb[at] as number) - 1;
        expect(await answer({ data: rgb, ...size }), where).not.toEqual(expected);
      }
    }
  });

  it.skipIf(!hasFfmpeg).each(SIZES)("ffmpeg's, $width×$height", (size) => {
    for (const yuv of KINDS) {
      // ffmpeg's accurate converter interpolates chroma between samples, which is not colour conversion: here it is the same
      // all over a frame. Beyond the range that "limited" allows, the ffmpeg of 2018 overflows. What is left: two values
      // that were each rounded to the nearest level.
      const exact = planes(size, FRAMES, { range: yuv.range, flat: true });
      expect(largest(exact, size, yuv, "bicubic+accurate_rnd+full_chroma_int")).toBeLessThanOrEqual(1);
      // ffmpeg's usual converter takes a chroma sample for its four pixels as the addon does, but only of an even height. It
      // calculates with tables of fewer bits: up to 3 levels from the exact value with limited range, 2 with full range.
      if (size.height % 2 === 0) {
        const any = planes(size, FRAMES, { range: "full", flat: false });
        const most = yuv.range === "limited" ? 3 : 2;
        expect(largest(any, size, yuv, "bicubic")).toBeLessThanOrEqual(most);
      }
    }
  });
});

/** Frames of random planes, one after the other. `flat`: chroma is one colour over each frame. */
function planes(
  { width, height }: Size,
  frames: number,
  kind: { range: Yuv["range"]; flat: boolean },
): Uint8Array {
  const random = seeded(width * 1000 + height);
  const limited = kind.range === "limited";
  const luma = () => (limited ? 16 + Math.floor(random() * 220) : Math.floor(random() * 256));
  const chroma = () => (limited ? 16 + Math.floor(random() * 225) : Math.floor(random() * 256));
  const samples = Math.ceil(width / 2) * Math.ceil(height / 2);
  const out: number[] = [];
  for (let frame = 0; frame < frames; frame++) {
    for (let i = 0; i < width * height; i++) out.push(luma());
    for (let plane = 0; plane < 2; plane++) {
      const colour = chroma();
      for (let i = 0; i < samples; i++) out.push(kind.flat ? colour : chroma());
    }
  }
  return Uint8Array.from(out);
}

/** The first frame of planes in RGB: the standards' formulas, in 1/65536 of a level. */
function toRgb(data: Uint8Array, { width, height }: Size, { matrix, range }: Yuv): Uint8Array {
  const [red, blue] = matrix === "bt601" ? [0.299, 0.114] : [0.2126, 0.0722];
  const green = 1 - red - blue;
  const [black, lumaScale, chromaScale] = range === "limited" ? [16, 255 / 219, 255 / 224] : [0, 1, 1];
  const fixed = (value: number) => Math.round(value * 65536);
  const level = (sum: number) => Math.min(255, Math.max(0, (sum + 32768) >> 16));
  const chromaWidth = Math.ceil(width / 2);
  const uAt = width * height;
  const vAt = uAt + chromaWidth * Math.ceil(height / 2);
  const rgb = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const sample = (y >> 1) * chromaWidth + (x >> 1);
      const luma = fixed(lumaScale * ((data[y * width + x] as number) - black));
      const u = chromaScale * ((data[uAt + sample] as number) - 128);
      const v = chromaScale * ((data[vAt + sample] as number) - 128);
      const at = (y * width + x) * 3;
      rgb[at] = level(luma + fixed(2 * (1 - red) * v));
      rgb[at + 1] = level(
        luma + fixed(((-2 * blue * (1 - blue)) / green) * u) + fixed(((-2 * red * (1 - red)) / green) * v),
      );
      rgb[at + 2] = level(luma + fixed(2 * (1 - blue) * u));
    }
  }
  return rgb;
}

/** The largest difference of a level from ffmpeg's. */
function largest(data: Uint8Array, size: Size, yuv: Yuv, flags: string): number {
  const { width, height } = size;
  const range = yuv.range === "full" ? "pc" : "tv";
  const input = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", `${width}x${height}`, "-i", "-"];
  const scale = `scale=in_color_matrix=${yuv.matrix}:in_range=${range}:flags=${flags}`;
  const output = ["-vf", scale, "-pix_fmt", "rgb24", "-f", "rawvideo", "-"];
  const theirs = execFileSync(FFMPEG, ["-v", "error", ...input, ...output], { input: data });
  const bytes = data.length / FRAMES;
  expect(theirs.length).toBe(FRAMES * width * height * 3);
  let most = 0;
  for (let frame = 0; frame < FRAMES; frame++) {
    const ours = toRgb(data.subarray(frame * bytes, (frame + 1) * bytes), size, yuv);
    ours.forEach((level, i) => {
      most = Math.max(most, Math.abs(level - (theirs[frame * ours.length + i] as number)));
    });
  }
  return most;
}
