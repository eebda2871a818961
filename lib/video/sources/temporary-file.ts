import { rmSync } from "node:fs";
import { type FileHandle, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onAbort } from "../../abort.js";
import { Sam3Error } from "../../errors.js";
import { readAhead } from "./read-ahead.js";

/** Folders that are still there; removed when the process ends without having been asked to. */
const folders = new Set<string>();
let atExit = false;

/** A file of ours that is removed by `remove`, or at the latest when the process exits. */
export interface TemporaryFile {
  readonly path: string;
  remove(): Promise<void>;
}

/** One that is open for writing and reading; who removes it closes it first. */
export interface OpenTemporaryFile extends TemporaryFile {
  readonly file: FileHandle;
}

/** Bounds of a stream that is kept. */
export interface SpoolOptions {
  readonly maxBytes: number;
  readonly stallTimeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Writes a stream to a temporary file: videos are read back and forth, streams only forth.
 *
 * @throws {Sam3Error} `VIDEO_TOO_LARGE`, `VIDEO_STALLED`, `VIDEO_INVALID` where the stream itself fails, `DISK_FULL`
 */
export async function spool(
  stream: AsyncIterable<unknown>,
  { maxBytes, stallTimeoutMs, signal }: SpoolOptions,
): Promise<TemporaryFile> {
  const { file, path, remove } = await createTemporaryFile();
  let bytes = 0;
  try {
    // Ahead by one chunk: reading and writing at the same time.
    for await (const chunk of readAhead((stop) => readable(stream, stop), {
      most: 1,
      stallTimeoutMs,
      name: "the stream",
      signal,
    })) {
      bytes += chunk.length;
      if (bytes > maxBytes) throw tooLarge(maxBytes);
      await write(file, chunk);
    }
    await file.close();
    return { path, remove };
  } catch (error) {
    await file.close().catch(() => {});
    await remove();
    throw error;
  }
}

async function* readable(
  stream: AsyncIterable<unknown> & { destroy?: () => void },
  stop: AbortSignal,
): AsyncGenerator<Uint8Array, void, void> {
  // One that stalls would otherwise stay open.
  const forget = onAbort(stop, () => stream.destroy?.());
  try {
    for await (const chunk of stream) {
      if (!(ArrayBuffer.isView(chunk) && chunk.byteLength >= 0 && "subarray" in chunk)) {
        throw new Sam3Error("INVALID_ARGUMENT", "The stream must give bytes (Buffer or Uint8Array).");
      }
      yield chunk as Uint8Array;
    }
  } catch (cause) {
    if (Sam3Error.is(cause)) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Sam3Error("VIDEO_INVALID", `The stream of the video failed: ${why}.`, { cause });
  } finally {
    forget();
  }
}

async function write(file: FileHandle, chunk: Uint8Array): Promise<void> {
  try {
    await file.writeFile(chunk);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOSPC") throw cause;
    throw new Sam3Error(
      "DISK_FULL",
      `The disk of ${tmpdir()} is full: the stream of a video is kept there. Set TMPDIR to another folder.`,
      { cause },
    );
  }
}

/** Makes an empty file in a folder of its own, which only this user can read. */
export async function createTemporaryFile(): Promise<OpenTemporaryFile> {
  const folder = await mkdtemp(join(tmpdir(), "sam3-video-"));
  folders.add(folder);
  if (!atExit) {
    atExit = true;
    process.once("exit", () => {
      for (const left of folders) rmSync(left, { recursive: true, force: true });
    });
  }
  const path = join(folder, "video");
  return {
    path,
    file: await open(path, "w+"),
    remove: async () => {
      folders.delete(folder);
      // Windows refuses while something still has it open.
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

function tooLarge(maxBytes: number): Sam3Error {
  return new Sam3Error(
    "VIDEO_TOO_LARGE",
    `The stream has more than ${maxBytes} bytes. Raise maxBytes, or write it to a file and pass its path.`,
    { details: { maxBytes } },
  );
}
