import { describe } from "./describe.js";
import { Sam3Error } from "./errors.js";
import type { Logger } from "./logger.js";

/** How far a call that takes many steps has come. */
export interface CallProgress {
  /** Steps that have ended, 1 to `total`; those that failed count too. */
  readonly done: number;
  readonly total: number;
}

/**
 * What a long call reports to. A caller's mistake in the callback must not stop the work, nor the process when the
 * report comes from the addon: it becomes a line in the log.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT` for a callback that is none
 */
export function reporter<T>(
  onProgress: ((progress: T) => void) | undefined,
  logger: Logger,
): (progress: T) => void {
  if (onProgress !== undefined && typeof onProgress !== "function") {
    throw new Sam3Error("INVALID_ARGUMENT", `onProgress is ${describe(onProgress)}; it must be a function.`);
  }
  return (progress) => {
    try {
      onProgress?.(progress);
    } catch (error) {
      logger.error(`onProgress threw: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
}

/** Reports one step more each time it is called. */
export function steps(total: number, report: (progress: CallProgress) => void): () => void {
  let done = 0;
  return () => report({ done: ++done, total });
}
