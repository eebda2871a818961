import { createReadStream } from "node:fs";
import { chmod, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import sharp from "sharp";
import { beforeAll, describe, expect, it } from "vitest";
import { Sam3Error } from "../../lib/errors.js";
import { HERE } from "../../lib/video/sources/choose-decoder.js";
import { listDecoders } from "../../lib/video/sources/list-decoders.js";
import { openVideo } from "../../lib/video/sources/open-video.js";
import { readAhead } from "../../lib/video/sources/read-ahead.js";
import type { VideoFrame, VideoSource } from "../../lib/video/sources/video-source.js";
import { clipPath, drawFrames, FFMPEG, ffmpeg, makeClip, numberOf } from "./video-clips.js";
import { DECODERS } from "./video-source-ffmpegs.js";

const X264 = ["-c:v", "libx264", "-g", "12", "-bf", "2", "-pix_fmt", "yuv420p"];
const [WIDTH, HEIGHT] = [98, 66];
const BYTES = WIDTH * HEIGHT * 3;
const DRAWN = drawFrames(WIDTH, HEIGHT, 40);

const raw = (n: number) => ({
  data: DRAWN.subarray(n * BYTES, (n + 1) * BYTES),
  width: WIDTH,
  height: HEIGHT,
  channels: 3 as const,
});

async function take(frames: AsyncIterable<VideoFrame>): Promise<{ frames: VideoFrame[]; error: unknown }> {
  const out: VideoFrame[] = [];
  try {
    for await (const frame of frames) out.push(frame);
    return { frames: out, error: undefined };
  } catch (error) {
    return { frames: out, error };
  }
}

const numbers = (frames: readonly VideoFrame[]) => frames.map(({ pixels }) => numberOf(pixels));
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

async function codeOf(work: Promise<unknown>): Promise<{ code: string; message: string }> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!Sam3Error.is(error)) throw new Error(`not a Sam3Error: ${String(error)}`);
  return { code: error.code, message: error.message };
}

const spooled = async () => (await readdir(tmpdir())).filter((name) => name.startsWith("sam3-video-"));

