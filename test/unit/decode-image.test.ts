import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { runInNewContext } from "node:vm";
import { crc32, deflateSync } from "node:zlib";
import sharp from "sharp";
import { beforeAll, describe, expect, it } from "vitest";
import { decodeImage } from "../../lib/image/decode-image.js";
import { type ImageInput, takeImage } from "../../lib/image/take-image.js";

const limits = { maxPixels: 128_000_000 };
const load = async (input: unknown, maxPixels = limits.maxPixels, signal?: AbortSignal) =>
  decodeImage(takeImage(input as ImageInput, { maxPixels }), { maxPixels }, signal);
const code = (value: string, ...words: string[]) => ({
  code: value,
  message: expect.stringMatching(new RegExp(words.map((word) => `(?=.*${word})`).join(""), "s")),
});

let folder: string;
/** 60×40: left half red, right half blue, a green bar at the top. */
let rgb: Buffer;
const width = 60;
const height = 40;
const pixel = (data: Uint8Array, w: number, x: number, y: number) => [
  ...data.subarray((y * w + x) * 3, (y * w + x) * 3 + 3),
];
const near = (a: number[], b: number[], by = 12) => a.every((v, i) => Math.abs(v - (b[i] as number)) <= by);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sam3-pictures-"));
  rgb = Buffer.from(
    Array.from({ length: width * height }, (_, i) => {
      if (i < width * 8) return [0, 200, 0];
      return i % width < width / 2 ? [200, 0, 0] : [0, 0, 200];
    }).flat(),
  );
});

const source = () => sharp(rgb, { raw: { width, height, channels: 3 } });

/** A PNG header that claims a size, with no pixels behind it. */
function pngHeader(w: number, h: number): Buffer {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
    const out = Buffer.alloc(body.length + 8);
    out.writeUInt32BE(data.length, 0);
    body.copy(out, 4);
    out.writeUInt32BE((crc32 as (data: Buffer) => number)(body) >>> 0, body.length + 4);
    return out;
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(w, 0);
  header.writeUInt32BE(h, 4);
  header.set([8, 2, 0, 0, 0], 8);
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(Buffer.alloc(64))),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

describe("what is taken as a picture", () => {
  it("gives the same pixels from a path, URL, bytes, raw pixels and sharp", async () => {
    const png = await source().png().toBuffer();
    const path = join(folder, "a picture ü.png");
    await writeFile(path, png);
    const inputs: unknown[] = [
      path,
      pathToFileURL(path),
      String(pathToFileURL(path)),
      png,
      new Uint8Array(png),
      { data: rgb, width, height, channels: 3 },
      { data: new Uint8ClampedArray(rgb), width, height, channels: 3 },
      source(),
      sharp(png),
      sharp(path),
    ];
    for (const input of inputs) {
      const pixels = await load(input);
      expect([pixels.width, pixels.height]).toEqual([width, height]);
      expect(Buffer.from(pixels.data)).toEqual(rgb);
      expect(pixels.decodeMs).toBeGreaterThan(0);
    }
  });

  it("reads a file again after it was overwritten", async () => {
    const path = join(folder, "changing.png");
    await source().png().toFile(path);
    expect(pixel((await load(path)).data, width, 5, 30)).toEqual([200, 0, 0]);
    await source().negate().png().toFile(path);
    expect(pixel((await load(path)).data, width, 5, 30)).toEqual([55, 255, 255]);
  });

  it("copies raw pixels and bytes before the caller can change them", async () => {
    const raw = Buffer.from(rgb);
    const running = load({ data: raw, width, height, channels: 3 });
    raw.fill(7);
    expect(Buffer.from((await running).data)).toEqual(rgb);
    const bytes = new Uint8Array(await source().png().toBuffer());
    const decoding = load(bytes);
    structuredClone(bytes, { transfer: [bytes.buffer] });
    expect(bytes.length).toBe(0);
    expect(Buffer.from((await decoding).data)).toEqual(rgb);
  });

  it("takes bytes and raw pixels of another realm", async () => {
    const foreign = runInNewContext("(bytes) => Uint8Array.from(bytes)") as (bytes: Uint8Array) => Uint8Array;
    const png = foreign(await source().png().toBuffer());
    expect(png instanceof Uint8Array).toBe(false);
    expect(Buffer.from((await load(png)).data)).toEqual(rgb);
    expect(Buffer.from((await load({ data: foreign(rgb), width, height, channels: 3 })).data)).toEqual(rgb);
  });

  it("leaves a sharp instance usable", async () => {
    const instance = source().resize(30, 20);
    expect(await load(instance)).toMatchObject({ width: 30, height: 20 });
    expect((await instance.png().toBuffer()).length).toBeGreaterThan(50);
  });
});

