import { homedir } from "node:os";
import { join, resolve } from "node:path";

/** Folder under which this package keeps what it installs: `SAM3_HOME`, else `sam3-node` in the user's cache folder. */
export function sam3Home(env: NodeJS.ProcessEnv = process.env): string {
  if (env.SAM3_HOME) return resolve(env.SAM3_HOME);
  return join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "sam3-node");
}

/** Folder that holds every installed libtorch as `<version>-<variant>`. */
export function libtorchHome(env: NodeJS.ProcessEnv = process.env): string {
  return join(sam3Home(env), "libtorch");
}
