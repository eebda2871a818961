import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { Sam3Error } from "../errors.js";

/** Free bytes for this user on the disk that holds `folder` (or its nearest existing parent); undefined when the system does not tell. */
export async function freeBytes(folder: string): Promise<number | undefined> {
  for (let at = folder; ; at = dirname(at)) {
    try {
      const { bavail, bsize } = await statfs(at);
      return bavail * bsize;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT" || dirname(at) === at) return undefined;
    }
  }
}

/** Throws `DISK_FULL` unless `bytes` fit into `folder`. */
export async function ensureSpace(folder: string, bytes: number, free = freeBytes): Promise<void> {
  const available = await free(folder);
  if (available !== undefined && available < bytes) throw diskFull(folder, bytes, available);
}

/** `DISK_FULL` for a failed write into `folder`; anything else is given back as it came. */
export function mapDiskFull(error: unknown, folder: string, bytes?: number): unknown {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOSPC" || code === "EDQUOT" ? diskFull(folder, bytes, undefined, error) : error;
}

function diskFull(folder: string, needed?: number, available?: number, cause?: unknown): Sam3Error {
  const needs = needed === undefined ? "more space is needed" : `${formatBytes(needed)} are needed`;
  const has = available === undefined ? "" : `, ${formatBytes(available)} are free`;
  return new Sam3Error(
    "DISK_FULL",
    `the disk that holds ${folder} is full: ${needs}${has}; free some space or choose another folder`,
    {
      cause,
      details: { folder, neededBytes: needed ?? null, freeBytes: available ?? null },
    },
  );
}

/** `LIBTORCH_INSTALL_FAILED` for a place that cannot be written; a full disk is given back as it came. */
export function cannotWrite(path: string, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOSPC" || code === "EDQUOT") return error;
  return new Sam3Error(
    "LIBTORCH_INSTALL_FAILED",
    `${path} cannot be written (${code ?? (error as Error).message}); name another folder with --to or SAM3_HOME`,
    { cause: error },
  );
}

/** A size for people: `191.8 MB`. */
export function formatBytes(bytes: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
