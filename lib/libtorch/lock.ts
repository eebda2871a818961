import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Sam3Error } from "../errors.js";
import { cannotWrite, mapDiskFull } from "./disk.js";

/** Keeps two processes off one folder. The lock of a process that is gone is taken over. */
export async function lock(path: string): Promise<() => Promise<void>> {
  for (let attempt = 0; ; attempt++) {
    try {
      await writeFile(path, String(process.pid), { flag: "wx" });
      return () => rm(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST")
        throw mapDiskFull(cannotWrite(path, error), dirname(path));
      const pid = Number(await readFile(path, "utf8").catch(() => "0"));
      if (attempt > 0 || (pid !== process.pid && isAlive(pid))) {
        throw new Sam3Error(
          "LIBTORCH_INSTALL_FAILED",
          `another process (${pid}) works on this folder; wait for it, or remove ${path} if it is gone`,
        );
      }
      await rm(path, { force: true });
      await removeLeftOvers(dirname(path));
    }
  }
}

// What a killed install left: its folders carry its process number.
async function removeLeftOvers(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const pid = /^\..+\.(\d+)-[0-9a-f]{8}$/.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid)))
      await rm(join(parent, name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
