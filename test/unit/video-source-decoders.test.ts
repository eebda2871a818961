import { beforeAll, describe, expect, it } from "vitest";
import type { NativePixels } from "../../lib/native/addon.js";
import { findDecoders } from "../../lib/video/sources/choose-decoder.js";
import type { DecodeRequest, StoredPacket, VideoDecoder } from "../../lib/video/sources/decoder.js";
import { VideoFile } from "../../lib/video/sources/video-file.js";
import { makeClip } from "./video-clips.js";
import { DECODERS } from "./video-source-ffmpegs.js";

const { signal } = new AbortController();
const X264 = ["-c:v", "libx264", "-g", "12"];

async function open(
  choice: (typeof DECODERS)[number]["options"],
  path: string,
  rgb = false,
): Promise<VideoDecoder> {
  const [found] = await findDecoders({ ffmpeg: undefined, ...choice });
  if (found === undefined) throw new Error("nothing to decode with");
  return found.open({ path, name: "clip", rgb, maxPixels: 1e6, signal });
}

describe.each(DECODERS)("$name", ({ options }) => {
  const clips: Record<string, string> = {};

  beforeAll(async () => {
    for (const [format, width, height] of [
      ["yuv420p", 98, 66],
      ["yuv444p", 97, 65],
      ["yuv420p10le", 98, 66],
    ] as const) {
      const output = [...X264, "-pix_fmt", format];
      clips[format] = await makeClip(`${format}.mkv`, { width, height, count: 20, output });
    }
  });

  it.each([
    ["yuv420p", false],
    ["yuv420p", true],
    ["yuv444p", false],
    ["yuv420p10le", false],
  ])("says how many bytes a frame takes: %s, as RGB %s", async (format, rgb) => {
    const decoder = await open(options, clips[format] as string, rgb);
    const sizes = new Set<number>();
    for await (const { pixels } of decoder.decode({ seek: null, fromTick: 0, skip: 0, signal })) {
      sizes.add(pixels.data.byteLength);
    }
    expect([...sizes]).toEqual([decoder.facts.frameBytes]);
  });

  it("keeps no list of packets, and can make it again", async () => {
    const decoder = await open(options, clips.yuv420p as string);
    const first = await decoder.packets(signal);
    expect(first.length).toBe(20);
    const second = await decoder.packets(signal);
    expect(second).not.toBe(first);
    expect(second).toEqual(first);
    const stopped = AbortSignal.abort(new Error("enough"));
    await expect(decoder.packets(stopped)).rejects.toThrow("enough");
  });
});

/** A decoder of a long video of keyframes, whose frames hold nothing; counts those it gave. */
class Drawn implements VideoDecoder {
  readonly name = "ffmpeg";
  readonly facts;
  given = 0;

  constructor(frameBytes: number) {
    const [width, height] = [1920, 1080];
    const timeBase = { num: 1, den: 25 };
    const container = "matroska,webm";
    this.facts = {
      codec: "h264",
      container,
      timeBase,
      rotation: 0,
      hasAudio: false,
      width,
      height,
      frameBytes,
    } as const;
  }

  async packets(): Promise<StoredPacket[]> {
    return Array.from({ length: 200 }, (_, tick) => ({ tick, duration: 1, key: true, discard: false }));
  }

  async ticks(): Promise<number[]> {
    throw new Error("packets say it all");
  }

  async *decode({ fromTick, seek }: DecodeRequest) {
    for (let tick = seek === null ? 0 : fromTick; tick < 200; tick++) {
      this.given++;
      yield { tick, pixels: { data: new Uint8Array(), width: 1920, height: 1080 } satisfies NativePixels };
    }
  }
}

describe("going backward", () => {
  const MIB = 2 ** 20;
  it.each([
    ["planes of full HD, which take 3 MB", 1920 * 1080 * 1.5, 64],
    ["RGB of full HD, which takes 6 MB", 1920 * 1080 * 3, 32],
    ["small frames", 1000, 64],
    ["frames as large as all that may be held", 192 * MIB, 4],
  ])("holds as many frames as there is memory for: %s", async (_, bytes, expected) => {
    const decoder = new Drawn(bytes);
    const settings = {
      name: "clip",
      readAhead: 1,
      stallTimeoutMs: 0,
      truncated: false,
      cleanUp: async () => {},
    };
    const video = await VideoFile.open(decoder, settings, signal);
    for await (const frame of video.frames({ direction: "backward", start: 199 })) {
      expect(frame.index).toBe(199);
      break;
    }
    expect(decoder.given).toBe(expected);
    await video.dispose();
  });
});
