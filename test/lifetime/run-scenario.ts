import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

/** How a scenario's process ended, and what it wrote to both of its outputs. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly output: string;
}

/** Runs one scenario of a script in a process of its own; one that hangs is ended by the test's timeout. */
export async function runScenario(
  script: URL,
  name: string,
  { flags = [], env = {} }: { readonly flags?: readonly string[]; readonly env?: NodeJS.ProcessEnv } = {},
): Promise<Ended> {
  const child = spawn(process.execPath, [...flags, fileURLToPath(script), name], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (chunk: string) => {
      output += chunk;
    });
  }
  return new Promise((done) => child.once("close", (code, signal) => done({ code, signal, output })));
}
