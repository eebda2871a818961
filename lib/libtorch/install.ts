import { randomBytes } from "node:crypto";
import { cp, mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { Sam3Error } from "../errors.js";
import { libtorchHome } from "../native/libtorch-home.js";
import { cannotWrite, ensureSpace, freeBytes, mapDiskFull } from "./disk.js";
import { download, sha256Of } from "./download.js";
import { lock } from "./lock.js";
import { downloadWheel, resolveWheels } from "./pip.js";
import { findPython } from "./python.js";
import {
  LIBTORCH_MINOR,
  LIBTORCH_RELEASES,
  LIBTORCH_VERSION,
  type LibtorchRelease,
  type LibtorchVariant,
} from "./release.js";
import { placeLibtorch, placeSitePackages, unpack, unpackedSize } from "./unpack.js";

export type InstallPhase = "find" | "download" | "check" | "unpack";

export interface InstallProgress {
  readonly phase: InstallPhase;
  /** What is worked on, for example the name of a wheel. */
  readonly what: string;
  readonly doneBytes: number;
  /** Undefined while unknown. */
  readonly totalBytes: number | undefined;
}

export interface InstallOptions {
  readonly variant: LibtorchVariant;
  /** `pip`, a URL, or the path of an archive or folder. Without it: pip where Python is, else the official archive. */
  readonly from?: string | undefined;
  /** Expected SHA-256 of an archive named in `from`. */
  readonly sha256?: string | undefined;
  /** Folder that will hold `lib/`; by default `<version>-<variant>` under `libtorchHome()`. */
  readonly to?: string | undefined;
  /** Installs again what is there already. */
  readonly force?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (progress: InstallProgress) => void;
  readonly env?: NodeJS.ProcessEnv;
  /** Replaces facts of this package and machine, for tests. */
  readonly release?: LibtorchRelease;
  readonly freeBytes?: typeof freeBytes;
  readonly retryWaitMs?: number;
}

/** Written last into an installed folder; a folder without it was not installed by us, or not wholly. */
export interface InstallNote {
  readonly version: string;
  readonly variant: LibtorchVariant;
  readonly source: string;
  readonly sha256: Readonly<Record<string, string>>;
  readonly installedAt: string;
}

export interface Installed extends InstallNote {
  readonly path: string;
  /** True when it was there before. */
  readonly already: boolean;
}

const NOTE = "sam3-libtorch.json";

/** Where a variant goes by default. */
function installFolder(variant: LibtorchVariant, env: NodeJS.ProcessEnv = process.env): string {
  return join(libtorchHome(env), `${LIBTORCH_VERSION}-${variant}`);
}

/**
 * Puts libtorch into its folder. The folder appears in one step when everything in it is there and was checked; what
 * fails or is cancelled leaves no half folder, only a partial download that the next call goes on with.
 * Throws `LIBTORCH_INSTALL_FAILED`, `PYTHON_NOT_FOUND`, `DISK_FULL` or `INVALID_ARGUMENT`.
 */
export async function installLibtorch(options: InstallOptions): Promise<Installed> {
  const { variant, signal, env = process.env } = options;
  const target = options.to === undefined ? installFolder(variant, env) : resolve(options.to);
  if (!options.force) {
    const note = await readInstallNote(target);
    if (note?.version === LIBTORCH_VERSION && note.variant === variant)
      return { ...note, path: target, already: true };
  }
  await refuseForeign(target);
  const parent = dirname(target);
  await mkdir(parent, { recursive: true }).catch((error: unknown) => {
    throw mapDiskFull(cannotWrite(parent, error), parent);
  });
  const unlock = await lock(join(parent, `.${basename(target)}.lock`));
  const staging = join(parent, `.${basename(target)}.${process.pid}-${randomBytes(4).toString("hex")}`);
  try {
    await mkdir(staging).catch((error: unknown) => {
      throw mapDiskFull(cannotWrite(staging, error), parent);
    });
    const folder = join(staging, "libtorch");
    await mkdir(folder);
    const downloads = join(parent, `.${basename(target)}.downloads`);
    const { source, sha256 } = await obtain({ ...options, env, staging, folder, downloads });
    signal?.throwIfAborted();
    await verify(folder, variant, source);
    const note: InstallNote = {
      version: LIBTORCH_VERSION,
      variant,
      source,
      sha256,
      installedAt: new Date().toISOString(),
    };
    await writeFile(join(folder, NOTE), `${JSON.stringify(note, null, 2)}\n`);
    await rm(target, { recursive: true, force: true });
    await rename(folder, target);
    await rm(downloads, { recursive: true, force: true });
    return { ...note, path: target, already: false };
  } catch (error) {
    throw mapDiskFull(error, parent);
  } finally {
    await rm(staging, { recursive: true, force: true });
    await unlock();
  }
}

/** The note of an installed folder; undefined when there is none or it is incomplete. */
async function readInstallNote(folder: string): Promise<InstallNote | undefined> {
  try {
    const note = JSON.parse(await readFile(join(folder, NOTE), "utf8")) as InstallNote;
    await stat(join(folder, "lib", "libtorch_cpu.so"));
    return note;
  } catch {
    return undefined;
  }
}

interface Work extends InstallOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly staging: string;
  readonly folder: string;
  readonly downloads: string;
}