describe("folders and lists of pictures", () => {
  async function folderOf(name: string, files: readonly string[]): Promise<string> {
    const folder = clipPath(name);
    await mkdir(folder);
    for (const [i, file] of files.entries()) {
      await writeFile(
        join(folder, file),
        await sharp(raw(i).data, { raw: raw(i) })
          .png()
          .toBuffer(),
      );
    }
    return folder;
  }

  it("takes a folder's pictures in the order people count in", async () => {
    const folder = await folderOf("natural", [
      "f1.png",
      "f2.png",
      "F3.PNG",
      "f10.png",
      "f11.png",
      "f100.png",
    ]);
    await writeFile(join(folder, ".hidden.png"), "no picture");
    await writeFile(join(folder, "notes.txt"), "no picture");
    const video = await openVideo(folder, { fps: 10 });
    expect(video.info).toMatchObject({
      kind: "pictures",
      frameCount: 6,
      fps: 10,
      duration: 0.6,
      width: WIDTH,
      height: HEIGHT,
      decoder: "sharp",
    });
    const { frames, error } = await take(video.frames());
    expect(error).toBeUndefined();
    expect(numbers(frames)).toEqual(upTo(6));
    expect(frames.map(({ time }) => time)).toEqual([0, 0.1, 0.2, 0.3, 0.4, 0.5]);
    const back = await take(video.frames({ direction: "backward", start: 4 }));
    expect(numbers(back.frames)).toEqual([4, 3, 2, 1, 0]);
    expect(numberOf((await video.frame(3)).pixels)).toBe(3);
  });

  it("says which picture has another size, after those before it", async () => {
    const folder = await folderOf("sizes", ["1.png", "2.png"]);
    await sharp(raw(2).data, { raw: raw(2) })
      .resize(50, 40)
      .toFile(join(folder, "3.png"));
    const { frames, error } = await take((await openVideo(folder)).frames());
    expect(frames.length).toBe(2);
    expect(error).toMatchObject({ code: "FRAME_SIZE", message: expect.stringContaining("50×40") });
  });

  it("says which picture is damaged", async () => {
    const folder = await folderOf("damaged", ["1.png", "2.png"]);
    await writeFile(join(folder, "3.png"), "no picture");
    const { frames, error } = await take((await openVideo(folder)).frames());
    expect(frames.length).toBe(2);
    expect(error).toMatchObject({ code: "IMAGE_INVALID", message: expect.stringContaining("3.png") });
  });

  it("takes lists of whatever a picture can be", async () => {
    const png = await sharp(raw(1).data, { raw: raw(1) })
      .png()
      .toBuffer();
    const video = await openVideo([raw(0), png, sharp(raw(2).data, { raw: raw(2) })]);
    expect(numbers((await take(video.frames())).frames)).toEqual([0, 1, 2]);
    expect(await codeOf(openVideo([]))).toMatchObject({ code: "VIDEO_EMPTY" });
    expect(await codeOf(openVideo([null as never]))).toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("knows no folder without pictures", async () => {
    const folder = clipPath("empty");
    await mkdir(folder);
    expect(await codeOf(openVideo(folder))).toMatchObject({ code: "VIDEO_EMPTY" });
  });
});

describe("live frames", () => {
  async function* camera(count: number, broken?: number) {
    for (let n = 0; n < count; n++) {
      if (n === broken) throw new Error("the cable was pulled");
      yield raw(n);
    }
  }

  it("come once, in order, and go on where an iteration ended", async () => {
    const video = await openVideo(camera(8));
    expect(video.info).toMatchObject({ kind: "live", frameCount: null, width: WIDTH, height: HEIGHT });
    expect(video.seekable).toBe(false);
    expect(numbers((await take(video.frames({ count: 3 }))).frames)).toEqual([0, 1, 2]);
    for await (const frame of video.frames()) {
      expect(frame.index).toBe(3);
      break;
    }
    const rest = await take(video.frames());
    expect(rest.frames.map(({ index }) => index)).toEqual([4, 5, 6, 7]);
    expect(numbers(rest.frames)).toEqual([4, 5, 6, 7]);
    expect(await codeOf(video.frame(2))).toMatchObject({ code: "VIDEO_NOT_SEEKABLE" });
    const back = await take(video.frames({ direction: "backward" }));
    expect(back.error).toMatchObject({ code: "VIDEO_NOT_SEEKABLE" });
  });

  it("have the times they bring, or those of their arrival", async () => {
    const timed = await openVideo(
      (async function* () {
        yield { image: raw(0), time: 7 };
        yield { image: raw(1), time: 7.5 };
      })(),
    );
    expect((await take(timed.frames())).frames.map(({ time }) => time)).toEqual([7, 7.5]);
    const arriving = await openVideo(
      (async function* () {
        yield raw(0);
        await sleep(60);
        yield raw(1);
      })(),
    );
    const [first, second] = (await take(arriving.frames())).frames;
    expect(first?.time).toBe(0);
    expect(second?.time).toBeGreaterThan(0.04);
  });

  it("break where the source breaks, after the frames before", async () => {
    const { frames, error } = await take((await openVideo(camera(40, 37))).frames());
    expect(numbers(frames)).toEqual(upTo(37));
    expect(String(error)).toContain("the cable was pulled");
  });

  it("stall no longer than allowed, and are let go", async () => {
    let released = false;
    const stalling: AsyncIterable<ReturnType<typeof raw>> = {
      [Symbol.asyncIterator]() {
        let n = 0;
        return {
          next: () =>
            n < 2 ? Promise.resolve({ done: false, value: raw(n++) }) : new Promise<never>(() => {}),
          return: async () => {
            released = true;
            return { done: true, value: undefined };
          },
        };
      },
    };
    const video = await openVideo(stalling, { stallTimeoutMs: 80 });
    const { frames, error } = await take(video.frames());
    expect(frames.length).toBe(2);
    expect(error).toMatchObject({ code: "VIDEO_STALLED" });
    await video.dispose();
    expect(released).toBe(true);
  });

  it("must be of one size, and at least one", async () => {
    const video = await openVideo(
      (async function* () {
        yield raw(0);
        yield { data: new Uint8Array(300), width: 10, height: 10, channels: 3 as const };
      })(),
    );
    expect((await take(video.frames())).error).toMatchObject({ code: "FRAME_SIZE" });
    expect(await codeOf(openVideo(camera(0)))).toMatchObject({ code: "VIDEO_EMPTY" });
  });

  it("end with the caller's signal, and lose nothing by it", async () => {
    let feed = (_: number) => {};
    const video = await openVideo(
      (async function* () {
        yield raw(0);
        await new Promise<void>((done) => {
          feed = () => done();
        });
        yield raw(1);
      })(),
    );
    const stop = new AbortController();
    const taking = take(video.frames({ signal: stop.signal }));
    await sleep(20);
    const reason = new Error("enough");
    stop.abort(reason);
    expect((await taking).error).toBe(reason);
    feed(0);
    expect(numbers((await take(video.frames())).frames)).toEqual([1]);
  });
});

describe("reading ahead", () => {
  it("is bounded, and stops when nobody takes any more", async () => {
    let made = 0;
    let ended = false;
    async function* produce() {
      try {
        for (;;) yield made++;
      } finally {
        ended = true;
      }
    }
    const ahead = readAhead(produce, { most: 3, stallTimeoutMs: 0, name: "it" });
    for (let taken = 0; taken < 10; taken++) {
      expect((await ahead.next()).value).toBe(taken);
      await sleep(5);
      // Those that wait, and the one the producer holds.
      expect(made).toBeLessThanOrEqual(taken + 1 + 3 + 1);
    }
    await ahead.return();
    await sleep(5);
    expect(ended).toBe(true);
  });
});

/** The clip as a file whose codec was renamed to one that there is not. */
async function unknownCodec(clip: string, ending: string): Promise<Buffer> {
  const [codec, from, to] = {
    mp4: ["copy", "avc1", "ZZZ9"],
    mkv: ["copy", "V_MPEG4/ISO/AVC", "V_ZZZ9/ISO/AVC\0"],
    avi: ["mpeg4", "FMP4", "ZZZ9"],
    wmv: ["wmv2", "WMV2", "ZZZ9"],
  }[ending] as [string, string, string];
  const file = clipPath(`known.${ending}`);
  await ffmpeg("-v", "error", "-i", clip, "-an", "-c:v", codec, file);
  const bytes = await readFile(file);
  expect(bytes.indexOf(from), ending).toBeGreaterThan(0);
  for (let at = bytes.indexOf(from); at !== -1; at = bytes.indexOf(from, at + 4)) bytes.write(to, at);
  return bytes;
}

/** A folder for the search path, with an ffmpeg in it. */
async function onPath(): Promise<string> {
  const folder = clipPath("bin");
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "ffmpeg"), `#!/bin/sh\nexec ${FFMPEG} "$@"\n`);
  await chmod(join(folder, "ffmpeg"), 0o755);
  return folder;
}

