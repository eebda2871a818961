import { readFile, stat } from "node:fs/promises";
import sharp, { type Sharp } from "sharp";
import { throwIfAborted } from "../abort.js";
import { Sam3Error } from "../errors.js";
import type { NativePixels } from "../native/addon.js";
import { checkPixelCount, type ImageLimits, type TakenImage } from "./take-image.js";

/** Pixels ready for the model, with what it took to get them. */
export interface DecodedImage extends NativePixels {
  /** Milliseconds from the input to pixels, reading the file included. */
  readonly decodeMs: number;
}

/** A longer file is not read: no picture within the pixel limit needs as much. */
const MAX_FILE_BYTES = 2 ** 30;
/**
 * Decodes a picture to 8-bit RGB as a viewer shows it: first frame of an animation, turned as its EXIF says, grey, CMYK
 * and 16-bit converted to sRGB, transparency over white. (The official processor drops alpha and so shows the model what
 * lies under transparent pixels; over white it sees what a person sees.) A sharp instance is taken as it would be
 * written.
 *
 * @throws {Sam3Error} `IMAGE_NOT_FOUND`, `IMAGE_INVALID`, `IMAGE_TOO_LARGE` or `OUT_OF_MEMORY`
 */
export async function decodeImage(
  image: TakenImage,
  limits: ImageLimits,
  signal?: AbortSignal,
): Promise<DecodedImage> {
  const start = performance.now();
  throwIfAborted(signal);
  const pixels = await decodeTaken(image, limits, signal);
  throwIfAborted(signal);
  return { ...pixels, decodeMs: performance.now() - start };
}

async function decodeTaken(
  image: TakenImage,
  limits: ImageLimits,
  signal: AbortSignal | undefined,
): Promise<NativePixels> {
  if ("path" in image) return decodeBytes(await readPicture(image.path, signal), image.path, limits, signal);
  if ("bytes" in image)
    return decodeBytes(image.bytes, `the ${image.bytes.length} bytes given`, limits, signal);
  if ("raw" in image) {
    const { data, width, height, channels } = image.raw;
    if (channels === 3) return { data: data as Uint8Array, width, height };
    return decode(
      sharp(data, { raw: { width, height, channels }, limitInputPixels: false }),
      "the raw picture",
      signal,
    );
  }
  await checkPixels(image.pipeline, "the sharp instance", limits);
  return decode(image.pipeline, "the sharp instance", signal);
}

async function decodeBytes(
  bytes: Buffer,
  name: string,
  limits: ImageLimits,
  signal: AbortSignal | undefined,
): Promise<NativePixels> {
  if (bytes.length === 0) throw new Sam3Error("IMAGE_INVALID", `${name} is empty, so it is not a picture.`);
  // Our own check comes first, with figures; sharp's limit stays as the second line.
  await checkPixels(sharp(bytes, { limitInputPixels: false, failOn: "none" }), name, limits);
  const pipeline = sharp(bytes, {
    limitInputPixels: limits.maxPixels,
    failOn: "error",
    sequentialRead: true,
  });
  return decode(pipeline.autoOrient(), name, signal);
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

/** Where a picture has more pixels than the limit, says so with figures. */
async function checkPixels(pipeline: Sharp, name: string, limits: ImageLimits): Promise<void> {
  const { width, height } = await pipeline.metadata().catch((cause: unknown) => {
    throw decodeError(cause, name);
  });
  checkPixelCount(width, height, name, limits);
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
