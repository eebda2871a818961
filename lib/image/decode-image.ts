import { readFile, stat } from "node:fs/promises";
import sharp, { type Sharp } from "sharp";
import { throwIfAborted } from "../abort.js";
import type { DecodedPixels } from "../devices/requests.js";
import { Sam3Error } from "../errors.js";
import type { NativePixels } from "../native/addon.js";
import { checkPixelCount, type ImageLimits, type RawImage, type TakenImage } from "./take-image.js";

/** A picture whose content is in memory, the bytes of a file or pixels, with its size and what to call it. */
export type ReadImage = ({ readonly bytes: Buffer } | { readonly raw: RawImage }) & {
  readonly name: string;
  /** In pixels, turned as its EXIF says. */
  readonly width: number;
  readonly height: number;
};

/** A longer file is not read: no picture within the pixel limit needs as much. */
const MAX_FILE_BYTES = 2 ** 30;

/** Decodes a picture that was just taken; see `readImage` and `decodeRead`. */
export async function decodeImage(
  image: TakenImage,
  limits: ImageLimits,
  signal?: AbortSignal,
): Promise<DecodedPixels> {
  const start = performance.now();
  const decoded = await decodeRead(await readImage(image, limits, signal), limits, signal);
  return { ...decoded, decodeMs: performance.now() - start };
}

/**
 * Brings a picture's content into memory and reads its size. Only a sharp instance is decoded for that: what it will
 * give shows no earlier.
 *
 * @throws {Sam3Error} `IMAGE_NOT_FOUND`, `IMAGE_INVALID`, `IMAGE_TOO_LARGE`, and for a sharp instance what decoding throws
 */
export async function readImage(
  image: TakenImage,
  limits: ImageLimits,
  signal?: AbortSignal,
): Promise<ReadImage> {
  throwIfAborted(signal);
  if ("path" in image) return readHeader(await readPicture(image.path, signal), image.path, limits);
  if ("bytes" in image) return readHeader(image.bytes, `the ${image.bytes.length} bytes given`, limits);
  if ("raw" in image) {
    const { width, height } = image.raw;
    return { raw: image.raw, name: "the raw picture", width, height };
  }
  const name = "the sharp instance";
  await checkPixels(image.pipeline, name, limits);
  const { data, width, height } = await decode(image.pipeline, name, signal);
  return { raw: { data, width, height, channels: 3 }, name, width, height };
}

/**
 * Decodes a picture to 8-bit RGB as a viewer shows it: first frame of an animation, turned as its EXIF says, grey, CMYK
 * and 16-bit converted to sRGB, transparency over white. (The official processor drops alpha and so shows the model what
 * lies under transparent pixels; over white it sees what a person sees.) A sharp instance is taken as it would be
 * written.
 *
 * @throws {Sam3Error} `IMAGE_INVALID`, `IMAGE_TOO_LARGE` or `OUT_OF_MEMORY`
 */
export async function decodeRead(
  image: ReadImage,
  limits: ImageLimits,
  signal?: AbortSignal,
): Promise<DecodedPixels> {
  const start = performance.now();
  throwIfAborted(signal);
  const pixels =
    "bytes" in image
      ? await decodeBytes(image.bytes, image.name, limits, signal)
      : await decodeRaw(image.raw, image.name, signal);
  throwIfAborted(signal);
  return { ...pixels, decodeMs: performance.now() - start };
}

async function decodeRaw(
  { data, width, height, channels }: RawImage,
  name: string,
  signal: AbortSignal | undefined,
): Promise<NativePixels> {
  if (channels === 3) return { data: data as Uint8Array, width, height };
  return decode(sharp(data, { raw: { width, height, channels }, limitInputPixels: false }), name, signal);
}

async function decodeBytes(
  bytes: Buffer,
  name: string,
  limits: ImageLimits,
  signal: AbortSignal | undefined,
): Promise<NativePixels> {
  const pipeline = sharp(bytes, {
    limitInputPixels: limits.maxPixels,
    failOn: "error",
    sequentialRead: true,
  });
  return decode(pipeline.autoOrient(), name, signal);
}

