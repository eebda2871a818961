import { Sam3Error } from "../errors.js";

/** An error as the one line shown to people: `CODE: what, and what to do`. */
export function errorLine(error: unknown): string {
  const { code, message } = toSam3Error(error);
  return `${code}: ${message.replace(/\s*\n\s*/g, " ").trim()}`;
}

/** Whatever was thrown, as a coded error; what has no code is a defect of ours. */
export function toSam3Error(error: unknown): Sam3Error {
  if (Sam3Error.is(error)) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new Sam3Error(
    "INTERNAL",
    `${message}; this is a defect, please report it with what SAM3_DEBUG=1 shows`,
    { cause: error },
  );
}