describe("a file", () => {
  let path = "";

  beforeAll(async () => {
    path = await makeClip("clip.mp4", {
      audio: true,
      output: [...X264, "-c:a", "aac", "-movflags", "faststart"],
    });
  });

  for (const { name, options: choice } of DECODERS) {
    const { decoder } = choice;
    const open = (input: Parameters<typeof openVideo>[0], options = {}): Promise<VideoSource> =>
      openVideo(input, { ...choice, ...options });

    describe(name, () => {
      it("may be a URL, bytes, or a stream of either kind", async () => {
        const bytes = await readFile(path);
        const before = await spooled();
        const inputs = [
          pathToFileURL(path),
          bytes,
          createReadStream(path),
          Readable.toWeb(createReadStream(path)) as ReadableStream<Uint8Array>,
        ];
        for (const input of inputs) {
          const video = await open(input);
          expect(video.info.frameCount).toBe(50);
          expect(numberOf((await video.frame(31)).pixels)).toBe(31);
          await video.dispose();
          expect((await take(video.frames())).error).toMatchObject({ code: "DISPOSED" });
        }
        expect(await spooled()).toEqual(before);
      });

      it("gives RGB where that is asked for", async () => {
        const video = await open(path, { rgb: true });
        const { pixels } = await video.frame(21);
        expect(pixels.yuv).toBeUndefined();
        expect(pixels.data.length).toBe(BYTES);
        expect(numberOf(pixels)).toBe(21);
        await video.dispose();
      });

      it("can be gone through by several at a time", async () => {
        const video = await open(path);
        const [a, b, c] = await Promise.all([
          take(video.frames({ count: 20 })),
          take(video.frames({ start: 30 })),
          video.frame(7),
        ]);
        expect(numbers(a.frames)).toEqual(upTo(20));
        expect(numbers(b.frames)).toEqual(upTo(50).slice(30));
        expect(numberOf(c.pixels)).toBe(7);
        await video.dispose();
      });

      it("stops at once by a signal, by leaving the loop and by dispose", async () => {
        const video = await open(path, { readAhead: 1 });
        const stop = new AbortController();
        const reason = new Error("enough");
        let seen = 0;
        await expect(
          (async () => {
            for await (const frame of video.frames({ signal: stop.signal })) {
              seen = frame.index;
              if (seen === 5) stop.abort(reason);
            }
          })(),
        ).rejects.toBe(reason);
        expect(seen).toBe(5);
        for await (const frame of video.frames()) if (frame.index === 3) break;
        expect(numberOf((await video.frame(40)).pixels)).toBe(40);
        const code = await codeOf(
          (async () => {
            for await (const frame of video.frames()) if (frame.index === 3) await video.dispose();
          })(),
        );
        expect(code).toMatchObject({ code: "DISPOSED" });
      });

      it("has the frames it has", async () => {
        const video = await open(path);
        for (const index of [-1, 50, 1e9]) {
          expect(await codeOf(video.frame(index))).toMatchObject({ code: "FRAME_OUT_OF_RANGE" });
          const { error } = await take(video.frames({ start: index }));
          expect(error).toMatchObject({ code: "FRAME_OUT_OF_RANGE" });
        }
        expect(await codeOf(video.frame(1.5))).toMatchObject({ code: "INVALID_ARGUMENT" });
        expect((await take(video.frames({ start: 48 }))).frames.length).toBe(2);
        expect((await take(video.frames({ count: 0 }))).frames.length).toBe(0);
        await video.dispose();
      });

      it("that is cut off gives what is there, then says so", async () => {
        const whole = await readFile(path);
        for (const [ending, ...args] of [
          ["mp4", "-c", "copy", "-movflags", "faststart"],
          ["mkv", "-c", "copy"],
          ["avi", "-c:v", "mpeg4", "-g", "12"],
          ["flv", "-c", "copy", "-flvflags", "add_keyframe_index"],
          ["wmv", "-c:v", "wmv2", "-c:a", "wmav2"],
        ] as [string, ...string[]][]) {
          const full = clipPath(`full.${ending}`);
          await ffmpeg("-v", "error", "-i", path, ...args, full);
          const bytes = await readFile(full);
          const cut = clipPath(`cut.${ending}`);
          await writeFile(cut, bytes.subarray(0, Math.floor(bytes.length * 0.6)));
          const video = await open(cut);
          const { frames, error } = await take(video.frames());
          expect(frames.length, ending).toBeGreaterThan(5);
          expect(frames.length, ending).toBeLessThan(50);
          expect(numbers(frames.slice(0, -2)), ending).toEqual(upTo(frames.length - 2));
          expect(error, ending).toMatchObject({
            code: "VIDEO_TRUNCATED",
            details: { frames: frames.length },
          });
          expect(video.info.frameCount, ending).toBe(frames.length);
          // Whoever asks for frames that are there gets them.
          expect((await video.frame(frames.length - 1)).index).toBe(frames.length - 1);
          await video.dispose();
        }
        // Without its table at the end, an MP4 cannot be read at all.
        const late = clipPath("late.mp4");
        await ffmpeg("-v", "error", "-i", path, "-c", "copy", late);
        await writeFile(clipPath("cut-late.mp4"), (await readFile(late)).subarray(0, whole.length >> 1));
        expect(await codeOf(open(clipPath("cut-late.mp4")))).toMatchObject({ code: "VIDEO_INVALID" });
      });

      it("that is no video is said to be none", async () => {
        const text = clipPath("text.mp4");
        await writeFile(text, "no video at all\n".repeat(500));
        expect(await codeOf(open(text))).toMatchObject({ code: "VIDEO_INVALID" });
        const picture = clipPath("picture.png");
        await sharp(raw(0).data, { raw: raw(0) }).toFile(picture);
        expect(await codeOf(open(picture))).toMatchObject({ code: "VIDEO_INVALID" });
        const ansi = clipPath("screen.txt");
        await writeFile(ansi, "FFmpeg would draw this text as a video.\n".repeat(100));
        expect(await codeOf(open(ansi))).toMatchObject({ code: "VIDEO_INVALID" });
        const empty = clipPath("empty.mp4");
        await writeFile(empty, "");
        expect(await codeOf(open(empty))).toMatchObject({ code: "VIDEO_INVALID" });
        const sound = clipPath("sound.m4a");
        await ffmpeg("-v", "error", "-f", "lavfi", "-i", "sine=d=1", sound);
        expect(await codeOf(open(sound))).toMatchObject({ code: "VIDEO_NO_STREAM" });
        expect(await codeOf(open(clipPath("nowhere.mp4")))).toMatchObject({ code: "VIDEO_NOT_FOUND" });
        expect(await codeOf(open("https://example.com/a.mp4"))).toMatchObject({ code: "INVALID_ARGUMENT" });
        expect(await codeOf(open(""))).toMatchObject({ code: "INVALID_ARGUMENT" });
        expect(await codeOf(open(7 as never))).toMatchObject({ code: "INVALID_ARGUMENT" });
        expect(await codeOf(open(path, { maxPixels: 1000 }))).toMatchObject({ code: "IMAGE_TOO_LARGE" });
      });

      it("that names other files is not followed", async () => {
        const list = clipPath("list.m3u8");
        await writeFile(list, `#EXTM3U\n#EXTINF:2,\nfile://${path}\n#EXT-X-ENDLIST\n`);
        expect(await codeOf(open(list))).toMatchObject({ code: "VIDEO_INVALID" });
        const script = clipPath("list.ffconcat");
        await writeFile(script, `ffconcat version 1.0\nfile '${path}'\n`);
        expect(await codeOf(open(script))).toMatchObject({ code: "VIDEO_INVALID" });
      });

      const install =
        decoder === "ffmpeg"
          ? /Install an ffmpeg that was built with a decoder for it, or the package node-av/
          : /Install an ffmpeg that has a decoder for it and pass decoder: "ffmpeg"/;

      it.each(["mp4", "mkv", "avi", "wmv"])(
        "of a codec that nobody knows says which, by its tag in %s, and what to install",
        async (ending) => {
          const error = await open(await unknownCodec(path, ending)).catch((reason: unknown) => reason);
          const tag = ending === "mkv" ? "V_ZZZ9/ISO/AVC" : "ZZZ9";
          expect(error).toMatchObject({
            code: "VIDEO_UNSUPPORTED",
            message: expect.stringMatching(install),
            details: { codec: tag, decoder },
          });
          expect((error as Error).message).toContain(`a codec "${tag}", which`);
        },
      );

      it.each([
        // FFmpeg stores no track of a stream that nothing came of: these two hold no stream at all.
        ["mp4", "libx264", "VIDEO_NO_STREAM"],
        ["mov", "libx264", "VIDEO_NO_STREAM"],
        ["mkv", "libx264", "VIDEO_EMPTY"],
        ["webm", "libvpx", "VIDEO_EMPTY"],
        ["avi", "mpeg4", "VIDEO_EMPTY"],
        ["flv", "flv1", "VIDEO_EMPTY"],
        ["wmv", "wmv2", "VIDEO_EMPTY"],
      ])("without a frame is empty: %s", async (ending, codec, expected) => {
        const none = clipPath(`none.${ending}`);
        await ffmpeg("-v", "error", "-i", path, "-an", "-frames:v", "0", "-c:v", codec, none);
        const { code, message } = await codeOf(open(none));
        expect(code).toBe(expected);
        expect(message).toMatch(
          expected === "VIDEO_EMPTY" ? /has no frame that can be decoded/ : /has no video stream in it/,
        );
      });

      it.each([
        ["mp4", "moof", -4, "-movflags", "frag_keyframe+empty_moov"],
        ["mkv", "\x1f\x43\xb6\x75", 0, "-live", "1"],
      ])("of which only the head has come is empty: %s", async (ending, first, back, ...args) => {
        const streamed = clipPath(`streamed.${ending}`);
        await ffmpeg("-v", "error", "-i", path, "-an", "-c", "copy", ...args, streamed);
        const bytes = await readFile(streamed);
        const head = bytes.subarray(0, bytes.indexOf(Buffer.from(first, "latin1")) + back);
        expect(head.length).toBeGreaterThan(100);
        expect(await codeOf(open(head))).toMatchObject({ code: "VIDEO_EMPTY" });
      });

      it("that is cut off in its head is not taken for an empty one", async () => {
        const full = clipPath("cut-head.mkv");
        await ffmpeg("-v", "error", "-i", path, "-an", "-c", "copy", full);
        const bytes = await readFile(full);
        const head = bytes.subarray(0, bytes.indexOf(Buffer.from("1f43b675", "hex")));
        expect(await codeOf(open(head))).toMatchObject({ code: "VIDEO_INVALID" });
      });
    });
  }

  it("as a stream has bounds, and leaves nothing behind", async () => {
    const before = await spooled();
    expect(await codeOf(openVideo(createReadStream(path), { maxBytes: 1000 }))).toMatchObject({
      code: "VIDEO_TOO_LARGE",
    });
    const stalling = new Readable({ read() {} });
    stalling.push(Buffer.alloc(100));
    expect(await codeOf(openVideo(stalling, { stallTimeoutMs: 50 }))).toMatchObject({
      code: "VIDEO_STALLED",
    });
    expect(stalling.destroyed).toBe(true);
    const failing = Readable.from(
      (async function* () {
        yield Buffer.alloc(10);
        throw new Error("connection reset");
      })(),
      { objectMode: false },
    );
    expect(await codeOf(openVideo(failing))).toMatchObject({
      code: "VIDEO_INVALID",
      message: expect.stringContaining("connection reset"),
    });
    expect(await codeOf(openVideo(Buffer.from("no video at all")))).toMatchObject({ code: "VIDEO_INVALID" });
    expect(await spooled()).toEqual(before);
  });

  it("needs a decoder, and says what to install", async () => {
    const search = { env: { PATH: clipPath("nothing") }, nodeAv: async () => undefined };
    const missing = await codeOf(openVideo(path, {}, search));
    expect(missing.code).toBe("DECODER_NOT_FOUND");
    expect(missing.message).toMatch(/ffmpeg.*npm install node-av/);
    expect(await codeOf(openVideo(path, { decoder: "node-av" }, search))).toMatchObject({
      code: "DECODER_NOT_FOUND",
    });
    expect(await codeOf(openVideo(path, { decoder: "ffmpeg" }, search))).toMatchObject({
      code: "DECODER_NOT_FOUND",
    });
    expect(await codeOf(openVideo(path, { ffmpeg: process.execPath }))).toMatchObject({
      code: "DECODER_NOT_FOUND",
    });
    const choice = { decoder: "auto", ffmpeg: undefined } as const;
    expect(await listDecoders(choice, new AbortController().signal, search)).toEqual({
      nodeAv: null,
      ffmpeg: null,
      order: [],
    });
    // Pictures need none.
    expect((await openVideo([raw(0)], {}, search)).info.frameCount).toBe(1);
  });

  it("that neither decoder knows is said to be so, by both", async () => {
    const bytes = await unknownCodec(path, "mp4");
    const { nodeAv } = HERE;
    const { code, message } = await codeOf(openVideo(bytes, {}, { env: { PATH: await onPath() }, nodeAv }));
    expect(code).toBe("VIDEO_UNSUPPORTED");
    expect(message).toContain('a codec "ZZZ9", which neither node-av nor this ffmpeg can decode');
    expect(message).toContain("Install an ffmpeg that was built with a decoder for it, or convert the video");
  });

  it("is decoded by the ffmpeg on the path where node-av is not installed", async () => {
    const folder = await onPath();
    const video = await openVideo(path, {}, { env: { PATH: folder }, nodeAv: async () => undefined });
    expect(video.info.decoder).toBe("ffmpeg");
    expect(numberOf((await video.frame(12)).pixels)).toBe(12);
    await video.dispose();
  });

  it("whose ffmpeg stalls is given up, and the program is killed", async () => {
    // Everything works until frames are to be decoded to a pipe.
    const program = clipPath("stalling-ffmpeg");
    const pids = clipPath("stalling-pids");
    await writeFile(
      program,
      `#!/bin/sh\ncase "$*" in *rawvideo*) echo $$ >> ${pids}; exec sleep 1000;; esac\nexec ${FFMPEG} "$@"\n`,
    );
    await chmod(program, 0o755);
    const video = await openVideo(path, { ffmpeg: program, stallTimeoutMs: 300 });
    expect((await take(video.frames())).error).toMatchObject({ code: "VIDEO_STALLED" });
    await sleep(100);
    const pid = Number((await readFile(pids, "utf8")).trim());
    expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
    await video.dispose();
  });

  it("whose ffmpeg dies is begun anew, but not without end", async () => {
    const program = clipPath("dying-ffmpeg");
    await writeFile(
      program,
      `#!/bin/sh\ncase "$*" in *rawvideo*) ${FFMPEG} "$@" | head -c ${10 * WIDTH * HEIGHT * 1.5}; exit 9;; esac\nexec ${FFMPEG} "$@"\n`,
    );
    await chmod(program, 0o755);
    const video = await openVideo(path, { ffmpeg: program });
    const { frames, error } = await take(video.frames());
    expect(frames.length).toBeGreaterThanOrEqual(10);
    expect(frames.length).toBeLessThan(50);
    expect(numbers(frames)).toEqual(upTo(frames.length));
    expect(error).toMatchObject({ code: "VIDEO_INVALID", details: { frames: frames.length } });
  });

  it("is left as it was", async () => {
    expect((await stat(path)).size).toBeGreaterThan(1000);
  });
});

describe("options", () => {
  it("are checked", async () => {
    for (const options of [
      { decoder: "vlc" },
      { readAhead: 0 },
      { fps: 0 },
      { fps: Number.NaN },
      { stallTimeoutMs: -1 },
      { maxBytes: 0.5 },
      { ffmpeg: "" },
      { rgb: 1 },
      { unknown: 1 },
      { signal: "no" },
    ]) {
      expect(await codeOf(openVideo([raw(0)], options as never)), JSON.stringify(options)).toMatchObject({
        code: "INVALID_ARGUMENT",
      });
    }
  });
});
