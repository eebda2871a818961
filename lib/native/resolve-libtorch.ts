import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { Sam3Error } from "../errors.js";
import { libtorchHome } from "./libtorch-home.js";

/** Which rule found a libtorch. */
export type LibtorchSource = "option" | "SAM3_LIBTORCH" | "npm" | "cache" | "python";

/** A libtorch on this machine. */
export interface Libtorch {
  readonly source: LibtorchSource;
  /** Folder that holds `lib/`. */
  readonly path: string;
  /** For example `2.13.0`; undefined where the folder does not say. */
  readonly version: string | undefined;
  readonly variant: "cpu" | "cuda";
  /** What to open, in this order; absolute, links resolved, because libraries find their own kind beside themselves. */
  readonly libraries: readonly string[];
}

export interface LibtorchOptions {
  /** Folder of libtorch, before every other rule. */
  readonly libtorch?: string | undefined;
  /** Home of this package's downloads, instead of `SAM3_HOME`. */
  readonly home?: string | undefined;
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** Minor version wanted, for example `2.13`; decides between several in the cache. */
  readonly minor?: string | undefined;
}

const NAMES = {
  linux: (name: string) => `lib${name}.so`,
  darwin: (name: string) => `lib${name}.dylib`,
  win32: (name: string) => `${name}.dll`,
} as const;

/**
 * Finds libtorch without loading it: option, `SAM3_LIBTORCH`, an installed npm package, what `sam3 libtorch install`
 * has put into the cache, and, when `SAM3_LIBTORCH_FROM_PYTHON=1`, the torch of `python3`. A folder that was named but
 * holds no libtorch is an error, not a reason to look elsewhere.
 *
 * @throws {Sam3Error} `LIBTORCH_NOT_FOUND`, listing the places looked at
 */
export function resolveLibtorch(options: LibtorchOptions = {}): Libtorch {
  const env = options.env ?? process.env;
  const looked: string[] = [];
  for (const [source, named] of [
    ["option", options.libtorch],
    ["SAM3_LIBTORCH", env.SAM3_LIBTORCH],
  ] as const) {
    if (!named) {
      looked.push(source === "option" ? "option libtorch (not given)" : `${source} (not set)`);
      continue;
    }
    const found = inspectLibtorch(source, resolve(named));
    if (found) return found;
    throw notFound([
      `${source === "option" ? "option libtorch" : source} (${resolve(named)}: no ${cpuLibrary()} in lib/)`,
    ]);
  }

  const packageName = `@sam3-node/libtorch-${process.platform}-${process.arch}`;
  const installed = installedPackage(packageName);
  looked.push(
    `npm package ${packageName} (${installed ? `${installed}: no ${cpuLibrary()} in lib/` : "not installed"})`,
  );
  const fromNpm = installed && inspectLibtorch("npm", installed);
  if (fromNpm) return fromNpm;

  const home = libtorchHome(options.home ? { ...env, SAM3_HOME: options.home } : env);
  const fromCache = inspectCache(home, options.minor);
  if (fromCache) return fromCache;
  looked.push(`cache of "sam3 libtorch install" (${home}: empty)`);

  if (env.SAM3_LIBTORCH_FROM_PYTHON === "1") {
    const python = env.SAM3_PYTHON || "python3";
    const folder = torchOfPython(python, env);
    const found = folder && inspectLibtorch("python", folder);
    if (found) return found;
    looked.push(`torch of ${python} (${folder ? `${folder}: no ${cpuLibrary()} in lib/` : "none"})`);
  } else {
    looked.push("torch of Python (only with SAM3_LIBTORCH_FROM_PYTHON=1)");
  }
  throw notFound(looked);
}

function notFound(looked: readonly string[]): Sam3Error {
  return new Sam3Error(
    "LIBTORCH_NOT_FOUND",
    `libtorch was not found. Looked at: ${looked.join("; ")}. Install it with: npx sam3 libtorch install`,
    { details: { looked: looked.join("; ") } },
  );
}

function libraryFile(name: string): string {
  return (NAMES[process.platform as keyof typeof NAMES] ?? NAMES.linux)(name);
}

function cpuLibrary(): string {
  return libraryFile("torch_cpu");
}

function inspectLibtorch(source: LibtorchSource, path: string): Libtorch | undefined {
  const library = (name: string) => {
    const file = join(path, "lib", libraryFile(name));
    return existsSync(file) ? realpathSync(file) : undefined;
  };
  const [core, cpu, coreCuda, cuda] = [
    library("c10"),
    library("torch_cpu"),
    library("c10_cuda"),
    library("torch_cuda"),
  ];
  if (!core || !cpu) return undefined;
  return {
    source,
    path,
    version: readVersion(path),
    variant: cuda ? "cuda" : "cpu",
    libraries: [core, cpu, coreCuda, cuda].filter((file) => file !== undefined),
  };
}

/** Where the different kinds of libtorch folders say their version. */
function readVersion(path: string): string | undefined {
  const header = (text: string) => {
    const part = (name: string) => new RegExp(`define TORCH_VERSION_${name} (\\d+)`).exec(text)?.[1];
    const parts = [part("MAJOR"), part("MINOR"), part("PATCH")];
    return parts.includes(undefined) ? undefined : parts.join(".");
  };
  const number = (text: string) => /\d+\.\d+\.\d+/.exec(text)?.[0];
  const places: readonly (readonly [file: string, read: (text: string) => string | undefined])[] = [
    ["sam3-libtorch.json", number],
    ["include/torch/headeronly/version.h", header],
    ["build-version", number],
    ["version.py", (text) => /__version__ = '(\d+\.\d+\.\d+)/.exec(text)?.[1]],
  ];
  for (const [file, read] of places) {
    try {
      const version = read(readFileSync(join(path, file), "utf8"));
      if (version) return version;
    } catch {
      // Not this kind of folder.
    }
  }
  return undefined;
}

/** The install that fits; CUDA before CPU, because whoever installed that wants it. */
function inspectCache(home: string, minor: string | undefined): Libtorch | undefined {
  let names: string[] = [];
  try {
    names = readdirSync(home);
  } catch {
    return undefined;
  }
  const found = names
    .sort()
    .reverse()
    .filter((name) => /^\d+\.\d+\.\d+-\w+$/.test(name))
    .map((name) => inspectLibtorch("cache", join(home, name)))
    .filter((libtorch) => libtorch !== undefined);
  const rank = (libtorch: Libtorch) =>
    (minor !== undefined && libtorch.version?.startsWith(`${minor}.`) ? 2 : 0) +
    (libtorch.variant === "cuda" ? 1 : 0);
  return found.sort((a, b) => rank(b) - rank(a))[0];
}

function installedPackage(name: string): string | undefined {
  try {
    return dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
  } catch {
    return undefined;
  }
}

function torchOfPython(python: string, env: NodeJS.ProcessEnv): string | undefined {
  const script =
    "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')";
  try {
    // `-I` keeps modules of the working folder out of it.
    const path = execFileSync(python, ["-I", "-c", script], {
      encoding: "utf8",
      env,
      stdio: ["ignore", "pipe", "ignore"],
      timeout: 20_000,
    }).trim();
    return path || undefined;
  } catch {
    return undefined;
  }
}
