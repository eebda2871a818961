import { describe } from "./describe.js";
import { Sam3Error } from "./errors.js";

/** Throws the signal's reason when it was aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw signal.reason;
}

/** Waits for work, but no longer than the signal: on abort it rejects at once, though the work may go on to its end. */
export function until<T>(signal: AbortSignal | undefined, work: Promise<T>): Promise<T> {
  if (!signal) return work;
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    const over = () => signal.removeEventListener("abort", onAbort);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(over);
  });
}

/** Checks that a value is an AbortSignal, of whichever realm, or undefined. */
export function readSignal(signal: unknown): AbortSignal | undefined {
  if (signal === undefined) return undefined;
  const shape = signal as Partial<AbortSignal> | null;
  if (
    typeof shape === "object" &&
    shape !== null &&
    typeof shape.aborted === "boolean" &&
    typeof shape.addEventListener === "function"
  ) {
    return shape as AbortSignal;
  }
  throw new Sam3Error("INVALID_ARGUMENT", `signal must be an AbortSignal, not ${describe(signal)}.`);
}
