import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe } from "../../describe.js";
import { Sam3Error } from "../../errors.js";
import type { ImageInput } from "../../image/take-image.js";
import type { LiveFrame, VideoInput } from "./video-source.js";

/** What kind of thing was passed as a video. */
export type TakenVideo =
  | { readonly kind: "path"; readonly path: string }
  | { readonly kind: "bytes"; readonly stream: AsyncIterable<unknown> }
  | { readonly kind: "pictures"; readonly pictures: readonly ImageInput[] }
  | { readonly kind: "live"; readonly frames: AsyncIterable<LiveFrame> };

/** Tells what was passed as a video; reads nothing. Throws `INVALID_ARGUMENT` and `VIDEO_INVALID` for no bytes. */
export function takeVideo(input: VideoInput): TakenVideo {
  if (typeof input === "string" || tagOf(input) === "URL") {
    return { kind: "path", path: pathOf(input as string | URL) };
  }
  if (ArrayBuffer.isView(input) && tagOf(input) === "Uint8Array") {
    if (input.byteLength === 0)
      throw new Sam3Error("VIDEO_INVALID", "The bytes given are empty, so they are not a video.");
    return { kind: "bytes", stream: once(input as Uint8Array) };
  }
  if (Array.isArray(input)) return { kind: "pictures", pictures: input as readonly ImageInput[] };
  if (isAsyncIterable(input)) {
    if (isByteStream(input)) return { kind: "bytes", stream: input };
    return { kind: "live", frames: input as AsyncIterable<LiveFrame> };
  }
  throw new Sam3Error(
    "INVALID_ARGUMENT",
    `A video is the path or file URL of a file or folder, the bytes of a file, a readable stream of them, a list of pictures, or an async iterable of frames, not ${describe(input)}.`,
  );
}

/**
 * Whether a path is a folder or a file.
 *
 * @throws {Sam3Error} `VIDEO_NOT_FOUND`, `VIDEO_INVALID` for an empty file
 */
export async function lookAt(path: string): Promise<"folder" | "file"> {
  const info = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    const why =
      cause.code === "ENOENT" ? "does not exist; check the path" : `cannot be read: ${cause.message}`;
    throw new Sam3Error("VIDEO_NOT_FOUND", `${path} ${why}.`, { cause });
  });
  if (info.isDirectory()) return "folder";
  if (!info.isFile()) {
    throw new Sam3Error("VIDEO_NOT_FOUND", `${path} is neither a file nor a folder; pass a stream instead.`);
  }
  if (info.size === 0) throw new Sam3Error("VIDEO_INVALID", `${path} is empty, so it is not a video.`);
  return "file";
}

function pathOf(input: string | URL): string {
  if (typeof input === "string" && !input.startsWith("file:")) {
    if (input === "") throw new Sam3Error("INVALID_ARGUMENT", "The path of the video is empty.");
    if (/^[a-z][a-z0-9+.-]+:\/\//i.test(input) || /^(data|blob):/i.test(input)) throw noFile(input);
    if (input.includes("\0"))
      throw new Sam3Error("INVALID_ARGUMENT", "The path of the video has a zero byte in it.");
    return resolve(input);
  }
  try {
    return fileURLToPath(input);
  } catch (cause) {
    throw noFile(String(input), cause);
  }
}

function noFile(input: string, cause?: unknown): Sam3Error {
  return new Sam3Error(
    "INVALID_ARGUMENT",
    `${describe(input)} is not a file on this machine. Fetch it yourself and pass the stream.`,
    { cause },
  );
}

/** A Node.js stream of bytes, or one of the web. A stream in object mode gives frames. */
function isByteStream(input: object): boolean {
  if (tagOf(input) === "ReadableStream") return true;
  const stream = input as { pipe?: unknown; on?: unknown; readableObjectMode?: unknown };
  const isStream = typeof stream.pipe === "function" && typeof stream.on === "function";
  return isStream && stream.readableObjectMode !== true;
}

function isAsyncIterable(input: unknown): input is AsyncIterable<unknown> & object {
  return (
    typeof input === "object" &&
    input !== null &&
    typeof (input as Partial<AsyncIterable<unknown>>)[Symbol.asyncIterator] === "function"
  );
}

async function* once<T>(value: T): AsyncGenerator<T, void, void> {
  yield value;
}

// Not instanceof: values also come from other realms (test runners, vm contexts, Electron).
function tagOf(input: unknown): string {
  return Object.prototype.toString.call(input).slice(8, -1);
}
