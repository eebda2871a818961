import { beforeAll, describe, expect, it } from "vitest";
import { openVideo } from "../../lib/video/sources/open-video.js";
import type { VideoFrame, VideoInfo } from "../../lib/video/sources/video-source.js";
import { clipPath, FRAMES, ffmpeg, makeClip, numberOf, reference } from "./video-clips.js";
import { DECODERS } from "./video-source-ffmpegs.js";

const X264 = ["-c:v", "libx264", "-g", "12", "-bf", "2", "-pix_fmt", "yuv420p"];
const X265 = [
  ...["-c:v", "libx265", "-pix_fmt", "yuv420p"],
  ...["-x265-params", "keyint=12:bframes=3:open-gop=1:log-level=none"],
];
const VP9 = [
  ...["-c:v", "libvpx-vp9", "-g", "12", "-auto-alt-ref", "1", "-lag-in-frames", "12"],
  ...["-pix_fmt", "yuv420p", "-deadline", "realtime"],
];

const MOV = "mov,mp4,m4a,3gp,3g2,mj2";

interface Clip {
  readonly what: string;
  readonly make: () => Promise<string>;
  readonly info: Partial<VideoInfo>;
  readonly format?: "yuvj420p" | "rgb24";
  readonly yuv?: VideoFrame["pixels"]["yuv"];
  /** Frames, and the number drawn on the first one. */
  readonly count?: number;
  readonly first?: number;
}

