import { describe } from "../describe.js";
import { Sam3Error } from "../errors.js";

/**
 * Numbers of the names found, in the order given or in that of first appearance.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT` for a list that is none or has a name twice, or a name that is not in it
 */
export function numberNames(
  found: Iterable<string>,
  given: readonly string[] | undefined,
  option: string,
): Map<string, number> {
  const numbers = new Map<string, number>();
  if (given === undefined) {
    for (const name of found) if (!numbers.has(name)) numbers.set(name, numbers.size);
    return numbers;
  }
  if (!Array.isArray(given) || !given.every((name) => typeof name === "string")) {
    throw new Sam3Error("INVALID_ARGUMENT", `${option} must be a list of texts, not ${describe(given)}.`);
  }
  for (const name of given) {
    if (numbers.has(name)) {
      throw new Sam3Error("INVALID_ARGUMENT", `${option} has ${describe(name)} twice.`);
    }
    numbers.set(name, numbers.size);
  }
  for (const name of found) {
    if (!numbers.has(name)) {
      throw new Sam3Error(
        "INVALID_ARGUMENT",
        `There are objects of ${describe(name)}, which ${option} lacks. Add it, or leave ${option} out.`,
      );
    }
  }
  return numbers;
}
