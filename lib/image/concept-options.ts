import { CALL_OPTIONS, type CallOptions } from "../call.js";
import { describe } from "../describe.js";
import { Sam3Error } from "../errors.js";
import { readOptions } from "../read-options.js";

/** What a concept call does beyond finding objects, and what stops it. */
export interface ConceptOptions extends CallOptions {
  /**
   * Leaves out objects that another text or prompt found with a better score: those whose masks have at least this
   * IoU, above 0 and up to 1. Nothing is left out when this is.
   */
  readonly suppressDuplicates?: number | undefined;
  /** Whether each prompt also gets its semantic map: every pixel that shows the concept. */
  readonly semantic?: boolean | undefined;
}

const NAMES = ["suppressDuplicates", "semantic", ...CALL_OPTIONS];

/**
 * The options with their defaults.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT`
 */
export function readConceptOptions(
  method: string,
  options: ConceptOptions,
  more: readonly string[] = [],
): {
  readonly suppressDuplicates: number | undefined;
  readonly semantic: boolean;
} {
  const { suppressDuplicates, semantic = false } = readOptions(method, options, [...NAMES, ...more]);
  if (
    suppressDuplicates !== undefined &&
    !(typeof suppressDuplicates === "number" && suppressDuplicates > 0 && suppressDuplicates <= 1)
  ) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `suppressDuplicates is ${describe(suppressDuplicates)}; it must be a mask IoU above 0 and up to 1.`,
    );
  }
  if (typeof semantic !== "boolean") {
    throw new Sam3Error("INVALID_ARGUMENT", `semantic is ${describe(semantic)}; it must be true or false.`);
  }
  return { suppressDuplicates, semantic };
}
