import { describe } from "./describe.js";
import { Sam3Error } from "./errors.js";
import type { NativeCancelToken } from "./native/addon.js";

/** Throws the signal's reason when it was aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw signal.reason;
}

/**
 * Runs native work that a signal can stop. On abort the token is cancelled and the promise rejects at once with the
 * signal's reason, though the device may still finish the stage it is in; what it delivers then goes to `discard`.
 */
export function abortable<T>(
  signal: AbortSignal | undefined,
  token: NativeCancelToken,
  work: () => Promise<T>,
  discard: (late: T) => void = () => {},
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    let settled = false;
    const onAbort = () => {
      settled = true;
      token.cancel();
      reject(signal?.reason);
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    const finish = (act: () => void) => {
      signal?.removeEventListener("abort", onAbort);
      if (!settled) act();
      settled = true;
    };
    // Inside a promise, so that a synchronous throw of the addon is a rejection as well.
    Promise.resolve()
      .then(work)
      .then(
        (value) => (settled ? discard(value) : finish(() => resolve(value))),
        (error: unknown) => finish(() => reject(error)),
      );
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
