import { readFile, stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import sharp, { type Sharp } from "sharp";
import { throwIfAborted } from "../abort.js";
import { describe } from "../describe.js";
import { Sam3Error } from "../errors.js";
import type { NativePixels } from "../native/addon.js";

/** Uncompressed pixels, rows from top to bottom, channels interleaved, 8 bits each. */
export interface RawImage {
  readonly data: Uint8Array | Uint8ClampedArray;
  readonly width: number;
  readonly height: number;
  /** 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha. */
  readonly channels: 1 | 2 | 3 | 4;
}

/**
 * Whatever is taken as a picture: the path of a file, a `file:` URL, the bytes of an encoded picture, raw pixels, or a
 * sharp instance.
 */
export type ImageInput = string | URL | Uint8Array | RawImage | Sharp;

/** Pixels ready for the model, with what it took to get them. */
export interface DecodedImage extends NativePixels {
  /** Milliseconds from the input to pixels, reading the file included. */
  readonly decodeMs: number;
}

/** A longer file is not read: no picture within the pixel limit needs as much. */
const MAX_FILE_BYTES = 2 ** 30;

/** A picture as it was when it was passed: what the caller may change afterwards is copied. */
export type TakenImage =
  | { readonly path: string }
  | { readonly bytes: Buffer }
  | { readonly raw: RawImage }
  | { readonly pipeline: Sharp };

/** Bounds of what is decoded. */
export interface ImageLimits {
  /** Width × height above this is refused, before anything is decoded where the header says so. */
  readonly maxPixels: number;
}

/**
 * Checks what was passed as a picture and copies it where the caller could change it; reads and decodes nothing.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT`, `IMAGE_INVALID` for no bytes, `IMAGE_TOO_LARGE` for raw pixels
 */
export function takeImage(input: ImageInput, limits: ImageLimits): TakenImage {
  if (typeof input === "string" || isUrl(input)) return { path: pathOf(input) };
  if (isBytes(input)) {
    if (input.length === 0)
      throw new Sam3Error("IMAGE_INVALID", "The bytes given are empty, so they are not a picture.");
    return { bytes: Buffer.from(input) };
  }
  if (isSharp(input)) return { pipeline: input.clone() };
  const raw = checkRaw(input);
  checkCount(raw.width, raw.height, "the raw picture", limits);
  return { raw: { ...raw, data: new Uint8Array(raw.data) } };
}

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
  checkCount(width, height, name, limits);
}

function checkCount(width: number, height: number, name: string, { maxPixels }: ImageLimits): void {
  if (width * height > maxPixels) {
    throw new Sam3Error(
      "IMAGE_TOO_LARGE",
      `${name} has ${width}×${height} = ${Math.ceil((width * height) / 1e6)} million pixels, the limit is ${Math.floor(maxPixels / 1e6)} million. Make it smaller, or raise maxPixels (SAM3_MAX_PIXELS).`,
      { details: { width, height, maxPixels } },
    );
  }
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

function pathOf(input: string | URL): string {
  if (typeof input === "string" && !input.startsWith("file:")) {
    if (input === "") throw new Sam3Error("INVALID_ARGUMENT", "The path of the picture is empty.");
    if (/^(https?|data|blob):/i.test(input)) {
      throw new Sam3Error(
        "INVALID_ARGUMENT",
        `${describe(input)} is no file. Fetch it yourself and pass its bytes.`,
      );
    }
    if (input.includes("\0"))
      throw new Sam3Error("INVALID_ARGUMENT", "The path of the picture has a zero byte in it.");
    return input;
  }
  try {
    return fileURLToPath(input);
  } catch (cause) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `${describe(String(input))} is not the URL of a file on this machine. Fetch it yourself and pass its bytes.`,
      { cause },
    );
  }
}

// Not instanceof: pictures also come from other realms (test runners, vm contexts, Electron).
function isBytes(input: unknown): input is Uint8Array {
  return ArrayBuffer.isView(input) && tagOf(input) === "Uint8Array";
}

function isClampedBytes(input: unknown): input is Uint8ClampedArray {
  return tagOf(input) === "Uint8ClampedArray";
}

function isUrl(input: unknown): input is URL {
  return tagOf(input) === "URL" && typeof (input as URL).href === "string";
}

function tagOf(input: unknown): string {
  return Object.prototype.toString.call(input).slice(8, -1);
}

/** A sharp instance of whichever copy of sharp. */
function isSharp(input: unknown): input is Sharp {
  const shape = input as Partial<Record<keyof Sharp, unknown>> | null;
  return (
    typeof shape === "object" &&
    shape !== null &&
    ["clone", "toBuffer", "metadata", "flatten"].every(
      (name) => typeof shape[name as keyof Sharp] === "function",
    )
  );
}

function checkRaw(input: unknown): RawImage {
  if (typeof input !== "object" || input === null || !("data" in input) || !("width" in input)) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `A picture is a path, a file URL, the bytes of a file (Buffer or Uint8Array), { data, width, height, channels } or a sharp instance, not ${describe(input)}.`,
    );
  }
  const { data, width, height, channels } = input as Record<keyof RawImage, unknown>;
  if (
    !Number.isInteger(width) ||
    !Number.isInteger(height) ||
    (width as number) < 1 ||
    (height as number) < 1
  ) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `A raw picture's width and height must be whole and at least 1, not ${describe(width)} and ${describe(height)}.`,
    );
  }
  if (!Number.isInteger(channels) || (channels as number) < 1 || (channels as number) > 4) {
    throw new Sam3Error("INVALID_ARGUMENT", `A raw picture has 1 to 4 channels, not ${describe(channels)}.`);
  }
  if (!isBytes(data) && !isClampedBytes(data)) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `A raw picture's data must be a Uint8Array (8 bits a channel), not ${describe(data)}. Scale other depths to 0–255 first.`,
    );
  }
  const expected = (width as number) * (height as number) * (channels as number);
  if (data.length !== expected) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `A raw picture of ${width}×${height} with ${channels} channels has ${expected} bytes, this one has ${data.length}.`,
    );
  }
  return input as RawImage;
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