interface Obtained {
  readonly source: string;
  readonly sha256: Record<string, string>;
}

async function obtain(work: Work): Promise<Obtained> {
  const release = work.release ?? LIBTORCH_RELEASES[work.variant];
  if (work.from === undefined) {
    const python = await findPython(work.env).catch(() => undefined);
    return python === undefined ? fromUrl(work, release.archive) : fromPip(work, release);
  }
  if (work.from === "pip") return fromPip(work, release);
  if (/^https?:\/\//.test(work.from)) return fromUrl(work, work.from);
  if (/^[a-z]+:\/\//.test(work.from)) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `--from ${work.from} has a scheme other than http or https; give pip, a URL, an archive or a folder`,
    );
  }
  const path = resolve(work.from);
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `--from ${work.from} does not exist; give pip, a URL, an archive or a folder`,
    );
  }
  return found.isDirectory() ? fromFolder(work, path) : fromArchive(work, path);
}

async function fromPip(work: Work, release: LibtorchRelease): Promise<Obtained> {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new Sam3Error(
      "LIBTORCH_INSTALL_FAILED",
      `no libtorch is known for ${process.platform} ${process.arch}; name an archive or a folder with --from`,
    );
  }
  const python = await findPython(work.env);
  const scratch = join(work.staging, "pip");
  await mkdir(scratch);
  const downloadBytes = release.wheels.reduce((sum, { bytes }) => sum + bytes, 0);
  await ensureSpace(dirname(work.staging), release.unpackedBytes, work.freeBytes);
  const wanted = release.wheels.map(({ requirement }) => requirement);
  work.onProgress?.({ phase: "find", what: wanted[0] ?? "", doneBytes: 0, totalBytes: undefined });
  const resolved = await resolveWheels(python, release.wheels, release.index, scratch, work.signal);
  const local = resolved.every(({ url }) => url.startsWith("file:"));
  await ensureSpace(
    dirname(work.staging),
    release.unpackedBytes + (local ? 0 : downloadBytes),
    work.freeBytes,
  );
  await mkdir(work.downloads, { recursive: true });
  const wheels: string[] = [];
  const sha256: Record<string, string> = {};
  let before = 0;
  for (const [i, wheel] of release.wheels.entries()) {
    const one = resolved[i] as (typeof resolved)[number];
    const report = (doneBytes: number) =>
      work.onProgress?.({
        phase: "download",
        what: one.file,
        doneBytes: before + doneBytes,
        totalBytes: downloadBytes,
      });
    const waiting = join(work.downloads, one.file);
    // A wheel that an earlier, interrupted call finished is taken again after its hash was seen to be right.
    const there = await stat(waiting).then(
      () => true,
      () => false,
    );
    const path = there
      ? waiting
      : await downloadWheel({
          python,
          wheel,
          resolved: one,
          to: work.downloads,
          scratch,
          signal: work.signal,
          onProgress: report,
        });
    if (path.startsWith(work.downloads)) report(wheel.bytes);
    before += wheel.bytes;
    sha256[one.file] = await check(work, path, wheel.sha256);
    wheels.push(path);
  }
  await unpackWheels(work, wheels);
  return { source: `pip ${release.wheels[0]?.requirement ?? ""}`, sha256 };
}

async function fromUrl(work: Work, url: string): Promise<Obtained> {
  const name = decodeURIComponent(basename(new URL(url).pathname)) || "libtorch.zip";
  const path = join(work.downloads, name.replace(/[^\w.+-]/g, "_"));
  const sha256 = await download({
    url,
    to: path,
    sha256: work.sha256,
    signal: work.signal,
    retryWaitMs: work.retryWaitMs,
    freeBytes: work.freeBytes ?? freeBytes,
    onProgress: (doneBytes, totalBytes) =>
      work.onProgress?.({ phase: "download", what: name, doneBytes, totalBytes }),
  });
  try {
    await unpackWheels(work, [path]);
  } catch (error) {
    // A file that is no archive would be taken for a finished download next time.
    if (Sam3Error.is(error, "LIBTORCH_INSTALL_FAILED")) await rm(path, { force: true });
    throw error;
  }
  return { source: url, sha256: { [name]: sha256 } };
}

async function fromArchive(work: Work, path: string): Promise<Obtained> {
  const sha256 = await check(work, path, work.sha256);
  await unpackWheels(work, [path]);
  return { source: path, sha256: { [basename(path)]: sha256 } };
}

