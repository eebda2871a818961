import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createWriteStream, existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

/** Folder of the repository. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const CACHE = join(ROOT, ".cache");

/** Runs `work` unless it was done before for the same inputs and its outputs are still there. Tells what it does. */
export async function step({ name, inputs, extra = "", outputs, work }) {
  const stamp = join(CACHE, "stamps", `${name.replace(/\W+/g, "-")}.txt`);
  const hash = await hashOf(inputs, `${process.platform}-${process.arch} ${extra}`);
  const before = await readFile(stamp, "utf8").catch(() => "");
  const missing = outputs.filter((path) => !existsSync(join(ROOT, path)));
  if (before === hash && missing.length === 0) return false;
  const started = Date.now();
  console.log(`${name} …`);
  await rm(stamp, { force: true });
  await work();
  const absent = outputs.filter((path) => !existsSync(join(ROOT, path)));
  if (absent.length > 0) throw new Error(`${name} ended without making ${absent.join(", ")}`);
  await mkdir(join(CACHE, "stamps"), { recursive: true });
  await writeFile(stamp, await hashOf(inputs, `${process.platform}-${process.arch} ${extra}`));
  console.log(`${name}: done in ${((Date.now() - started) / 1000).toFixed(1)} s`);
  return true;
}

/**
 * Runs a program and waits for its end. Its output goes to `.cache/logs/<log>.log`, and to the screen when `show` is
 * set; a failure throws with the last lines.
 */
export async function run(command, args, { log, show = false, env = {}, cwd = ROOT, quiet = false } = {}) {
  await mkdir(join(CACHE, "logs"), { recursive: true });
  const path = join(CACHE, "logs", `${log ?? "command"}.log`);
  const file = createWriteStream(path);
  const child = spawn(command, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ["ignore", show === "inherit" ? "inherit" : "pipe", show === "inherit" ? "inherit" : "pipe"],
  });
  let tail = "";
  const take = (stream) => (chunk) => {
    file.write(chunk);
    if (show) stream.write(chunk);
    tail = (tail + chunk).slice(-6000);
  };
  child.stdout?.on("data", take(process.stdout));
  child.stderr?.on("data", take(process.stderr));
  const code = await new Promise((done, fail) => {
    child.once("error", (error) =>
      fail(new Error(`${command} cannot be started (${error.code ?? error.message})`)),
    );
    child.once("close", (status, signal) => done(status ?? signal));
  }).finally(() => file.end());
  if (code !== 0 && !quiet) {
    if (!show) console.error(tail.trimEnd());
    throw new Error(
      `${command} ${args.join(" ")} ended with ${code}; its output is in ${relative(ROOT, path)}`,
    );
  }
  return { code, tail };
}

/** Hash over the content of files and folders; one that does not exist counts as empty. */
async function hashOf(paths, extra = "") {
  const hash = createHash("sha256").update(extra);
  for (const path of paths) {
    for (const file of await filesIn(join(ROOT, path))) {
      hash.update(`\0${relative(ROOT, file)}\0`).update(await readFile(file));
    }
  }
  return hash.digest("hex");
}

async function filesIn(path) {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return [];
  if (!found.isDirectory()) return [path];
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && !/__pycache__/.test(entry.parentPath ?? entry.path))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}