const CLIPS: readonly Clip[] = [
  {
    what: "MP4, H.264 with B frames and sound",
    make: () => makeClip("h264.mp4", { audio: true, output: [...X264, "-c:a", "aac"] }),
    info: { codec: "h264", hasAudio: true, fps: 25, variableFrameRate: false, duration: 2 },
  },
  // FFmpeg's metadata counts the other way round.
  ...[90, 180, 270].map(
    (degrees): Clip => ({
      what: `MOV, H.264, turned by ${degrees} degrees`,
      make: async () => {
        const flat = await makeClip("flat.mov", { output: X264 });
        const path = clipPath(`turned-${degrees}.mov`);
        const turned = `rotate=${360 - degrees}`;
        await ffmpeg("-v", "error", "-i", flat, "-c", "copy", "-metadata:s:v:0", turned, path);
        return path;
      },
      info: {
        codec: "h264",
        rotation: degrees as 90 | 180 | 270,
        ...(degrees === 180 ? { width: 98, height: 66 } : { width: 66, height: 98 }),
      },
      first: -1,
    }),
  ),
  {
    what: "MP4, H.264, turned by 270 degrees, as RGB",
    make: async () => {
      const flat = await makeClip("flat-444.mp4", {
        output: ["-c:v", "libx264", "-g", "12", "-pix_fmt", "yuv444p"],
      });
      const path = clipPath("turned-444.mp4");
      await ffmpeg("-v", "error", "-i", flat, "-c", "copy", "-metadata:s:v:0", "rotate=90", path);
      return path;
    },
    info: { codec: "h264", rotation: 270, width: 66, height: 98 },
    format: "rgb24",
    first: -1,
  },
  {
    what: "MP4, H.264, variable frame rate",
    make: () =>
      makeClip("variable.mp4", {
        output: ["-vf", "setpts=N+trunc(N*N/50)", "-vsync", "passthrough", ...X264, "-bf", "0"],
      }),
    info: { variableFrameRate: true },
  },
  {
    what: "MP4, H.264, cut with an edit list in the middle of a group",
    make: async () => {
      const whole = await makeClip("whole.mp4", { output: X264 });
      const path = clipPath("cut.mp4");
      await ffmpeg("-v", "error", "-ss", "0.3", "-i", whole, "-c", "copy", path);
      return path;
    },
    info: { codec: "h264" },
    // What the edit list shows is ffmpeg's to say.
    count: -1,
    first: -1,
  },
  {
    what: "MP4, H.264, full range and BT.709",
    make: () =>
      makeClip("full.mp4", {
        output: [
          ...["-vf", "scale=in_range=full:out_range=full:out_color_matrix=bt709,format=yuvj420p"],
          ...["-c:v", "libx264", "-g", "12", "-color_range", "pc", "-colorspace", "bt709"],
        ],
      }),
    info: { codec: "h264" },
    format: "yuvj420p",
    yuv: { matrix: "bt709", range: "full" },
  },
  {
    what: "MP4, H.264, 4:4:4 of odd size",
    make: () =>
      makeClip("444.mp4", {
        width: 97,
        height: 65,
        output: ["-c:v", "libx264", "-g", "12", "-pix_fmt", "yuv444p"],
      }),
    info: { width: 97, height: 65 },
    format: "rgb24",
  },
  {
    what: "MKV, H.264 of 10 bits",
    make: () =>
      makeClip("ten-bits.mkv", { output: ["-c:v", "libx264", "-g", "12", "-pix_fmt", "yuv420p10le"] }),
    info: { codec: "h264" },
    format: "rgb24",
  },
  {
    what: "MOV, Motion JPEG, which is of full range",
    make: () => makeClip("mjpeg.mov", { output: ["-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj420p"] }),
    info: { codec: "mjpeg" },
    format: "yuvj420p",
    yuv: { matrix: "bt601", range: "full" },
  },
  {
    what: "MKV, HEVC with open groups",
    make: () => makeClip("hevc.mkv", { audio: true, output: X265 }),
    info: { codec: "hevc", container: "matroska,webm", hasAudio: true },
  },
  {
    what: "WEBM, VP9 of odd size with hidden frames",
    make: () => makeClip("vp9.webm", { width: 97, height: 65, output: VP9 }),
    info: { codec: "vp9", width: 97, height: 65 },
  },
  // What else of these codecs and containers go together, as far as this ffmpeg writes it. FLV takes neither HEVC nor VP9,
  // WMV no HEVC, MOV no VP9, and WEBM nothing but VP8 and VP9.
  ...(
    [
      ["MKV, H.264 with B frames", "h264.mkv", X264, "h264", "matroska,webm"],
      ["WMV, H.264 with B frames", "h264.wmv", X264, "h264", "asf"],
      ["MP4, HEVC with open groups", "hevc.mp4", [...X265, "-tag:v", "hvc1"], "hevc", MOV],
      ["MP4, HEVC with parameters in the stream", "hev1.mp4", [...X265, "-tag:v", "hev1"], "hevc", MOV],
      ["MOV, HEVC with open groups", "hevc.mov", X265, "hevc", MOV],
      ["AVI, HEVC without times", "hevc.avi", [...X265, "-tag:v", "hvc1"], "hevc", "avi"],
      ["MP4, VP9 with hidden frames", "vp9.mp4", VP9, "vp9", MOV],
      ["MKV, VP9 with hidden frames", "vp9.mkv", VP9, "vp9", "matroska,webm"],
      ["AVI, VP9 with hidden frames", "vp9.avi", VP9, "vp9", "avi"],
      ["WMV, VP9 with hidden frames", "vp9.wmv", VP9, "vp9", "asf"],
    ] as const
  ).map(
    ([what, name, output, codec, container]): Clip => ({
      what,
      make: () => makeClip(name, { output }),
      info: { codec, container, fps: 25, hasAudio: false },
    }),
  ),
  {
    what: "WEBM, VP8 with hidden frames in packets of their own",
    make: () =>
      makeClip("vp8.webm", {
        output: [
          "-c:v",
          "libvpx",
          "-g",
          "12",
          "-auto-alt-ref",
          "1",
          "-lag-in-frames",
          "12",
          "-pix_fmt",
          "yuv420p",
          "-b:v",
          "1M",
        ],
      }),
    info: { codec: "vp8" },
  },
  {
    what: "AVI, MPEG-4 of odd size with sound",
    make: () =>
      makeClip("mpeg4.avi", {
        width: 97,
        height: 65,
        audio: true,
        output: ["-c:v", "mpeg4", "-q:v", "2", "-g", "12", "-c:a", "libmp3lame"],
      }),
    info: { codec: "mpeg4", container: "avi", hasAudio: true },
  },
  {
    what: "AVI, H.264 with B frames, which have no times there",
    make: () => makeClip("h264.avi", { output: X264 }),
    info: { codec: "h264", container: "avi" },
  },
  {
    what: "FLV, H.264 with sound",
    make: () => makeClip("h264.flv", { audio: true, output: [...X264, "-c:a", "aac"] }),
    info: { codec: "h264", container: "flv", hasAudio: true },
  },
  {
    what: "FLV, FLV1",
    make: () => makeClip("flv1.flv", { output: ["-c:v", "flv1", "-q:v", "2", "-g", "12"] }),
    info: { codec: "flv1", container: "flv" },
  },
  {
    what: "WMV, WMV2 with sound",
    make: () =>
      makeClip("wmv2.wmv", {
        audio: true,
        output: ["-c:v", "wmv2", "-q:v", "2", "-g", "12", "-c:a", "wmav2"],
      }),
    info: { codec: "wmv2", container: "asf", hasAudio: true },
  },
];

