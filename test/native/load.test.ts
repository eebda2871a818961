import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Sam3Error } from "../../lib/errors.js";
import { ADDON_CONTRACT } from "../../lib/native/addon.js";
import { findAddon, loadAddon } from "../../lib/native/load.js";
import { resolveLibtorch } from "../../lib/native/resolve-libtorch.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sam3-load-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A folder that looks like a libtorch from outside. */
function fakeLibtorch(path: string, version: string | undefined, variant: "cpu" | "cuda" = "cpu"): string {
  mkdirSync(join(path, "lib"), { recursive: true });
  const names = variant === "cuda" ? ["c10", "torch_cpu", "c10_cuda", "torch_cuda"] : ["c10", "torch_cpu"];
  for (const name of names) writeFileSync(join(path, "lib", `lib${name}.so`), "this is no library");
  if (version) writeFileSync(join(path, "build-version"), `${version}+cpu\n`);
  return path;
}

function thrown(work: () => unknown): Sam3Error {
  try {
    work();
  } catch (error) {
    if (Sam3Error.is(error)) return error as Sam3Error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

/** An environment in which nothing is installed. */
const bare = () => ({ PATH: process.env.PATH, SAM3_HOME: join(folder, "home") });

describe("resolveLibtorch", () => {
  it("lists every place it looked at and how to install", () => {
    const error = thrown(() => resolveLibtorch({ env: bare() }));
    expect(error.code).toBe("LIBTORCH_NOT_FOUND");
    for (const part of [
      "option libtorch",
      "SAM3_LIBTORCH",
      `@sam3-node/libtorch-${process.platform}-${process.arch}`,
      join(folder, "home", "libtorch"),
      "SAM3_LIBTORCH_FROM_PYTHON",
      "npx sam3 libtorch install",
    ]) {
      expect(error.message).toContain(part);
    }
  });

  it("does not look elsewhere when a folder was named that holds none", () => {
    const empty = join(folder, "empty");
    fakeLibtorch(join(folder, "home", "libtorch", "2.13.0-cpu"), "2.13.0");
    expect(thrown(() => resolveLibtorch({ libtorch: empty, env: bare() })).message).toContain(empty);
    const error = thrown(() => resolveLibtorch({ env: { ...bare(), SAM3_LIBTORCH: empty } }));
    expect(error.code).toBe("LIBTORCH_NOT_FOUND");
    expect(error.message).toContain(`SAM3_LIBTORCH (${empty}`);
  });

  it("takes the option before the environment, and that before the cache", () => {
    const option = fakeLibtorch(join(folder, "a"), "2.13.0");
    const variable = fakeLibtorch(join(folder, "b"), "2.13.1");
    const cached = fakeLibtorch(join(folder, "home", "libtorch", "2.13.0-cpu"), "2.13.2");
    const env = { ...bare(), SAM3_LIBTORCH: variable };
    expect(resolveLibtorch({ libtorch: option, env })).toMatchObject({ source: "option", version: "2.13.0" });
    expect(resolveLibtorch({ env })).toMatchObject({ source: "SAM3_LIBTORCH", version: "2.13.1" });
    expect(resolveLibtorch({ env: bare() })).toMatchObject({ source: "cache", path: cached, variant: "cpu" });
    expect(resolveLibtorch({ home: join(folder, "home"), env: {} })).toMatchObject({ source: "cache" });
  });

  it("takes from the cache what fits, CUDA first", () => {
    const cache = join(folder, "home", "libtorch");
    fakeLibtorch(join(cache, "2.14.0-cpu"), "2.14.0");
    fakeLibtorch(join(cache, "2.13.0-cpu"), "2.13.0");
    expect(resolveLibtorch({ env: bare(), minor: "2.13" }).version).toBe("2.13.0");
    fakeLibtorch(join(cache, "2.13.0-cu130"), "2.13.0", "cuda");
    const cuda = resolveLibtorch({ env: bare(), minor: "2.13" });
    expect(cuda.variant).toBe("cuda");
    expect(cuda.libraries.map((path) => path.split("/").at(-1))).toEqual([
      "libc10.so",
      "libtorch_cpu.so",
      "libc10_cuda.so",
      "libtorch_cuda.so",
    ]);
    mkdirSync(join(cache, "2.13.5-cpu.partial"));
    expect(resolveLibtorch({ env: bare(), minor: "2.13" }).path).toBe(cuda.path);
  });

  it("opens the real files behind links, whose neighbours they look for", () => {
    const real = fakeLibtorch(join(folder, "site-packages", "torch"), "2.13.0");
    mkdirSync(join(folder, "linked"));
    symlinkSync(join(real, "lib"), join(folder, "linked", "lib"));
    const { libraries } = resolveLibtorch({ libtorch: join(folder, "linked") });
    for (const library of libraries) expect(dirname(library)).toBe(join(real, "lib"));
  });

  it("asks Python only when told to", () => {
    const torch = fakeLibtorch(join(folder, "torch"), "2.13.0");
    const python = join(folder, "python");
    writeFileSync(python, `#!/bin/sh\necho ${torch}\n`, { mode: 0o755 });
    expect(thrown(() => resolveLibtorch({ env: { ...bare(), SAM3_PYTHON: python } })).code).toBe(
      "LIBTORCH_NOT_FOUND",
    );
    const env = { ...bare(), SAM3_PYTHON: python, SAM3_LIBTORCH_FROM_PYTHON: "1" };
    expect(resolveLibtorch({ env })).toMatchObject({ source: "python", path: torch });
    const missing = { ...env, SAM3_PYTHON: join(folder, "no-python") };
    expect(thrown(() => resolveLibtorch({ env: missing })).message).toContain("no-python");
  });
});

describe("findAddon", () => {
  it("says what is missing and what to do", () => {
    writeFileSync(join(folder, "package.json"), "{}");
    const error = thrown(() => findAddon(folder));
    expect(error.code).toBe("ADDON_NOT_FOUND");
    expect(error.message).toContain("npm run setup");

    const built = join(folder, "build", "Release");
    mkdirSync(join(built, "loader"), { recursive: true });
    writeFileSync(join(built, "sam3-node.node"), "");
    expect(thrown(() => findAddon(folder)).message).toContain("no loader/loader.node");
    writeFileSync(join(built, "loader", "loader.node"), "");
    expect(thrown(() => findAddon(folder)).message).toContain("no readable loader/build.json");
  });

  it("finds a prebuilt addon", () => {
    writeFileSync(join(folder, "package.json"), "{}");
    const prebuilt = join(folder, "prebuilds", `${process.platform}-${process.arch}`);
    mkdirSync(join(prebuilt, "loader"), { recursive: true });
    writeFileSync(join(prebuilt, "sam3-node.glibc.node"), "");
    writeFileSync(join(prebuilt, "loader", "loader.node"), "");
    writeFileSync(join(prebuilt, "loader", "build.json"), '{"torch":"2.13.0","contract":1}');
    expect(findAddon(folder)).toEqual({
      addon: join(prebuilt, "sam3-node.glibc.node"),
      loader: join(prebuilt, "loader", "loader.node"),
      torch: "2.13.0",
      contract: 1,
    });
  });
});

describe("loadAddon", () => {
  /** The compiled files with another description. */
  function copyAddon(build: object): string {
    const root = join(folder, "copy");
    const files = findAddon();
    mkdirSync(join(root, "build", "Release", "loader"), { recursive: true });
    writeFileSync(join(root, "package.json"), "{}");
    copyFileSync(files.addon, join(root, "build", "Release", "sam3-node.node"));
    copyFileSync(files.loader, join(root, "build", "Release", "loader", "loader.node"));
    writeFileSync(join(root, "build", "Release", "loader", "build.json"), JSON.stringify(build));
    return root;
  }

  it("refuses another minor version of libtorch before opening it, naming both", () => {
    const expected = findAddon().torch.split(".").slice(0, 2).join(".");
    const libtorch = fakeLibtorch(join(folder, "old"), "2.9.1");
    const error = thrown(() => loadAddon({ libtorch }));
    expect(error.code).toBe("LIBTORCH_VERSION");
    expect(error.details).toMatchObject({ found: "2.9.1", expected, path: libtorch, source: "option" });
    expect(error.message).toContain("2.9.1");
    const unknown = fakeLibtorch(join(folder, "unknown"), undefined);
    expect(thrown(() => loadAddon({ libtorch: unknown })).details).toMatchObject({ found: "unknown" });
  });

  it("says what the system says of a damaged libtorch, and a good one can still be loaded", () => {
    const libtorch = fakeLibtorch(join(folder, "damaged"), findAddon().torch);
    const error = thrown(() => loadAddon({ libtorch }));
    expect(error.code).toBe("ADDON_LOAD_FAILED");
    expect(error.message).toMatch(/libc10\.so: (file too short|invalid ELF header)/);
    expect(loadAddon().contract).toBe(ADDON_CONTRACT);
  });

  it("refuses an addon of another contract", () => {
    const root = copyAddon({ torch: findAddon().torch, contract: ADDON_CONTRACT + 1 });
    const error = thrown(() => loadAddon({ root }));
    expect(error.code).toBe("ADDON_LOAD_FAILED");
    expect(error.message).toContain(`contract ${ADDON_CONTRACT + 1}`);
  });

  it("gives the same addon again, and refuses a second libtorch in one process", () => {
    const addon = loadAddon();
    expect(loadAddon()).toBe(addon);
    expect(addon.torchVersion).toMatch(/^\d+\.\d+\.\d+/);
    const other = fakeLibtorch(join(folder, "other"), findAddon().torch);
    const error = thrown(() => loadAddon({ libtorch: other }));
    expect(error.code).toBe("ADDON_LOAD_FAILED");
    expect(error.message).toContain("already");
    expect(loadAddon()).toBe(addon);
  });
});
