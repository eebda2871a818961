import { describe } from "./describe.js";
import { Sam3Error } from "./errors.js";

/** Throws the signal's reason when it was aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw signal.reason;
}

/** Who is told of a signal's abort: one listener on the signal for all of them, because Node warns of more than ten. */
const told = new WeakMap<
  AbortSignal,
  { readonly callbacks: Set<() => void>; readonly listener: () => void }
>();

/**
 * Has a function called when a signal is aborted, at once if it was before. Returns how to undo it; it must be undone
 * when the work is over, or a signal that lives longer keeps what the function holds.
 */
export function onAbort(signal: AbortSignal | undefined, callback: () => void): () => void {
  if (!signal) return () => {};
  if (signal.aborted) {
    callback();
    return () => {};
  }
  const known = told.get(signal);
  const callbacks = known?.callbacks ?? new Set<() => void>();
  // Each call is a case of its own, also of the same function.
  const own = () => callback();
  callbacks.add(own);
  if (!known) {
    const listener = () => {
      told.delete(signal);
      for (const one of [...callbacks]) one();
    };
    told.set(signal, { callbacks, listener });
    signal.addEventListener("abort", listener, { once: true });
  }
  return () => {
    callbacks.delete(own);
    const current = told.get(signal);
    if (current?.callbacks !== callbacks || callbacks.size > 0) return;
    told.delete(signal);
    signal.removeEventListener("abort", current.listener);
  };
}

/**
 * A controller that is aborted with the first of several signals and its reason. By hand instead of AbortSignal.any, which
 * Node 20 keeps alive as long as the longest living of its signals: `unlink` must be called when the work is over.
 */
export function linkSignals(...signals: readonly (AbortSignal | undefined)[]): {
  readonly controller: AbortController;
  readonly unlink: () => void;
} {
  const controller = new AbortController();
  const forget = signals.map((signal) => onAbort(signal, () => controller.abort(signal?.reason)));
  return {
    controller,
    unlink: () => {
      for (const one of forget) one();
    },
  };
}

/** Waits for work, but no longer than the signal: on abort it rejects at once, though the work may go on to its end. */
export function until<T>(signal: AbortSignal | undefined, work: Promise<T>): Promise<T> {
  if (!signal) return work;
  return new Promise<T>((resolve, reject) => {
    const over = onAbort(signal, () => reject(signal.reason));
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