describe("pictures of every kind become 8-bit RGB as a viewer shows them", () => {
  it.each(["jpeg", "webp", "gif", "tiff", "avif", "png"] as const)("%s", async (format) => {
    const { data, width: w, height: h } = await load(await source().toFormat(format).toBuffer());
    expect([w, h, data.length]).toEqual([width, height, width * height * 3]);
    expect(near(pixel(data, w, 5, 30), [200, 0, 0], 30)).toBe(true);
    expect(near(pixel(data, w, 55, 30), [0, 0, 200], 30)).toBe(true);
  });

  it("grey, grey with alpha, 16 bit, palette", async () => {
    const grey = await source().toColourspace("b-w").png().toBuffer();
    expect((await sharp(grey).metadata()).channels).toBe(1);
    const { data } = await load(grey);
    const [r, g, b] = pixel(data, width, 5, 30);
    expect(data.length).toBe(width * height * 3);
    expect(r === g && g === b).toBe(true);

    const greyAlpha = await load({ data: Uint8Array.of(10, 255, 10, 0), width: 2, height: 1, channels: 2 });
    expect([...greyAlpha.data]).toEqual([10, 10, 10, 255, 255, 255]);

    const deep = await source().toColourspace("rgb16").png().toBuffer();
    expect((await sharp(deep).metadata()).depth).toBe("ushort");
    expect(near(pixel((await load(deep)).data, width, 5, 30), [200, 0, 0], 1)).toBe(true);

    const deepGrey = await source().toColourspace("grey16").png().toBuffer();
    expect((await sharp(deepGrey).metadata()).depth).toBe("ushort");
    expect(near(pixel((await load(deepGrey)).data, width, 5, 30), [r, g, b] as number[], 2)).toBe(true);

    const palette = await source().png({ palette: true }).toBuffer();
    expect(near(pixel((await load(palette)).data, width, 55, 30), [0, 0, 200])).toBe(true);
  });

  it("CMYK", async () => {
    const cmyk = await source().toColourspace("cmyk").jpeg({ quality: 100 }).toBuffer();
    expect((await sharp(cmyk).metadata()).space).toBe("cmyk");
    const { data } = await load(cmyk);
    expect(data.length).toBe(width * height * 3);
    const [r = 0, g = 0, b = 0] = pixel(data, width, 5, 30);
    expect(r).toBeGreaterThan(120);
    expect(Math.max(g, b)).toBeLessThan(90);
  });

  it("transparency over white, whatever colour lies under it", async () => {
    const rgba = Uint8Array.of(255, 0, 0, 255, 9, 9, 9, 0, 0, 0, 0, 128);
    const expected = [255, 0, 0, 255, 255, 255, 127, 127, 127];
    const raw = await load({ data: rgba, width: 3, height: 1, channels: 4 });
    const png = await load(
      await sharp(rgba, { raw: { width: 3, height: 1, channels: 4 } })
        .png()
        .toBuffer(),
    );
    for (const { data } of [raw, png]) expect(near([...data], expected, 1)).toBe(true);
  });

  it("one channel of raw pixels", async () => {
    expect([...(await load({ data: Uint8Array.of(3, 250), width: 2, height: 1, channels: 1 })).data]).toEqual(
      [3, 3, 3, 250, 250, 250],
    );
  });

  it("the first frame of an animation", async () => {
    const frames = await Promise.all([source().png().toBuffer(), source().negate().png().toBuffer()]);
    for (const format of ["gif", "webp"] as const) {
      const animation = await sharp(frames, { join: { animated: true } })
        .toFormat(format)
        .toBuffer();
      expect((await sharp(animation).metadata()).pages).toBe(2);
      const { data, width: w, height: h } = await load(animation);
      expect([w, h]).toEqual([width, height]);
      expect(near(pixel(data, w, 5, 30), [200, 0, 0], 30)).toBe(true);
    }
  });

  it.each([1, 2, 3, 4, 5, 6, 7, 8])("turned as EXIF orientation %d says", async (orientation) => {
    const jpeg = await source().withMetadata({ orientation }).jpeg({ quality: 95 }).toBuffer();
    const { data, width: w, height: h } = await load(jpeg);
    expect([w, h]).toEqual(orientation > 4 ? [height, width] : [width, height]);
    // Where the green bar at the stored top ends up, and the red half at the stored left, as EXIF defines it.
    const [top, left] = { 1: "tl", 2: "tr", 3: "br", 4: "bl", 5: "lt", 6: "rt", 7: "rb", 8: "lb" }[
      orientation
    ] as string;
    const along = { t: [w / 2, 3], b: [w / 2, h - 4], l: [3, h / 2], r: [w - 4, h / 2] } as Record<
      string,
      number[]
    >;
    const [gx, gy] = along[top as string] as [number, number];
    const [rx, ry] = along[left as string] as [number, number];
    expect(near(pixel(data, w, gx, gy), [0, 200, 0], 40)).toBe(true);
    expect(near(pixel(data, w, rx, ry), [200, 0, 0], 40)).toBe(true);
  });

  it("one pixel", async () => {
    expect([
      ...(await load({ data: Uint8Array.of(1, 2, 3), width: 1, height: 1, channels: 3 })).data,
    ]).toEqual([1, 2, 3]);
  });
});

