import { mkdir, writeFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { Sam3Error } from "../errors.js";
import { mapDiskFull } from "../libtorch/disk.js";

/**
 * Writes a file, making the folder it is in.
 *
 * @throws {Sam3Error} `DISK_FULL` or `OUTPUT_FAILED`
 */
export async function writeOutput(path: string, content: Buffer | string): Promise<void> {
  try {
    await mkdir(dirname(resolve(path)), { recursive: true });
    await writeFile(path, content);
  } catch (error) {
    const mapped = mapDiskFull(error, dirname(resolve(path)), Buffer.byteLength(content));
    if (Sam3Error.is(mapped)) throw mapped;
    const { code } = error as NodeJS.ErrnoException;
    throw new Sam3Error("OUTPUT_FAILED", `${path} cannot be written (${code}); choose another place`, {
      cause: error,
    });
  }
}
