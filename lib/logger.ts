import { LOG_LEVELS, type LogLevel } from "./settings.js";

/** What this package writes log lines to; `console` and most loggers fit. */
export interface Logger {
  debug(message: string): void;
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

/** Writes lines of the given level and above to stderr. */
export function stderrLogger(level: LogLevel): Logger {
  const from = LOG_LEVELS.indexOf(level);
  const writer = (name: LogLevel) => (message: string) => {
    if (LOG_LEVELS.indexOf(name) >= from) process.stderr.write(`sam3 ${name}: ${message}\n`);
  };
  return { debug: writer("debug"), info: writer("info"), warn: writer("warn"), error: writer("error") };
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
