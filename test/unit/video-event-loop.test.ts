import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { openVideo } from "../../lib/video/sources/open-video.js";
import { clipPath, FFMPEG, ffmpeg } from "./video-clips.js";

// Measured in turns of the event loop and in processor time, not by the clock: a busy machine makes decoding and the loop
// slower alike.

const COUNT = 16;
let clip = "";

beforeAll(async () => {
  clip = clipPath("1080p.mp4");
  // Noise, so that decoding is work.
  const picture = `testsrc2=s=1920x1080:r=25:d=${COUNT / 25},noise=alls=24:allf=t`;
  await ffmpeg(
    ...["-v", "error", "-f", "lavfi", "-i", picture],
    ...["-c:v", "libx264", "-preset", "ultrafast", "-crf", "20", "-pix_fmt", "yuv420p", clip],
  );
  await ffmpeg("-v", "error", "-i", clip, "-frames:v", "8", "-q:v", "2", clipPath("f%02d.jpg"));
});

/** Counts the turns of the event loop until it is told to stop. */
function countTurns(): { readonly turns: number; stop(): void } {
  let turns = 0;
  let stopped = false;
  const turn = () => {
    turns++;
    if (!stopped) setImmediate(turn);
  };
  setImmediate(turn);
  return {
    get turns() {
      return turns;
    },
    stop: () => {
      stopped = true;
    },
  };
}

const VIDEOS = [
  { what: "a file, by node-av", input: () => clip, options: { decoder: "node-av" } },
  { what: "a file, by node-av, as RGB", input: () => clip, options: { decoder: "node-av", rgb: true } },
  { what: "a file, by ffmpeg", input: () => clip, options: { decoder: "ffmpeg", ffmpeg: FFMPEG } },
  {
    what: "pictures",
    input: () => Array.from({ length: 8 }, (_, i) => clipPath(`f0${i + 1}.jpg`)),
    options: {},
  },
] as const;

describe("frames of 1080p are decoded off the event loop", () => {
  it.each(VIDEOS)("$what: the loop turns between any two of them", async ({ input, options }) => {
    const loop = countTurns();
    try {
      const video = await openVideo(input(), { ...options, readAhead: 1 });
      expect([video.info.width, video.info.height]).toEqual([1920, 1080]);
      const between: number[] = [];
      let before = loop.turns;
      for await (const { pixels } of video.frames()) {
        expect(pixels.data.length).toBeGreaterThan(3_000_000);
        between.push(loop.turns - before);
        before = loop.turns;
      }
      await video.dispose();
      expect(between.length).toBe(video.info.frameCount);
      // A frame takes milliseconds, a turn microseconds. Decoders that work on several frames give some of them together,
      // and opening the file has turns of its own.
      const typical = between.slice(1).sort((a, b) => a - b)[between.length >> 1] as number;
      console.log(`turns between two frames: ${typical} typically`);
      expect(typical).toBeGreaterThan(50);
    } finally {
      loop.stop();
    }
  });

  // Elsewhere nothing says what a single thread has used.
  it.runIf(process.platform === "linux").each([{ rgb: false }, { rgb: true }])(
    "node-av's work is that of other threads: %o",
    async ({ rgb }) => {
      const video = await openVideo(clip, { decoder: "node-av", rgb });
      // Once before, for what is only done once.
      for await (const _ of video.frames({ count: 3 }));
      const whole = process.cpuUsage();
      const own = await mainThreadMicros();
      let frames = 0;
      for await (const _ of video.frames()) frames++;
      const [ownUsed, used] = [(await mainThreadMicros()) - own, process.cpuUsage(whole)];
      const share = ownUsed / (used.user + used.system);
      await video.dispose();
      expect(frames).toBe(COUNT);
      console.log(`the loop's thread used ${(100 * share).toFixed(0)} % of the processor time`);
      expect(share).toBeLessThan(0.3);
    },
  );
});

/** Processor time of this process's first thread, which is the one the event loop runs on. */
async function mainThreadMicros(): Promise<number> {
  const text = await readFile(join("/proc/self/task", String(process.pid), "schedstat"), "utf8");
  return Number(text.split(" ")[0]) / 1000;
}
