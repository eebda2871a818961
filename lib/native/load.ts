import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Sam3Error } from "../errors.js";
import { packageRoot } from "../package-root.js";
import { ADDON_CONTRACT, type NativeAddon } from "./addon.js";
import { type Libtorch, type LibtorchOptions, resolveLibtorch } from "./resolve-libtorch.js";

/** The compiled files of this package, found but not loaded. */
export interface AddonFiles {
  readonly addon: string;
  readonly loader: string;
  /** libtorch the addon was built with, for example `2.13.0`. */
  readonly torch: string;
  readonly contract: number;
}

export interface LoadAddonOptions extends LibtorchOptions {
  /** Where to look for the compiled files instead of this package's folder. */
  readonly root?: string | undefined;
}

interface Loader {
  /** Opens shared libraries by absolute path. Throws what the system says, or that other ones are open already. */
  open(paths: readonly string[]): void;
}

/**
 * Loads the addon: finds both it and libtorch, checks that they fit each other before anything is opened, opens
 * libtorch by absolute path and then the addon, whose own needs are met by what is open already: no rpath, no
 * `LD_LIBRARY_PATH`. Blocks for about 0.3 s the first time; later calls, also in worker threads, are cheap. A process
 * uses one libtorch: the first one.
 *
 * @throws {Sam3Error} `ADDON_NOT_FOUND`, `LIBTORCH_NOT_FOUND`, `LIBTORCH_VERSION`, `ADDON_LOAD_FAILED`
 */
export function loadAddon(options: LoadAddonOptions = {}): NativeAddon {
  const files = findAddon(options.root);
  checkContract(files.contract, files.addon);
  const libtorch = resolveLibtorch({ ...options, minor: minorOf(files.torch) });
  checkLibtorch(libtorch, files);
  const require = createRequire(import.meta.url);
  let addon: NativeAddon;
  try {
    (require(files.loader) as Loader).open(libtorch.libraries);
    addon = require(files.addon) as NativeAddon;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Sam3Error(
      "ADDON_LOAD_FAILED",
      `The addon at ${files.addon} could not be loaded with the libtorch at ${libtorch.path}: ${reason}. Run "npx sam3 doctor" for what was found; a damaged libtorch is replaced by "npx sam3 libtorch install --force".`,
      { cause, details: { addon: files.addon, libtorch: libtorch.path } },
    );
  }
  checkContract(addon.contract, files.addon);
  return addon;
}

/**
 * Finds the compiled addon: built here (`build/Release`) or shipped (`prebuilds/<platform>-<arch>`).
 *
 * @throws {Sam3Error} `ADDON_NOT_FOUND`
 */
export function findAddon(root: string = packageRoot()): AddonFiles {
  const { path: find } = createRequire(import.meta.url)("node-gyp-build") as { path(root: string): string };
  const missing = (what: string, cause?: unknown) =>
    new Sam3Error(
      "ADDON_NOT_FOUND",
      `${what} in ${root} for ${process.platform}-${process.arch}. There are prebuilt ones for Linux x64 with glibc; elsewhere, and in a checkout, build it: npm run setup`,
      { cause, details: { root, platform: process.platform, arch: process.arch } },
    );
  let addon: string;
  try {
    addon = find(root);
  } catch (cause) {
    throw missing("There is no compiled addon", cause);
  }
  const folder = join(dirname(addon), "loader");
  const loader = join(folder, "loader.node");
  if (!existsSync(loader)) throw missing(`There is an addon at ${addon} but no loader/loader.node beside it`);
  try {
    const build = JSON.parse(readFileSync(join(folder, "build.json"), "utf8")) as {
      torch: string;
      contract: number;
    };
    return { addon, loader, torch: build.torch, contract: build.contract };
  } catch (cause) {
    throw missing(`There is an addon at ${addon} but no readable loader/build.json beside it`, cause);
  }
}

/**
 * Throws unless a libtorch is of the minor version the addon was built with: libtorch's C++ interface holds for one.
 *
 * @throws {Sam3Error} `LIBTORCH_VERSION`
 */
export function checkLibtorch(libtorch: Libtorch, files: Pick<AddonFiles, "torch">): void {
  const expected = minorOf(files.torch);
  if (libtorch.version !== undefined && minorOf(libtorch.version) === expected) return;
  const found = libtorch.version ?? "unknown";
  throw new Sam3Error(
    "LIBTORCH_VERSION",
    `Found libtorch ${found} at ${libtorch.path} (by ${libtorch.source}), but this addon needs ${expected}. Install it with: npx sam3 libtorch install`,
    { details: { found, expected, path: libtorch.path, source: libtorch.source } },
  );
}

function checkContract(found: number, addon: string): void {
  if (found === ADDON_CONTRACT) return;
  throw new Sam3Error(
    "ADDON_LOAD_FAILED",
    `The addon at ${addon} was built for contract ${found} and this package speaks ${ADDON_CONTRACT}: it is of another version. Reinstall the package, or in a checkout build it again: npm run build:native`,
    { details: { found, expected: ADDON_CONTRACT } },
  );
}

function minorOf(version: string): string {
  return version.split(".").slice(0, 2).join(".");
}
