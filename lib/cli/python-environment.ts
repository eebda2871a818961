import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Sam3Error } from "../errors.js";
import { ensureSpace } from "../libtorch/disk.js";
import { lock } from "../libtorch/lock.js";
import { resolveWheels } from "../libtorch/pip.js";
import { findPython } from "../libtorch/python.js";
import { LIBTORCH_RELEASES } from "../libtorch/release.js";
import { sam3Home } from "../native/libtorch-home.js";

/** Disk that the packages of the export need, as measured with a CPU build of torch. */
const ENVIRONMENT_BYTES = 1_300_000_000;
const READY = "sam3-ready";

export interface EnvironmentOptions {
  /** File of pinned requirements, torch among them. */
  readonly requirements: string;
  readonly env: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
  /** Told what is done now, for people. */
  readonly onStage: (what: string) => void;
}

/** Where the environment for a list of requirements lies, made or not. */
export async function environmentFolder(requirements: string, env: NodeJS.ProcessEnv): Promise<string> {
  const hash = createHash("sha256")
    .update(await readFile(requirements))
    .digest("hex")
    .slice(0, 12);
  return join(sam3Home(env), `export-${hash}`);
}

/** True when the environment in `folder` is complete. */
export async function isEnvironmentReady(folder: string): Promise<boolean> {
  return stat(join(folder, READY)).then(
    () => true,
    () => false,
  );
}

/**
 * Makes the Python environment of the export, once for each list of requirements, and returns its interpreter.
 * Throws `PYTHON_NOT_FOUND`, `DISK_FULL` or `EXPORT_FAILED`; an unfinished environment is made anew next time.
 */
export async function pythonEnvironment(options: EnvironmentOptions): Promise<string> {
  const { requirements, env, signal, onStage } = options;
  const folder = await environmentFolder(requirements, env);
  const python = join(folder, "bin", "python");
  if (await isEnvironmentReady(folder)) return python;
  const base = await findPython(env, "venv");
  await mkdir(dirname(folder), { recursive: true });
  const unlock = await lock(`${folder}.lock`);
  try {
    if (await isEnvironmentReady(folder)) return python;
    await rm(folder, { recursive: true, force: true });
    await ensureSpace(dirname(folder), ENVIRONMENT_BYTES);
    onStage("making a Python environment");
    await run(base.path, ["-m", "venv", folder], signal);
    const pip = ["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"];
    // torch goes first and alone: with it in place nothing else asks for another build of it.
    const { torch, rest } = await splitRequirements(requirements);
    onStage(`installing ${torch}`);
    await run(python, [...pip, torch, ...(await cpuIndex(folder, env, signal))], signal);
    onStage("installing the other Python packages");
    const list = join(folder, "requirements.txt");
    await writeFile(list, `${rest.join("\n")}\n`);
    await run(python, [...pip, "-r", list], signal);
    await writeFile(join(folder, READY), "");
    await removeOlder(folder);
    return python;
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  } finally {
    await unlock();
  }
}

async function splitRequirements(file: string): Promise<{ torch: string; rest: string[] }> {
  const lines = (await readFile(file, "utf8")).split("\n").map((line) => line.replace(/#.*/, "").trim());
  const torch = lines.find((line) => /^torch==/.test(line));
  if (torch === undefined) throw new Sam3Error("INTERNAL", `${file} does not name torch`);
  return { torch, rest: lines.filter((line) => line !== "" && line !== torch) };
}

// The CPU build is a tenth of the CUDA one and enough for an export; where its index cannot be reached, any build does.
async function cpuIndex(folder: string, env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<string[]> {
  const { wheels, index } = LIBTORCH_RELEASES.cpu;
  try {
    const [wheel] = await resolveWheels(await findPython(env), wheels, index, folder, signal);
    return wheel === undefined || wheel.index.length === 0 ? [] : ["--extra-index-url", index];
  } catch (error) {
    signal.throwIfAborted();
    if (Sam3Error.is(error, "LIBTORCH_INSTALL_FAILED")) return [];
    throw error;
  }
}

// Environments of earlier versions of this package.
async function removeOlder(folder: string): Promise<void> {
  for (const name of await readdir(dirname(folder))) {
    const path = join(dirname(folder), name);
    if (/^export-[0-9a-f]{12}$/.test(name) && path !== folder)
      await rm(path, { recursive: true, force: true });
  }
}

async function run(command: string, args: readonly string[], signal: AbortSignal): Promise<void> {
  const child = spawn(command, args, { stdio: ["ignore", "ignore", "pipe"], signal });
  let text = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    text = (text + chunk).slice(-8000);
  });
  const code = await new Promise<number | string | null>((done, fail) => {
    child.once("error", fail);
    child.once("close", (status, name) => done(status ?? name));
  });
  if (code === 0) return;
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const line =
    lines.filter((it) => it.startsWith("ERROR: ")).at(-1) ?? lines.at(-1) ?? `it ended with ${code}`;
  if (/No space left on device/.test(text)) {
    throw new Sam3Error("DISK_FULL", `${line}; free some space or set SAM3_HOME to a folder on another disk`);
  }
  throw new Sam3Error(
    "EXPORT_FAILED",
    `the Python packages could not be installed: ${line.replace(/^ERROR: /, "")}; check the network and run the command again`,
  );
}
