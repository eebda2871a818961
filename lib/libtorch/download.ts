import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Sam3Error } from "../errors.js";
import { ensureSpace, type freeBytes, mapDiskFull } from "./disk.js";

export interface DownloadOptions {
  readonly url: string;
  /** Where the whole file goes; a part that was cut off waits beside it as `<to>.part`. */
  readonly to: string;
  /** Expected SHA-256, lower-case hex. */
  readonly sha256?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (doneBytes: number, totalBytes: number | undefined) => void;
  /** Tries after a broken connection. */
  readonly retries?: number;
  /** Milliseconds before the first new try; doubled each time. */
  readonly retryWaitMs?: number | undefined;
  /** Milliseconds without a single byte after which a connection counts as broken. */
  readonly idleMs?: number;
  /** Replaces the look at the free space, for tests. */
  readonly freeBytes?: typeof freeBytes;
}

/** Beside a partial file: what it is a part of, so that only the same file is continued. */
interface PartNote {
  readonly url: string;
  readonly validator: string | null;
}

const fail = (message: string, cause?: unknown) =>
  new Sam3Error("LIBTORCH_INSTALL_FAILED", message, { cause });

/**
 * Downloads one file and returns its SHA-256. A broken connection is taken up where it stopped, now (a few times) or at
 * the next call; a finished file that is already there and has the expected hash is not downloaded again.
 */
export async function download(options: DownloadOptions): Promise<string> {
  const { url, to, signal, retries = 5, retryWaitMs = 400 } = options;
  await mkdir(dirname(to), { recursive: true });
  if (options.sha256 !== undefined && (await exists(to)) && (await sha256Of(to, signal)) === options.sha256) {
    return options.sha256;
  }
  const part = `${to}.part`;
  let broken = 0;
  for (;;) {
    const before = (await sizeOf(part)) ?? 0;
    try {
      await fetchInto(part, options);
      break;
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof Broken)) throw mapDiskFull(error, dirname(to));
      // Every bit of progress earns new tries: a long download over a shaky line still ends.
      broken = ((await sizeOf(part)) ?? 0) > before ? 1 : broken + 1;
      if (broken > retries) {
        throw fail(
          `the connection to ${new URL(url).host} broke (${error.message}); run the same command again, it goes on where it stopped`,
          error,
        );
      }
      await sleep(Math.min(retryWaitMs * 2 ** (broken - 1), 5000), undefined, { signal });
    }
  }
  const sha256 = await sha256Of(part, signal);
  if (options.sha256 !== undefined && sha256 !== options.sha256) {
    await Promise.all([rm(part, { force: true }), rm(`${part}.json`, { force: true })]);
    throw fail(
      `${basename(to)} from ${url} is not the file expected: its SHA-256 is ${sha256}, expected ${options.sha256}; it was removed, try again or name another source with --from`,
    );
  }
  await rename(part, to);
  await rm(`${part}.json`, { force: true });
  return sha256;
}

/** A connection that may work at the next try. */
class Broken extends Error {}

async function fetchInto(part: string, options: DownloadOptions): Promise<void> {
  const { url, onProgress, idleMs = 60_000 } = options;
  const note = await readNote(part);
  const have = note?.url === url && note.validator !== null ? ((await sizeOf(part)) ?? 0) : 0;
  const idle = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, idle.signal]) : idle.signal;
  let timer = setTimeout(() => idle.abort(), idleMs);
  try {
    const headers: Record<string, string> = { "accept-encoding": "identity" };
    if (have > 0 && note?.validator)
      Object.assign(headers, { range: `bytes=${have}-`, "if-range": note.validator });
    const response = await fetch(url, { headers, signal, redirect: "follow" }).catch((error: unknown) => {
      throw new Broken(reasonOf(error, "no connection"), { cause: error });
    });
    if (response.status === 416) {
      await response.body?.cancel();
      await rm(part, { force: true });
      throw new Broken("the server has another file now");
    }
    if (response.status >= 500 || response.status === 429) {
      await response.body?.cancel();
      throw new Broken(`the server answered ${response.status}`);
    }
    if (response.status !== 200 && response.status !== 206) {
      await response.body?.cancel();
      throw fail(
        `${url} cannot be downloaded: the server answered ${response.status} ${response.statusText}`.trimEnd() +
          "; check the address or name another source with --from",
      );
    }
    const start = response.status === 206 ? rangeStart(response, have) : 0;
    const length = Number(response.headers.get("content-length") ?? Number.NaN);
    const total = Number.isFinite(length) ? start + length : undefined;
    if (total !== undefined) await ensureSpace(dirname(part), total - start, options.freeBytes);
    const validator = response.headers.get("etag") ?? response.headers.get("last-modified");
    await writeFile(`${part}.json`, JSON.stringify({ url, validator } satisfies PartNote));
    const file = await open(part, start === 0 ? "w" : "r+");
    try {
      let done = start;
      onProgress?.(done, total);
      try {
        for await (const chunk of response.body ?? []) {
          clearTimeout(timer);
          timer = setTimeout(() => idle.abort(), idleMs);
          await writeAll(file, chunk, done);
          done += chunk.byteLength;
          onProgress?.(done, total);
        }
      } catch (error) {
        // What the disk says (ENOSPC and the like) is final; what the network says is not.
        if ((error as NodeJS.ErrnoException).syscall === "write") throw error;
        throw new Broken(reasonOf(error, "cut off"), { cause: error });
      }
      if (total !== undefined && done < total) throw new Broken(`cut off after ${done} of ${total} bytes`);
      await file.truncate(done);
    } finally {
      await file.close();
    }
  } finally {
    clearTimeout(timer);
  }
}

async function writeAll(
  file: import("node:fs/promises").FileHandle,
  chunk: Uint8Array,
  at: number,
): Promise<void> {
  for (let written = 0; written < chunk.byteLength; ) {
    written += (await file.write(chunk, written, chunk.byteLength - written, at + written)).bytesWritten;
  }
}

/** First byte of a partial answer, which must be the one asked for. */
function rangeStart(response: Response, asked: number): number {
  const start = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1];
  if (Number(start) !== asked)
    throw fail(`the server sent another range than asked for (${start ?? "none"})`);
  return asked;
}

async function readNote(part: string): Promise<PartNote | undefined> {
  try {
    return JSON.parse(await readFile(`${part}.json`, "utf8")) as PartNote;
  } catch {
    return undefined;
  }
}

/** SHA-256 of a file, lower-case hex. */
export async function sha256Of(
  path: string,
  signal?: AbortSignal,
  onProgress?: (doneBytes: number) => void,
): Promise<string> {
  const hash = createHash("sha256");
  let done = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20, signal })) {
    hash.update(chunk as Buffer);
    done += (chunk as Buffer).byteLength;
    onProgress?.(done);
  }
  return hash.digest("hex");
}

async function exists(path: string): Promise<boolean> {
  return (await sizeOf(path)) !== undefined;
}

async function sizeOf(path: string): Promise<number | undefined> {
  return stat(path).then(
    (it) => it.size,
    () => undefined,
  );
}

function reasonOf(error: unknown, otherwise: string): string {
  const { cause, message } = error as Error;
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  return code ?? (message && message !== "terminated" ? message : otherwise);
}
