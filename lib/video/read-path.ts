import { fileURLToPath } from "node:url";
import { describe } from "../describe.js";
import { Sam3Error } from "../errors.js";

/**
 * The path of a file that was given as one, or as a `file:` URL.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT`
 */
export function readPath(method: string, file: unknown): string {
  if (file instanceof URL && file.protocol === "file:") return fileURLToPath(file);
  if (typeof file === "string" && file !== "" && !file.includes("\0")) return file;
  throw new Sam3Error("INVALID_ARGUMENT", `${method} takes the path of a file, not ${describe(file)}.`);
}
