import { type ChildProcess, spawn } from "node:child_process";
import { readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Sam3Error } from "../errors.js";
import type { Python } from "./python.js";
import type { PinnedWheel } from "./release.js";

// Wheels for Linux x64 with glibc up to 2.28, taken whatever the machine's own Python is.
const TARGET = [
  ...["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "none"],
  ...Array.from({ length: 24 }, (_, i) => ["--platform", `manylinux_2_${28 - i}_x86_64`]).flat(),
  ...["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"].flatMap((it) => [
    "--platform",
    it,
  ]),
  ...["--only-binary", ":all:", "--no-deps"],
];

/** A wheel pip would take, and where from. */
export interface ResolvedWheel {
  readonly url: string;
  readonly file: string;
  readonly sha256: string | undefined;
  /** Arguments that make pip see it again. */
  readonly index: readonly string[];
}

interface PipReport {
  install: {
    download_info: { url: string; archive_info?: { hash?: string; hashes?: { sha256?: string } } };
  }[];
}

/**
 * Asks pip which wheels it would take for pinned requirements, without downloading them: first from the machine's own
 * index, then from `index`. Throws `LIBTORCH_INSTALL_FAILED` when neither has the pinned files.
 */
export async function resolveWheels(
  python: Python,
  wheels: readonly PinnedWheel[],
  index: string,
  scratch: string,
  signal?: AbortSignal,
): Promise<ResolvedWheel[]> {
  const seen: string[] = [];
  // The second index is asked quickly: where it cannot be reached, nobody wants to wait for five retries.
  for (const args of [[], ["--index-url", index, "--retries", "1", "--timeout", "10"]]) {
    const report = join(scratch, "pip-report.json");
    const asked = ["install", "--dry-run", "--ignore-installed", "--quiet", "--report", report];
    const target = ["--target", join(scratch, "none")];
    const requirements = wheels.map(({ requirement }) => requirement);
    try {
      await pip(python, [...asked, ...target, ...TARGET, ...args, ...requirements], { signal });
    } catch (error) {
      signal?.throwIfAborted();
      seen.push((error as Error).message);
      continue;
    }
    const { install } = JSON.parse(await readFile(report, "utf8")) as PipReport;
    const offered = install.map(({ download_info: { url, archive_info } }) => ({
      url,
      file: decodeURIComponent(url.slice(url.lastIndexOf("/") + 1)),
      sha256: archive_info?.hashes?.sha256 ?? archive_info?.hash?.replace(/^sha256=/, ""),
      index: args,
    }));
    const found = wheels.map((wheel) =>
      offered.find(
        ({ file, sha256 }) =>
          file.startsWith(wheel.prefix) && (sha256 === undefined || sha256 === wheel.sha256),
      ),
    );
    if (found.every((it) => it !== undefined)) return found;
    const name = (wheels[found.indexOf(undefined)]?.prefix ?? "").split("-", 1)[0] ?? "";
    const other = offered.find(({ file }) => file.startsWith(`${name}-`));
    seen.push(`pip offers ${other?.file ?? `no ${name}`}, which is another build`);
  }
  throw new Sam3Error(
    "LIBTORCH_INSTALL_FAILED",
    `pip cannot get ${wheels[0]?.prefix ?? ""}… (${seen.join("; ")}); name the official archive or a libtorch folder with --from`,
  );
}

export interface PipDownloadOptions {
  readonly python: Python;
  readonly wheel: PinnedWheel;
  readonly resolved: ResolvedWheel;
  /** Folder the wheel goes to. */
  readonly to: string;
  /** Folder for pip's own temporary files, removed by the caller. */
  readonly scratch: string;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (doneBytes: number) => void;
}

/** Lets pip download one wheel and returns its path. A wheel on this machine's disk is used where it lies. */
export async function downloadWheel(options: PipDownloadOptions): Promise<string> {
  const { python, wheel, resolved, to, scratch, signal, onProgress } = options;
  if (resolved.url.startsWith("file:")) return fileURLToPath(resolved.url);
  const requirement = `${wheel.requirement} --hash=sha256:${wheel.sha256}`;
  const list = join(scratch, "requirements.txt");
  await writeFile(list, `${requirement}\n`);
  const args = [
    "download",
    "--quiet",
    "--require-hashes",
    "--dest",
    to,
    ...TARGET,
    ...resolved.index,
    "-r",
    list,
  ];
  // pip shows its progress to terminals only, so the growth of its files is watched instead.
  const watch = setInterval(() => {
    sizeOfFolder(scratch).then(
      (bytes) => onProgress?.(Math.min(bytes, wheel.bytes)),
      () => undefined,
    );
  }, 250);
  try {
    await pip(python, args, { signal, env: { TMPDIR: scratch } });
  } catch (error) {
    signal?.throwIfAborted();
    throw new Sam3Error(
      "LIBTORCH_INSTALL_FAILED",
      `pip could not download ${resolved.file}: ${(error as Error).message}; run the same command again or name another source with --from`,
      { cause: error },
    );
  } finally {
    clearInterval(watch);
    await rm(list, { force: true });
  }
  return join(to, resolved.file);
}

async function sizeOfFolder(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true });
  const sizes = await Promise.all(
    entries.map((entry) =>
      stat(join(folder, entry)).then(
        (it) => (it.isFile() ? it.size : 0),
        () => 0,
      ),
    ),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Runs pip and returns when it is done; its last error line becomes the message when it fails. */
async function pip(
  python: Python,
  args: readonly string[],
  { signal, env }: { signal?: AbortSignal | undefined; env?: NodeJS.ProcessEnv } = {},
): Promise<void> {
  const child: ChildProcess = spawn(
    python.path,
    ["-m", "pip", "--no-input", "--disable-pip-version-check", ...args],
    {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, ...env },
      signal,
    },
  );
  let text = "";
  child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
    text = (text + chunk).slice(-20_000);
  });
  const code = await new Promise<number | null>((done, fail) => {
    child.once("error", fail);
    child.once("close", done);
  });
  if (code === 0) return;
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const line =
    lines.filter((it) => /^ERROR: |No space left/.test(it)).at(-1) ?? lines.at(-1) ?? `exit ${code}`;
  const problem = new Error(line.replace(/^ERROR: (Exception:)?/, "").trim());
  if (/No space left on device|Errno 28/.test(text)) Object.assign(problem, { code: "ENOSPC" });
  throw problem;
}
