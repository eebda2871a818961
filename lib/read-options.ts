import { describe, hintFor } from "./describe.js";
import { Sam3Error } from "./errors.js";

/**
 * The options given to `method`, with no name that does not exist.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT`
 */
export function readOptions<T extends object>(method: string, options: T, names: readonly string[]): T {
  if (typeof options !== "object" || options === null) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `${method} takes an object of options, not ${describe(options)}.`,
    );
  }
  for (const name of Object.keys(options)) {
    if (!names.includes(name)) {
      throw new Sam3Error(
        "INVALID_ARGUMENT",
        `${method} has no option "${name}"${hintFor(name, names)}. It takes ${names.join(", ")}.`,
      );
    }
  }
  return options;
}
