import { linkSignals, readSignal } from "./abort.js";
import { describe } from "./describe.js";
import { Sam3Error } from "./errors.js";
import { type Logger, loggerOf } from "./logger.js";

/** What every call that takes time accepts. */
export interface CallOptions {
  /** Stops the call; its promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds the call may take, waiting included; after that it fails with `TIMEOUT`. 0 = as long as it takes. */
  readonly timeoutMs?: number | undefined;
  /** Name of the call in log lines, for example the one your service gave it; one is made up when left out. */
  readonly requestId?: string | undefined;
}

/** The names of `CallOptions`. */
export const CALL_OPTIONS: readonly (keyof CallOptions)[] = ["signal", "timeoutMs", "requestId"];

/** A public call on its way through the layers. */
export interface Call {
  /** Names the call in log lines. */
  readonly id: string;
  /** When it began, on the clock of `performance.now()`: of what waits, what belongs to older calls goes first. */
  readonly startedAt: number;
  /** Aborts when the caller's signal does, and when the call's time is over; its reason is what to throw. */
  readonly signal: AbortSignal;
  /** Writes lines that carry the id. */
  readonly logger: Logger;
}

/** A call with its end: whoever started it must say when it is over. */
export interface StartedCall extends Call {
  readonly end: () => void;
}

/** Longest timer there is. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/**
 * Starts the clock of a call and joins it with the caller's signal.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT` for options that cannot be read
 */
export function startCall(
  options: CallOptions | undefined,
  defaults: { readonly timeoutMs: number; readonly id: string; readonly logger: Logger },
): StartedCall {
  const signal = readSignal(options?.signal);
  const timeoutMs = readTimeout(options?.timeoutMs) ?? defaults.timeoutMs;
  const id = readRequestId(options?.requestId) ?? defaults.id;
  const { controller, unlink } = linkSignals(signal);
  const timer = timeoutMs > 0 ? setTimeout(() => controller.abort(tooSlow(timeoutMs)), timeoutMs) : undefined;
  return {
    id,
    startedAt: performance.now(),
    signal: controller.signal,
    logger: loggerOf(defaults.logger, id),
    end: () => {
      clearTimeout(timer);
      unlink();
    },
  };
}

function tooSlow(timeoutMs: number): Sam3Error {
  return new Sam3Error(
    "TIMEOUT",
    `The call took longer than the ${timeoutMs} ms that timeoutMs allows (its own or SAM3_CALL_TIMEOUT_MS).`,
    { details: { timeoutMs } },
  );
}

function readTimeout(timeoutMs: unknown): number | undefined {
  if (timeoutMs === undefined) return undefined;
  if (typeof timeoutMs === "number" && timeoutMs >= 0 && timeoutMs <= MAX_TIMEOUT_MS) return timeoutMs;
  throw new Sam3Error(
    "INVALID_ARGUMENT",
    `timeoutMs is ${describe(timeoutMs)}; it must be milliseconds from 0 to ${MAX_TIMEOUT_MS}.`,
  );
}

function readRequestId(requestId: unknown): string | undefined {
  if (requestId === undefined) return undefined;
  if (typeof requestId === "string" && requestId !== "" && requestId.length <= 200) return requestId;
  throw new Sam3Error(
    "INVALID_ARGUMENT",
    `requestId is ${describe(requestId)}; it must be a text of 1 to 200 characters.`,
  );
}
