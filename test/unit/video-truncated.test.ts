import { chmod, readFile, writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import type { FrameResult, VideoSession } from "../../lib/index.js";
import { clipPath, FFMPEG, ffmpeg, makeClip } from "./video-clips.js";
import { clipOf, mover, openVideoWorld } from "./video-world.js";

/** A thing that is everywhere at the same place: frames of an encoded clip do not carry their number to the fake addon. */
const still = mover("a", { at: () => [4, 4, 20, 20] });

/** The clip of each kind, cut off at 60 % of its bytes. */
const cut: Record<string, string> = {};

beforeAll(async () => {
  const whole = await makeClip("whole.mkv", {
    output: ["-c:v", "libx264", "-g", "12", "-pix_fmt", "yuv420p"],
  });
  for (const [ending, ...args] of [["mp4", "-movflags", "faststart"], ["mkv"]] as [string, ...string[]][]) {
    const full = clipPath(`full.${ending}`);
    await ffmpeg("-v", "error", "-i", whole, "-c", "copy", ...args, full);
    const bytes = await readFile(full);
    cut[ending] = clipPath(`cut.${ending}`);
    await writeFile(cut[ending], bytes.subarray(0, Math.floor(bytes.length * 0.6)));
  }
});

/** What a pass gives, and what it ends with. */
async function pass(
  session: VideoSession,
  options: Parameters<VideoSession["propagate"]>[0] = {},
): Promise<{ frames: FrameResult[]; indexes: number[]; error: unknown }> {
  const frames: FrameResult[] = [];
  let error: unknown;
  try {
    for await (const frame of session.propagate(options)) frames.push(frame);
  } catch (reason) {
    error = reason;
  }
  return { frames, indexes: frames.map(({ index }) => index), error };
}

const range = (from: number, to: number) =>
  Array.from({ length: Math.abs(to - from) }, (_, i) => (to > from ? from + i : from - i));

describe.each(["mp4", "mkv"])("a truncated %s", (ending) => {
  describe.each(["node-av", "ffmpeg"] as const)("decoded by %s", (decoder) => {
    async function open(settings = {}) {
      const { sam } = await openVideoWorld([still]);
      const choice = { decoder, ...(decoder === "ffmpeg" ? { ffmpeg: FFMPEG } : {}) };
      const session = await sam.video.open(cut[ending] as string, { ...choice, ...settings });
      const count = session.info?.frameCount as number;
      expect(count).toBeGreaterThan(5);
      expect(count).toBeLessThan(50);
      await session.addPrompt({ text: "thing" });
      const truncated = { code: "VIDEO_TRUNCATED", details: { frames: count } };
      return { session, count, truncated };
    }

    it("gives every frame that is there, then says so; what was computed stays", async () => {
      const { session, count, truncated } = await open();
      const first = await pass(session);
      expect(first.indexes).toEqual(range(0, count));
      expect(first.error).toMatchObject(truncated);
      for (const { objects } of first.frames) expect(objects.map(({ id }) => id)).toEqual([0]);
      expect(session.status()).toMatchObject({ state: "ready", framesDone: count });
      // Nothing is computed or read again; the end is the same.
      const again = await pass(session);
      expect(again.indexes).toEqual(range(0, count));
      expect(again.error).toMatchObject(truncated);
      expect(session.status().framesDone).toBe(count);
      expect(session.frame(count - 1)?.objects.length).toBe(1);
    });

    it("says so to whoever asks for more than is there, whatever the direction", async () => {
      const { session, count, truncated } = await open({ temporalDisambiguation: false });
      const both = await pass(session, { direction: "both", startFrame: 3 });
      expect(both.indexes).toEqual([...range(3, count), ...range(2, -1)]);
      expect(both.error).toMatchObject(truncated);
      const more = await pass(session, { startFrame: count - 2, maxFrames: 3 });
      expect(more.indexes).toEqual([count - 2, count - 1]);
      expect(more.error).toMatchObject(truncated);
      // All that was asked for is there.
      for (const options of [
        { maxFrames: count },
        { startFrame: count - 2, maxFrames: 2 },
        { direction: "backward" as const, startFrame: count - 1 },
        { direction: "both" as const, startFrame: 3, maxFrames: 3 },
      ]) {
        const { frames, error } = await pass(session, options);
        expect(error, JSON.stringify(options)).toBeUndefined();
        expect(frames.length, JSON.stringify(options)).toBe(
          options.direction === "both" ? 5 : (options.maxFrames ?? count),
        );
      }
    });
  });
});

describe("a picture that cannot be read", () => {
  const frames = clipOf(60).map((frame, i) => (i === 37 ? (new Uint8Array([1, 2, 3]) as never) : frame));

  it("holds no frame back that was computed before it", async () => {
    const { sam } = await openVideoWorld([mover("a")]);
    // With hindsight of 15 frames, so that 14 wait when it comes.
    const session = await sam.video.open(frames);
    await session.addPrompt({ text: "thing" });
    for (const startFrame of [0, 30]) {
      const { indexes, error } = await pass(session, { startFrame });
      expect(indexes).toEqual(range(startFrame, 37));
      expect(error).toMatchObject({ code: "IMAGE_INVALID" });
    }
    expect(session.status().state).toBe("ready");
    const back = await pass(session, { direction: "backward", startFrame: 50 });
    expect(back.indexes).toEqual(range(50, 37));
    expect(back.error).toMatchObject({ code: "IMAGE_INVALID" });
  });
});

describe("a decoder that stalls", () => {
  it("holds frames back that the caller's signal ends the wait for", async () => {
    // Twenty frames come after the one that was prompted, of which 14 wait for hindsight.
    const program = clipPath("stalling-ffmpeg");
    await writeFile(
      program,
      `#!/bin/sh\ncase "$*" in *rawvideo*) ${FFMPEG} "$@" | head -c ${20 * 98 * 66 * 1.5}; exec sleep 1000;; esac\nexec ${FFMPEG} "$@"\n`,
    );
    await chmod(program, 0o755);
    const { sam } = await openVideoWorld([still]);
    const session = await sam.video.open(clipPath("full.mkv"), { decoder: "ffmpeg", ffmpeg: program });
    await session.addPrompt({ text: "thing" });
    const stop = new AbortController();
    const reason = new Error("enough");
    const seen: number[] = [];
    const work = (async () => {
      for await (const { index } of session.propagate({ signal: stop.signal })) {
        seen.push(index);
        if (index === 6) setTimeout(() => stop.abort(reason), 100);
      }
    })();
    await expect(work).rejects.toBe(reason);
    expect(seen).toEqual(range(0, 7));
    expect(session.status()).toMatchObject({ state: "ready", framesDone: 21 });
  });
});