async function fromFolder(work: Work, path: string): Promise<Obtained> {
  const { folder, signal } = work;
  // A Python's site-packages/torch with CUDA looks for its companions in ../../nvidia: they come along.
  const companions = join(dirname(path), "nvidia");
  const cuda = (await isFile(join(path, "lib", "libtorch_cuda.so"))) && (await isFolder(companions));
  const root = cuda ? join(folder, "torch") : folder;
  work.onProgress?.({ phase: "unpack", what: basename(path), doneBytes: 0, totalBytes: undefined });
  for (const name of ["lib", "include", "share"]) {
    signal?.throwIfAborted();
    if (await isFolder(join(path, name))) await copy(join(path, name), join(root, name));
  }
  if (cuda) {
    await copy(companions, join(folder, "nvidia"));
    await linkParts(folder);
  }
  return { source: path, sha256: {} };
}

async function copy(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  await cp(from, to, { recursive: true, dereference: true });
}

async function check(work: Work, path: string, expected: string | undefined): Promise<string> {
  const { size } = await stat(path);
  const what = basename(path);
  const actual = await sha256Of(path, work.signal, (doneBytes) =>
    work.onProgress?.({ phase: "check", what, doneBytes, totalBytes: size }),
  );
  if (expected === undefined || actual === expected) return actual;
  const ours = path.startsWith(work.downloads);
  if (ours) await rm(path, { force: true });
  throw new Sam3Error(
    "LIBTORCH_INSTALL_FAILED",
    `${what} is not the file expected: its SHA-256 is ${actual}, expected ${expected}; ${ours ? "it was removed, try again" : "name another source with --from"}`,
  );
}

/** Unpacks one archive flat, and a set of wheels (CUDA) as Python lays them out, with links to the usual three folders. */
async function unpackWheels(work: Work, archives: readonly string[]): Promise<void> {
  const { folder, signal } = work;
  const place = archives.length > 1 ? placeSitePackages : placeLibtorch;
  const sizes = await Promise.all(archives.map((archive) => unpackedSize(archive, place)));
  const totalBytes = sizes.reduce((sum, size) => sum + size, 0);
  await ensureSpace(dirname(work.staging), totalBytes, work.freeBytes);
  let before = 0;
  for (const [i, archive] of archives.entries()) {
    const what = basename(archive);
    await unpack({
      archive,
      to: folder,
      place,
      signal,
      onProgress: (done) =>
        work.onProgress?.({ phase: "unpack", what, doneBytes: before + done, totalBytes }),
    });
    before += sizes[i] ?? 0;
  }
  if (archives.length > 1) await linkParts(folder);
}

// `$ORIGIN/../..` of `lib/libtorch_cuda.so` is followed by the kernel through the link, so it ends in this folder.
async function linkParts(folder: string): Promise<void> {
  for (const name of ["lib", "include", "share"]) await symlink(join("torch", name), join(folder, name));
}

/** Throws `LIBTORCH_INSTALL_FAILED` unless the folder holds the version and variant wanted. */
async function verify(folder: string, variant: LibtorchVariant, source: string): Promise<void> {
  const wrong = (what: string) =>
    new Sam3Error(
      "LIBTORCH_INSTALL_FAILED",
      `${source} ${what}; libtorch ${LIBTORCH_VERSION} (${variant}) is needed, name another source with --from`,
    );
  const header = await readFile(join(folder, "include", "torch", "headeronly", "version.h"), "utf8").catch(
    () => readFile(join(folder, "include", "torch", "version.h"), "utf8").catch(() => ""),
  );
  if (!(await isFile(join(folder, "lib", "libtorch_cpu.so"))))
    throw wrong("holds no libtorch (lib/libtorch_cpu.so)");
  const version = ["MAJOR", "MINOR", "PATCH"]
    .map((part) => new RegExp(`TORCH_VERSION_${part} (\\d+)`).exec(header)?.[1])
    .join(".");
  if (version.split(".", 2).join(".") !== LIBTORCH_MINOR) {
    throw wrong(
      version === ".." ? "does not say its version (include/torch/version.h)" : `is libtorch ${version}`,
    );
  }
  const cuda = await isFile(join(folder, "lib", "libtorch_cuda.so"));
  if (cuda !== (variant !== "cpu")) throw wrong(`is a build ${cuda ? "with" : "without"} CUDA`);
}

/** Throws rather than replace a folder that was not made by us. */
async function refuseForeign(target: string): Promise<void> {
  const entries = await readdir(target).catch((error: NodeJS.ErrnoException): string[] => {
    if (error.code === "ENOENT") return [];
    throw new Sam3Error("INVALID_ARGUMENT", `${target} is not a folder; name another one with --to`, {
      cause: error,
    });
  });
  if (entries.length > 0 && !entries.includes(NOTE)) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `${target} holds other files; name an empty or new folder with --to`,
    );
  }
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (it) => it.isFile(),
    () => false,
  );
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (it) => it.isDirectory(),
    () => false,
  );
}
