import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { onAbort } from "../../../abort.js";

/** Longest end of stderr that is kept for messages, in characters. */
const TAIL = 4000;

/** A program that runs: never through a shell, without standard input, killed when the signal is aborted. */
export class Child {
  readonly stdout: Readable;
  readonly #process: ChildProcessByStdio<null, Readable, Readable>;
  readonly #ended: Promise<number | null>;
  readonly #forget: () => void;
  #tail = "";

  /** @param onLine is called with each line of stderr */
  constructor(
    path: string,
    args: readonly string[],
    signal: AbortSignal,
    onLine: (line: string) => void = () => {},
  ) {
    signal.throwIfAborted();
    this.#process = spawn(path, args, { stdio: ["ignore", "pipe", "pipe"], windowsHide: true });
    this.stdout = this.#process.stdout;
    this.#forget = onAbort(signal, () => this.kill());
    this.#readErrors(onLine);
    this.#ended = new Promise((done, fail) => {
      this.#process.once("error", fail);
      this.#process.once("close", done);
    });
    // Whoever does not wait for the end is not to bring the process down.
    this.#ended.catch(() => {}).finally(this.#forget);
  }

  /** The exit code; null when it was killed. Rejects when it could not be started. */
  get ended(): Promise<number | null> {
    return this.#ended;
  }

  /** The end of what it said. */
  get said(): string {
    return this.#tail.trim();
  }

  kill(): void {
    this.#forget();
    this.#process.stdout.destroy();
    this.#process.kill("SIGKILL");
  }

  #readErrors(onLine: (line: string) => void): void {
    let rest = "";
    this.#process.stderr.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split(/\r?\n|\r/);
      // A line without end is cut rather than kept whole.
      rest = (lines.pop() as string).slice(-TAIL);
      for (const line of lines) onLine(line);
      const worth = lines.filter((line) => !line.startsWith("[Parsed_showinfo")).join("\n");
      if (worth !== "") this.#tail = `${this.#tail}\n${worth}`.slice(-TAIL);
    });
    this.#process.stderr.on("end", () => {
      if (rest !== "") onLine(rest);
      this.#tail = `${this.#tail}\n${rest}`.slice(-TAIL);
    });
  }
}

/** Runs a program that writes little. */
export async function runToEnd(
  path: string,
  args: readonly string[],
  signal: AbortSignal,
): Promise<{ readonly code: number | null; readonly stdout: string; readonly said: string }> {
  const child = new Child(path, args, signal);
  let stdout = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout = (stdout + text).slice(0, 1 << 20);
  });
  const code = await child.ended;
  signal.throwIfAborted();
  return { code, stdout, said: child.said };
}
