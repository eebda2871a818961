import { runCli } from "./run.js";

const interrupt = new AbortController();
for (const [name, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const) {
  process.on(name, () => {
    // The first time the command tidies up; the second time nobody wants to wait any longer.
    if (interrupt.signal.aborted) process.exit(code);
    process.exitCode = code;
    interrupt.abort(new Error(name));
  });
}

// Whoever read our output (`sam3 … | head`) has seen enough: that is not an error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));
process.stderr.on("error", () => undefined);

const code = await runCli(process.argv.slice(2), {
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  interactive: process.stderr.isTTY === true && process.env.TERM !== "dumb",
  signal: interrupt.signal,
  env: process.env,
});
process.exitCode ??= code;
