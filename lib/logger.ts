import { LOG_LEVELS, type LogLevel } from "./settings.js";

/** What this package writes log lines to; `console`, pino and most loggers fit. */
export interface Logger {
  debug(message: string): void;
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
  /** A logger that adds something to every line, as pino's does. Where it is missing, the id of a call is put before its lines. */
  child?(bindings: { readonly requestId: string }): Logger;
}

/** Writes lines of the given level and above to stderr. */
export function stderrLogger(level: LogLevel): Logger {
  const from = LOG_LEVELS.indexOf(level);
  const writer = (name: LogLevel) => (message: string) => {
    if (LOG_LEVELS.indexOf(name) >= from) process.stderr.write(`sam3 ${name}: ${message}\n`);
  };
  return { debug: writer("debug"), info: writer("info"), warn: writer("warn"), error: writer("error") };
}

/** A logger whose lines carry the id of a call. */
export function loggerOf(logger: Logger, requestId: string): Logger {
  if (typeof logger.child === "function") return logger.child({ requestId });
  const prefixed = (name: "debug" | "info" | "warn" | "error") => (message: string) =>
    logger[name](`[${requestId}] ${message}`);
  return {
    debug: prefixed("debug"),
    info: prefixed("info"),
    warn: prefixed("warn"),
    error: prefixed("error"),
  };
}

/** Whether a value can be used as a logger. */
export function isLogger(value: unknown): value is Logger {
  return (
    typeof value === "object" &&
    value !== null &&
    ["debug", "info", "warn", "error"].every(
      (name) => typeof (value as Record<string, unknown>)[name] === "function",
    )
  );
}
