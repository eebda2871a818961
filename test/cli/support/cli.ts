import { spawn } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runCli } from "../../../lib/cli/run.js";

/** Folder of the repository. */
export const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** A tiny bundle with random weights. */
export const TINY = join(ROOT, ".cache", "fixtures", "0", "bundle");

/** The picture of the demo. */
export const SHAPES = join(ROOT, "examples", "shapes.png");

export interface CliResult {
  /** Exit code, or the name of the signal that ended the process. */
  readonly code: number | NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  /** Added to the environment; undefined removes a variable. */
  readonly env?: Record<string, string | undefined>;
  readonly cwd?: string;
  /** Sends SIGINT as soon as stderr matches. */
  readonly interruptAt?: RegExp;
}

/** Runs the built CLI as a person would, in a pipe. */
export async function sam3(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const child = spawn(process.execPath, [join(ROOT, "dist", "cli.js"), ...args], {
    cwd: options.cwd ?? ROOT,
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  let interrupted = false;
  child.stdout.setEncoding("utf8").on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr.setEncoding("utf8").on("data", (chunk) => {
    stderr += chunk;
    // Once, as a person does: a second signal could meet a process whose handlers are gone already.
    if (interrupted || !options.interruptAt?.test(stderr)) return;
    interrupted = true;
    child.kill("SIGINT");
  });
  const code = await new Promise<number | NodeJS.Signals | null>((done, fail) => {
    child.once("error", fail);
    child.once("close", (status, signal) => done(status ?? signal));
  });
  return { code, stdout, stderr };
}

/** The same without a process of its own, where only what is said matters; as on a terminal where `interactive` is set. */
export async function sam3Here(
  args: readonly string[],
  env: Record<string, string | undefined> = {},
  { interactive = false } = {},
): Promise<CliResult> {
  let stdout = "";
  let stderr = "";
  const code = await runCli(args, {
    out: (text) => {
      stdout += text;
    },
    err: (text) => {
      stderr += text;
    },
    interactive,
    signal: new AbortController().signal,
    env: { ...process.env, ...env },
  });
  return { code, stdout, stderr };
}