for (const clip of CLIPS) {
  describe(clip.what, () => {
    let path = "";
    let truth: Awaited<ReturnType<typeof reference>>;

    beforeAll(async () => {
      path = await clip.make();
      truth = await reference(path, clip.format ?? "yuv420p");
    });

    for (const { name, options } of DECODERS) {
      it(`${name}: count, times and pixels are ffmpeg's`, async () => {
        const video = await openVideo(path, options);
        expect(video.info).toMatchObject({ kind: "file", decoder: options.decoder, ...clip.info });
        if (clip.count !== -1) expect(truth.frames.length).toBe(FRAMES);
        expect(video.info.frameCount).toBe(truth.frames.length);
        const frames = await all(video.frames());
        expect(frames.map(({ index }) => index)).toEqual(truth.frames.map((_, i) => i));
        for (const [i, frame] of frames.entries()) {
          expect(frame.time).toBeCloseTo(truth.times[i] as number, 5);
          expect(frame.pixels.width * 1000 + frame.pixels.height).toBe(
            video.info.width * 1000 + video.info.height,
          );
          const expected =
            clip.format === "rgb24" ? undefined : (clip.yuv ?? { matrix: "bt601", range: "limited" });
          expect(frame.pixels.yuv).toEqual(expected);
          if (clip.first !== -1) expect(numberOf(frame.pixels)).toBe(i);
          expect(Buffer.compare(frame.pixels.data, truth.frames[i] as Uint8Array), `pixels of ${i}`).toBe(0);
        }
        // A frame by its index, and frames backward, are those of going forward.
        const last = frames.length - 1;
        for (const index of [last, 0, 13, 11, 12, 26]) {
          same(await video.frame(index), frames[index] as VideoFrame);
        }
        const later = await all(video.frames({ start: 23, count: 4 }));
        expect(later.map(({ index }) => index)).toEqual([23, 24, 25, 26]);
        for (const frame of later) same(frame, frames[frame.index] as VideoFrame);
        const back = await all(video.frames({ direction: "backward", start: 30, count: 9 }));
        expect(back.map(({ index }) => index)).toEqual([30, 29, 28, 27, 26, 25, 24, 23, 22]);
        for (const frame of back) same(frame, frames[frame.index] as VideoFrame);
        await video.dispose();
      });
    }
  });
}

async function all(frames: AsyncIterable<VideoFrame>): Promise<VideoFrame[]> {
  const out: VideoFrame[] = [];
  for await (const frame of frames) out.push(frame);
  return out;
}

function same(a: VideoFrame, b: VideoFrame): void {
  expect([a.index, a.time]).toEqual([b.index, b.time]);
  expect(Buffer.compare(a.pixels.data, b.pixels.data), `pixels of ${b.index}`).toBe(0);
}
