import { fileURLToPath } from "node:url";
import type { Sharp } from "sharp";
import { describe } from "../describe.js";
import { Sam3Error } from "../errors.js";

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
 * @param beforeCopy is told the bytes of a copy before it is made; what it throws is thrown
 * @throws {Sam3Error} `INVALID_ARGUMENT`, `IMAGE_INVALID` for no bytes, `IMAGE_TOO_LARGE` for raw pixels
 */
export function takeImage(
  input: ImageInput,
  limits: ImageLimits,
  beforeCopy: (bytes: number) => void = () => {},
): TakenImage {
  if (typeof input === "string" || isUrl(input)) return { path: pathOf(input) };
  if (isBytes(input)) {
    if (input.length === 0)
      throw new Sam3Error("IMAGE_INVALID", "The bytes given are empty, so they are not a picture.");
    beforeCopy(input.length);
    return { bytes: Buffer.from(input) };
  }
  if (isSharp(input)) return { pipeline: input.clone() };
  const raw = checkRaw(input);
  checkPixelCount(raw.width, raw.height, "the raw picture", limits);
  beforeCopy(raw.data.length);
  return { raw: { ...raw, data: new Uint8Array(raw.data) } };
}
/** Bytes that `takeImage` will copy of what was passed as a picture, whatever it is. */
export function bytesToCopy(input: unknown): number {
  const content = isBytes(input) ? input : (input as Partial<RawImage> | null | undefined)?.data;
  return ArrayBuffer.isView(content) ? content.byteLength : 0;
}

/** Refuses more pixels than the limit, with figures. */
export function checkPixelCount(
  width: number,
  height: number,
  name: string,
  { maxPixels }: ImageLimits,
): void {
  if (width * height > maxPixels) {
    throw new Sam3Error(
      "IMAGE_TOO_LARGE",
      `${name} has ${width}×${height} = ${Math.ceil((width * height) / 1e6)} million pixels, the limit is ${Math.floor(maxPixels / 1e6)} million. Make it smaller, or raise maxPixels (SAM3_MAX_PIXELS).`,
      { details: { width, height, maxPixels } },
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
