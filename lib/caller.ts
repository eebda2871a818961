import { ERROR_CODES, Sam3Error, type Sam3ErrorCode } from "./errors.js";

/** The stack at a public call, kept until the work ends so that a late failure can point at the caller. */
export interface Caller {
  readonly frames: string;
}

/** Remembers who called `entry`; frames above it are left out. */
export function captureCaller(entry: (...args: never[]) => unknown): Caller {
  const holder: { stack?: string } = {};
  Error.captureStackTrace(holder, entry);
  const stack = holder.stack ?? "";
  const newline = stack.indexOf("\n");
  return { frames: newline === -1 ? "" : stack.slice(newline) };
}

/**
 * Runs public work: whatever fails comes out as a `Sam3Error` with the caller's stack, except the reason of an aborted
 * signal, which is passed on untouched.
 */
export async function forCaller<T>(
  caller: Caller,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (signal?.aborted && error === signal.reason) throw error;
    throw toSam3Error(error, caller);
  }
}

/** Turns any failure into a `Sam3Error`: a known code is kept, anything else is a defect of ours. */
export function toSam3Error(error: unknown, caller?: Caller): Sam3Error {
  const out = Sam3Error.is(error) ? (error as Sam3Error) : wrap(error);
  if (caller?.frames) out.stack = `${out.name}: ${out.message}${caller.frames}`;
  return out;
}

function wrap(error: unknown): Sam3Error {
  const { code, message } = (typeof error === "object" && error !== null ? error : {}) as {
    code?: unknown;
    message?: unknown;
  };
  const text = typeof message === "string" && message !== "" ? message : String(error);
  if (typeof code === "string" && Object.hasOwn(ERROR_CODES, code)) {
    return new Sam3Error(code as Sam3ErrorCode, text, { cause: error });
  }
  if (code === "ENOSPC") return new Sam3Error("DISK_FULL", `The disk is full: ${text}`, { cause: error });
  if (code === "ENOMEM" || isAllocationFailure(text)) {
    return new Sam3Error("OUT_OF_MEMORY", `Too little memory: ${text}`, { cause: error });
  }
  return new Sam3Error("INTERNAL", `Something unexpected happened, please report it: ${text}`, {
    cause: error,
  });
}

function isAllocationFailure(text: string): boolean {
  return /allocation failed|invalid (typed )?array length|out of memory/i.test(text);
}
