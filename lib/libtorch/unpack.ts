import { createWriteStream } from "node:fs";
import { chmod, mkdir } from "node:fs/promises";
import { basename, dirname, join, resolve, sep } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { crc32 } from "node:zlib";
import yauzl from "yauzl";
import { Sam3Error } from "../errors.js";
import { mapDiskFull } from "./disk.js";

export interface UnpackOptions {
  readonly archive: string;
  readonly to: string;
  /** Where an entry goes inside `to`, or undefined to leave it out. */
  readonly place: (entry: string) => string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with the bytes written by this call so far. */
  readonly onProgress?: (doneBytes: number) => void;
}

/** Bytes that `unpack` would write. Throws `LIBTORCH_INSTALL_FAILED` when the file is not a zip archive. */
export async function unpackedSize(archive: string, place: UnpackOptions["place"]): Promise<number> {
  let bytes = 0;
  await eachEntry(archive, async (entry) => {
    if (place(entry.fileName) !== undefined) bytes += entry.uncompressedSize;
  });
  return bytes;
}

/** Unpacks the entries of a zip archive that `place` wants; none can land outside `to`. */
export async function unpack(options: UnpackOptions): Promise<void> {
  const { archive, to, place, signal, onProgress } = options;
  const root = resolve(to);
  let done = 0;
  await eachEntry(archive, async (entry, zip) => {
    signal?.throwIfAborted();
    const wanted = place(entry.fileName);
    if (wanted === undefined || entry.fileName.endsWith("/")) return;
    const path = resolve(root, wanted);
    const mode = entry.externalFileAttributes >>> 16;
    if (!path.startsWith(root + sep))
      throw damaged(archive, `its entry ${entry.fileName} points outside the folder`);
    if ((mode & 0o170000) === 0o120000) throw damaged(archive, `its entry ${entry.fileName} is a link`);
    let sum = 0;
    const counted = new Transform({
      transform(chunk: Buffer, _encoding, next) {
        sum = crc32(chunk, sum);
        done += chunk.byteLength;
        onProgress?.(done);
        next(null, chunk);
      },
    });
    try {
      await mkdir(dirname(path), { recursive: true });
      const source = await zip.openReadStreamPromise(entry);
      await pipeline(source, counted, createWriteStream(path, { flags: "wx" }), signal ? { signal } : {});
      // yauzl checks sizes, not checksums.
      if (sum !== entry.crc32) throw new Error(`its entry ${entry.fileName} is damaged`);
      if (mode & 0o111) await chmod(path, 0o755);
    } catch (error) {
      signal?.throwIfAborted();
      const { syscall } = error as NodeJS.ErrnoException;
      throw syscall === undefined
        ? damaged(archive, (error as Error).message, error)
        : mapDiskFull(error, to);
    }
  });
}

async function eachEntry(
  archive: string,
  visit: (entry: yauzl.Entry, zip: yauzl.ZipFile) => Promise<void>,
): Promise<void> {
  const zip = await yauzl
    .openPromise(archive, { lazyEntries: true, autoClose: false })
    .catch((error: unknown) => {
      throw damaged(archive, (error as Error).message, error);
    });
  try {
    await new Promise<void>((done, fail) => {
      // yauzl itself refuses absolute names, `..` and backslashes; it says so through this event.
      zip.on("error", (error: Error) => fail(damaged(archive, error.message, error)));
      zip.on("end", done);
      zip.on("entry", (entry: yauzl.Entry) => {
        visit(entry, zip).then(() => zip.readEntry(), fail);
      });
      zip.readEntry();
    });
  } finally {
    zip.close();
  }
}

function damaged(archive: string, why: string, cause?: unknown): Sam3Error {
  return new Sam3Error(
    "LIBTORCH_INSTALL_FAILED",
    `${basename(archive)} cannot be unpacked: ${why}; name a zip archive of libtorch or a torch wheel`,
    { cause },
  );
}

/** Libraries that only Python or torch's own tests use. */
const NOT_NEEDED =
  /^lib\/lib(torch_python|aoti_custom_ops|backend_with_compiler|jitbackend_test|torchbind_test)\.so$|^lib\/libshm(_windows)?\//;

/** Places the entries of a torch wheel or of the official archive: `lib/`, `include/`, `share/` and the licences. */
export function placeLibtorch(entry: string): string | undefined {
  const inside = /^(?:torch|libtorch)\/((?:lib|include|share)\/.+|build-version)$/.exec(entry)?.[1];
  if (inside !== undefined) return NOT_NEEDED.test(inside) ? undefined : inside;
  const licence = /^torch-[^/]+\.dist-info\/licenses\/(.+)$/.exec(entry)?.[1];
  return licence === undefined ? undefined : join("licenses", licence);
}

/** Places the entries of a wheel as Python would, which is what the libraries' search paths (`$ORIGIN/../../nvidia/…`) expect. */
export function placeSitePackages(entry: string): string | undefined {
  const libtorch = placeLibtorch(entry);
  if (libtorch !== undefined) return libtorch.startsWith("licenses") ? libtorch : join("torch", libtorch);
  if (/^nvidia\/.+\/(lib\/[^/]+\.so[^/]*|[^/]*licen[cs]e[^/]*)$/i.test(entry)) return entry;
  const licence = /^(nvidia_[^/]+)\.dist-info\/(?:licenses\/)?([^/]*licen[cs]e[^/]*)$/i.exec(entry);
  return licence ? join("licenses", `${licence[1]}-${licence[2]}`) : undefined;
}