describe("what is no picture gets its code, naming what", () => {
  it("a missing file, a folder, a device", async () => {
    await expect(load("/nowhere/street.jpg")).rejects.toMatchObject(
      code("IMAGE_NOT_FOUND", "/nowhere/street.jpg"),
    );
    await expect(load(folder)).rejects.toMatchObject(code("IMAGE_NOT_FOUND", "folder"));
    await mkdir(join(folder, "dir.png"), { recursive: true });
    await expect(load(join(folder, "dir.png"))).rejects.toMatchObject(code("IMAGE_NOT_FOUND", "folder"));
    if (process.platform !== "win32") {
      await expect(load("/dev/zero")).rejects.toMatchObject(code("IMAGE_NOT_FOUND", "not a file"));
    }
  });

  it("an empty file, empty bytes, detached bytes", async () => {
    const path = join(folder, "empty.png");
    await writeFile(path, "");
    await expect(load(path)).rejects.toMatchObject(code("IMAGE_INVALID", "empty"));
    await expect(load(Buffer.alloc(0))).rejects.toMatchObject(code("IMAGE_INVALID", "empty"));
    const gone = new Uint8Array(8);
    structuredClone(gone, { transfer: [gone.buffer] });
    await expect(load(gone)).rejects.toMatchObject(code("IMAGE_INVALID", "empty"));
  });

  it("text named .png, random bytes, a PDF header", async () => {
    const path = join(folder, "text.png");
    await writeFile(path, "this is not a picture, whatever its name says");
    await expect(load(path)).rejects.toMatchObject(code("IMAGE_INVALID", "text.png", "not a picture"));
    await expect(
      load(Buffer.from(Array.from({ length: 500 }, (_, i) => (i * 97) % 251))),
    ).rejects.toMatchObject(code("IMAGE_INVALID", "500 bytes"));
    await expect(load(Buffer.from("%PDF-1.4\n"))).rejects.toMatchObject(code("IMAGE_INVALID"));
  });

  it.each(["jpeg", "png", "webp", "gif"] as const)("a truncated %s", async (format) => {
    const noise = await sharp({
      create: {
        width: 200,
        height: 200,
        channels: 3,
        background: "#888",
        noise: { type: "gaussian", mean: 128, sigma: 60 },
      },
    })
      .toFormat(format)
      .toBuffer();
    await expect(load(noise)).resolves.toMatchObject({ width: 200 });
    await expect(load(noise.subarray(0, Math.floor(noise.length * 0.6)))).rejects.toMatchObject(
      code("IMAGE_INVALID"),
    );
    await expect(load(noise.subarray(0, 20))).rejects.toMatchObject(code("IMAGE_INVALID"));
  });

  it("a header that claims 40,000×40,000, at once", async () => {
    const start = performance.now();
    await expect(load(pngHeader(40_000, 40_000))).rejects.toMatchObject(
      code("IMAGE_TOO_LARGE", "40000×40000", "1600 million", "128 million"),
    );
    expect(performance.now() - start).toBeLessThan(1000);
  });

  it("more pixels than the setting allows, encoded, raw and through sharp", async () => {
    for (const input of [
      await source().png().toBuffer(),
      { data: rgb, width, height, channels: 3 },
      source(),
    ]) {
      await expect(load(input, 1000)).rejects.toMatchObject(code("IMAGE_TOO_LARGE"));
    }
  });

  it.each([
    ["0 wide", { data: new Uint8Array(0), width: 0, height: 5, channels: 3 }, "at least 1"],
    ["0 high", { data: new Uint8Array(0), width: 5, height: 0, channels: 3 }, "at least 1"],
    ["half a pixel wide", { data: new Uint8Array(3), width: 0.5, height: 1, channels: 3 }, "whole"],
    ["of the wrong length", { data: new Uint8Array(11), width: 2, height: 2, channels: 3 }, "12 bytes.*11"],
    ["of 20 channels", { data: new Uint8Array(80), width: 2, height: 2, channels: 20 }, "1 to 4"],
    ["without channels", { data: new Uint8Array(12), width: 2, height: 2 }, "undefined"],
    ["16 bit", { data: new Uint16Array(12), width: 2, height: 2, channels: 3 }, "Uint16Array"],
    ["float", { data: new Float32Array(12), width: 2, height: 2, channels: 3 }, "Float32Array"],
    ["a list", { data: Array(12).fill(0), width: 2, height: 2, channels: 3 }, "a list"],
  ])("raw pixels that are %s", async (_, raw, words) => {
    await expect(load(raw)).rejects.toMatchObject(code("INVALID_ARGUMENT", words));
  });

  it.each([
    undefined,
    null,
    5,
    true,
    {},
    [],
    () => {},
    "",
    "a\0b",
    "http://example.com/a.jpg",
    "data:image/png;base64,AAAA",
    new ArrayBuffer(8),
    new URL("https://example.com/a.jpg"),
  ])("%s", async (input) => {
    await expect(load(input)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("stops with the signal's reason", async () => {
    const reason = { any: "reason" };
    await expect(load(rgb, limits.maxPixels, AbortSignal.abort(reason))).rejects.toBe(reason);
    const controller = new AbortController();
    const running = load(await source().png().toBuffer(), limits.maxPixels, controller.signal);
    controller.abort(reason);
    await expect(running).rejects.toBe(reason);
  });
});