async function readHeader(bytes: Buffer, name: string, limits: ImageLimits): Promise<ReadImage> {
  if (bytes.length === 0) throw new Sam3Error("IMAGE_INVALID", `${name} is empty, so it is not a picture.`);
  // Our own check comes first, with figures; sharp's limit stays as the second line.
  const size = await checkPixels(sharp(bytes, { limitInputPixels: false, failOn: "none" }), name, limits);
  return { bytes, name, ...size };
}

/** Runs a pipeline to sRGB, three channels of 8 bits, transparency over white. */
async function decode(pipeline: Sharp, name: string, signal: AbortSignal | undefined): Promise<NativePixels> {
  try {
    const { data, info } = await pipeline
      .flatten({ background: "#ffffff" })
      .toColourspace("srgb")
      .raw({ depth: "uchar" })
      .toBuffer({ resolveWithObject: true });
    if (info.channels !== 3) throw new Error(`it decodes to ${info.channels} channels`);
    return { data, width: info.width, height: info.height };
  } catch (cause) {
    throwIfAborted(signal);
    throw decodeError(cause, name);
  }
}

/** The size a picture will have; where that is more pixels than the limit, says so with figures. */
async function checkPixels(
  pipeline: Sharp,
  name: string,
  limits: ImageLimits,
): Promise<{ width: number; height: number }> {
  const { width, height, autoOrient } = await pipeline.metadata().catch((cause: unknown) => {
    throw decodeError(cause, name);
  });
  checkPixelCount(width, height, name, limits);
  return autoOrient;
}

async function readPicture(path: string, signal: AbortSignal | undefined): Promise<Buffer> {
  try {
    const info = await stat(path);
    if (!info.isFile()) {
      throw new Sam3Error(
        "IMAGE_NOT_FOUND",
        `${path} is ${info.isDirectory() ? "a folder" : "not a file"}; give the path of one picture.`,
      );
    }
    if (info.size > MAX_FILE_BYTES) {
      throw new Sam3Error(
        "IMAGE_TOO_LARGE",
        `${path} has ${Math.round(info.size / 2 ** 20)} MiB; a picture of over ${MAX_FILE_BYTES / 2 ** 20} MiB is not read.`,
      );
    }
    // Read here, not by sharp: libvips keeps files it opened and would show an old one after it was overwritten.
    return await readFile(path, signal ? { signal } : {});
  } catch (cause) {
    throwIfAborted(signal);
    if (Sam3Error.is(cause)) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new Sam3Error(
      "IMAGE_NOT_FOUND",
      code === "ENOENT" ? `${path} does not exist. Check the path.` : `${path} cannot be read: ${message}.`,
      { cause },
    );
  }
}
function decodeError(cause: unknown, name: string): Sam3Error {
  if (Sam3Error.is(cause)) return cause;
  const message = cause instanceof Error ? cause.message.replace(/\s+/g, " ").trim() : String(cause);
  if (/exceeds pixel limit/i.test(message)) {
    return new Sam3Error(
      "IMAGE_TOO_LARGE",
      `${name} has more pixels than the limit. Raise maxPixels (SAM3_MAX_PIXELS).`,
      { cause },
    );
  }
  if (/unsupported image format/i.test(message)) {
    return new Sam3Error(
      "IMAGE_INVALID",
      `${name} is not a picture in a format that can be read (JPEG, PNG, WebP, GIF, TIFF, AVIF, SVG).`,
      { cause },
    );
  }
  if (/memory|allocat/i.test(message)) {
    return new Sam3Error("OUT_OF_MEMORY", `${name} needs more memory than there is: ${message}.`, { cause });
  }
  const damaged =
    /premature end|truncat|end of (file|stream|image)|unexpected end|corrupt|not enough|IDAT/i.test(message);
  return new Sam3Error(
    "IMAGE_INVALID",
    damaged ? `${name} is damaged or cut short: ${message}.` : `${name} cannot be decoded: ${message}.`,
    { cause },
  );
}
