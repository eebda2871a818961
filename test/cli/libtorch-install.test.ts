import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Sam3Error } from "../../lib/errors.js";
import { mapDiskFull } from "../../lib/libtorch/disk.js";
import { type InstallOptions, installLibtorch } from "../../lib/libtorch/install.js";
import { LIBTORCH_RELEASES } from "../../lib/libtorch/release.js";
import { sam3 } from "./support/cli.js";
import { type FileServer, type FileServerOptions, serveFile } from "./support/file-server.js";
import { fakeLibtorch, zipOf } from "./support/zip.js";

let home: string;
let servers: FileServer[] = [];

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "sam3-libtorch-"));
});

afterEach(async () => {
  await Promise.all(servers.map((server) => server.close()));
  servers = [];
  await rm(home, { recursive: true, force: true });
});

const sha256 = (data: Buffer) => createHash("sha256").update(data).digest("hex");

async function serve(content: Buffer, options?: FileServerOptions): Promise<FileServer> {
  const server = await serveFile(content, options);
  servers.push(server);
  return server;
}

function install(options: Partial<InstallOptions>) {
  return installLibtorch({
    variant: "cpu",
    env: { SAM3_HOME: home, PATH: process.env.PATH },
    retryWaitMs: 5,
    ...options,
  });
}

/** What lies in the folder of libtorch, hidden things too. */
async function left(): Promise<string[]> {
  return (await readdir(join(home, "libtorch")).catch(() => [])).sort();
}

async function failure(promise: Promise<unknown>): Promise<Sam3Error> {
  const error = await promise.then(
    () => undefined,
    (it: unknown) => it,
  );
  expect(error).toBeInstanceOf(Sam3Error);
  return error as Sam3Error;
}

describe("from a URL", () => {
  test("downloads, unpacks and leaves nothing else behind", async () => {
    const archive = fakeLibtorch();
    const server = await serve(archive);
    const phases = new Set<string>();
    const installed = await install({
      from: server.url,
      sha256: sha256(archive),
      onProgress: ({ phase, doneBytes, totalBytes }) => {
        phases.add(phase);
        if (totalBytes !== undefined) expect(doneBytes).toBeLessThanOrEqual(totalBytes);
      },
    });
    expect(installed).toMatchObject({
      already: false,
      version: "2.13.0",
      path: join(home, "libtorch", "2.13.0-cpu"),
    });
    expect(await left()).toEqual(["2.13.0-cpu"]);
    expect((await readdir(installed.path)).sort()).toEqual([
      "build-version",
      "include",
      "lib",
      "sam3-libtorch.json",
      "share",
    ]);
    expect((await stat(join(installed.path, "lib", "libtorch_cpu.so"))).size).toBe(300_000);
    expect(await readdir(join(installed.path, "lib"))).not.toContain("libtorch_python.so");
    expect([...phases]).toEqual(["download", "unpack"]);
  });

  test("does nothing when it is there already, and installs again when told to", async () => {
    const server = await serve(fakeLibtorch());
    await install({ from: server.url });
    expect((await install({ from: server.url })).already).toBe(true);
    expect(server.asked).toHaveLength(1);
    expect((await install({ from: server.url, force: true })).already).toBe(false);
    expect(server.asked).toHaveLength(2);
  });

  test("goes on where a cut connection stopped", async () => {
    const archive = fakeLibtorch();
    const server = await serve(archive, { cuts: [100_000, 50_000] });
    await install({ from: server.url, sha256: sha256(archive) });
    expect(server.asked).toEqual(["all", "bytes=100000-", "bytes=150000-"]);
  });

  test("keeps what came when the line stays dead, and the next call goes on from there", async () => {
    const archive = fakeLibtorch();
    const dead = await serve(archive, { cuts: [120_000, 0, 0, 0, 0, 0, 0] });
    const error = await failure(install({ from: dead.url, sha256: sha256(archive) }));
    expect(error.code).toBe("LIBTORCH_INSTALL_FAILED");
    expect(error.message).toMatch(/goes on where it stopped/);
    expect(await left()).toEqual([".2.13.0-cpu.downloads"]);
    const before = dead.asked.length;
    await install({ from: dead.url, sha256: sha256(archive) });
    expect(dead.asked[before]).toBe("bytes=120000-");
    expect(await left()).toEqual(["2.13.0-cpu"]);
  }, 30_000);

  test("starts over when the file on the server changed meanwhile", async () => {
    const archive = fakeLibtorch();
    let version = 0;
    const server = await serve(archive, { cuts: [100_000], etag: () => `"${version++}"` });
    await install({ from: server.url, sha256: sha256(archive) });
    expect(server.asked.length).toBeGreaterThan(1);
  });

  test("starts over on a server without ranges", async () => {
    const archive = fakeLibtorch();
    const server = await serve(archive, { cuts: [100_000], ranges: false });
    await install({ from: server.url, sha256: sha256(archive) });
    expect(server.asked).toHaveLength(2);
  });

  test("refuses a file with another hash and removes it", async () => {
    const server = await serve(fakeLibtorch());
    const error = await failure(install({ from: server.url, sha256: "0".repeat(64) }));
    expect(error.code).toBe("LIBTORCH_INSTALL_FAILED");
    expect(error.message).toContain("SHA-256");
    expect(await readdir(join(home, "libtorch", ".2.13.0-cpu.downloads"))).toEqual([]);
  });

  test.each([404, 403])("names the status %i at once", async (status) => {
    const server = await serve(Buffer.alloc(0), { status });
    const error = await failure(install({ from: server.url }));
    expect(error.code).toBe("LIBTORCH_INSTALL_FAILED");
    expect(error.message).toContain(String(status));
    expect(server.asked).toHaveLength(1);
  });

  test("stops when told to and leaves only what can be continued", async () => {
    const server = await serve(fakeLibtorch(), { cuts: [100_000, 0, 0, 0, 0, 0, 0, 0] });
    const stop = new AbortController();
    const reason = new Error("enough");
    const running = install({
      from: server.url,
      signal: stop.signal,
      onProgress: ({ doneBytes }) => doneBytes > 0 && stop.abort(reason),
    });
    await expect(running).rejects.toBe(reason);
    expect(await left()).toEqual([".2.13.0-cpu.downloads"]);
  });

  test("is told that nothing listens there", async () => {
    const server = await serve(fakeLibtorch());
    const { url } = server;
    await server.close();
    servers = [];
    const error = await failure(install({ from: url }));
    expect(error.code).toBe("LIBTORCH_INSTALL_FAILED");
    expect(error.message).toContain("ECONNREFUSED");
  }, 30_000);
});

describe("a full disk", () => {
  test("is named while writing", () => {
    const said = Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
    const error = mapDiskFull(said, "/models", 5000) as Sam3Error;
    expect(error.code).toBe("DISK_FULL");
    expect(error.message).toMatch(/\/models .*5\.0 kB are needed/);
    expect(error.cause).toBe(said);
  });

  test("is seen before the download", async () => {
    const server = await serve(fakeLibtorch());
    const error = await failure(install({ from: server.url, freeBytes: async () => 1000 }));
    expect(error.code).toBe("DISK_FULL");
    expect(error.message).toContain(join(home, "libtorch"));
    expect(error.details.neededBytes).toBeGreaterThan(300_000);
    expect(error.details.freeBytes).toBe(1000);
  });

  test("is seen before unpacking", async () => {
    const path = join(home, "libtorch.zip");
    await writeFile(path, fakeLibtorch());
    const error = await failure(install({ from: path, freeBytes: async () => 1000 }));
    expect(error.code).toBe("DISK_FULL");
    expect(await left()).toEqual([]);
  });

  test("is seen before pip is asked for anything", async () => {
    const error = await failure(install({ from: "pip", freeBytes: async () => 1000 }));
    expect(error.code).toBe("DISK_FULL");
    expect(error.details.neededBytes).toBe(LIBTORCH_RELEASES.cpu.unpackedBytes);
    expect(await left()).toEqual([]);
  });
});

describe("from an archive or folder", () => {
  async function archive(content: Buffer): Promise<string> {
    const path = join(home, "given.zip");
    await writeFile(path, content);
    return path;
  }

  test("keeps the archive that was given", async () => {
    const path = await archive(fakeLibtorch());
    await install({ from: path });
    expect((await stat(path)).isFile()).toBe(true);
  });

  test.each([
    ["../evil.so", /\.\./],
    ["/evil.so", /absolute/],
    ["libtorch/lib/../../../../evil.so", /\.\.|invalid/],
  ])("refuses the entry %s", async (name, message) => {
    const error = await failure(install({ from: await archive(zipOf({ [name]: "evil" })) }));
    expect(error.code).toBe("LIBTORCH_INSTALL_FAILED");
    expect(error.message).toMatch(message);
    expect(await left()).toEqual([]);
  });

  test("refuses a link inside the archive", async () => {
    const name = "libtorch/lib/libtorch_cpu.so";
    const error = await failure(
      install({ from: await archive(zipOf({ [name]: "/etc/passwd" }, { [name]: 0o120777 })) }),
    );
    expect(error.message).toContain("is a link");
  });

  test.each([
    ["text", Buffer.from("this is no archive at all, only a line of text")],
    ["a cut archive", fakeLibtorch().subarray(0, 100_000)],
    ["an empty file", Buffer.alloc(0)],
  ])("refuses %s", async (_what, content) => {
    const error = await failure(install({ from: await archive(content) }));
    expect(error.code).toBe("LIBTORCH_INSTALL_FAILED");
    expect(error.message).toContain("given.zip");
    expect(await left()).toEqual([]);
  });

  test("refuses a damaged entry", async () => {
    const content = fakeLibtorch();
    content[content.indexOf("torchtorch") + 5] = 0;
    const error = await failure(install({ from: await archive(content) }));
    expect(error.code).toBe("LIBTORCH_INSTALL_FAILED");
    expect(await left()).toEqual([]);
  });

  test.each([
    ["another version", fakeLibtorch({ version: "2.9.1" }), /2\.9\.1/],
    ["another build", fakeLibtorch({ cuda: true }), /with CUDA/],
    ["something else", zipOf({ "libtorch/lib/readme": "hello" }), /holds no libtorch/],
  ])("refuses %s", async (_what, content, message) => {
    const error = await failure(install({ from: await archive(content) }));
    expect(error.code).toBe("LIBTORCH_INSTALL_FAILED");
    expect(error.message).toMatch(message);
  });

  test("copies a folder", async () => {
    const { path } = await install({ from: await archive(fakeLibtorch()), to: join(home, "first") });
    const second = await install({ from: path, to: join(home, "second") });
    expect((await stat(join(second.path, "lib", "libtorch_cpu.so"))).size).toBe(300_000);
  });

  test("copies a CUDA build from a Python's packages with its companions", async () => {
    const { path } = await install({
      from: await archive(fakeLibtorch({ cuda: true })),
      variant: "cu130",
      to: join(home, "site-packages", "torch"),
    });
    await mkdir(join(home, "site-packages", "nvidia", "cu13", "lib"), { recursive: true });
    await writeFile(join(home, "site-packages", "nvidia", "cu13", "lib", "libcudart.so.13"), "cuda");
    const second = await install({ from: path, variant: "cu130", to: join(home, "second") });
    // This is how the libraries themselves look for them.
    const companion = `${join(second.path, "lib")}/../../nvidia/cu13/lib/libcudart.so.13`;
    expect(await readFile(companion, "utf8")).toBe("cuda");
  });

  test("refuses a folder of someone else as the target", async () => {
    const mine = join(home, "mine");
    await mkdir(mine);
    await writeFile(join(mine, "thesis.txt"), "years of work");
    const error = await failure(install({ from: await archive(fakeLibtorch()), to: mine }));
    expect(error.code).toBe("INVALID_ARGUMENT");
    expect(await readdir(mine)).toEqual(["thesis.txt"]);
  });

  test.each(["nowhere.zip", "ftp://host/libtorch.zip"])("refuses --from %s", async (from) => {
    expect((await failure(install({ from }))).code).toBe("INVALID_ARGUMENT");
  });

  test("an install that runs keeps another one out, one that died does not", async () => {
    const from = await archive(fakeLibtorch());
    const lock = join(home, "libtorch", ".2.13.0-cpu.lock");
    await mkdir(join(home, "libtorch", `.2.13.0-cpu.${2 ** 22 + 1}-00000000`), { recursive: true });
    await writeFile(lock, String(process.ppid));
    expect((await failure(install({ from }))).message).toContain(String(process.ppid));
    await writeFile(lock, String(2 ** 22 + 1));
    await install({ from });
    expect(await left()).toEqual(["2.13.0-cpu"]);
  });
});

describe("from pip", () => {
  /** A stand-in for Python that answers the probe and, as pip, does what a shell script says. */
  async function python(script: string): Promise<string> {
    const path = join(home, "python-stand-in");
    const probe = JSON.stringify({ path, version: "3.12.1", missing: [] });
    await writeFile(path, `#!/bin/sh\nif [ "$1" = "-I" ]; then echo '${probe}'; exit 0; fi\n${script}\n`);
    await chmod(path, 0o755);
    return path;
  }

  const report = (url: string, hash: string) =>
    JSON.stringify({ install: [{ download_info: { url, archive_info: { hashes: { sha256: hash } } } }] });
  // The path of the report is what follows --report.
  const answer = (json: string) =>
    `while [ $# -gt 0 ]; do if [ "$1" = "--report" ]; then echo '${json}' > "$2"; fi; shift; done`;

  test("takes a wheel that lies on this machine and checks it against the pinned hash", async () => {
    const wheel = zipOf({ "torch/lib/libtorch_cpu.so": "torch" });
    const path = join(home, "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl");
    await writeFile(path, wheel);
    const pinned = LIBTORCH_RELEASES.cpu.wheels[0];
    const SAM3_PYTHON = await python(answer(report(`file://${path}`, pinned?.sha256 ?? "")));
    const error = await failure(install({ from: "pip", env: { SAM3_HOME: home, SAM3_PYTHON } }));
    expect(error.code).toBe("LIBTORCH_INSTALL_FAILED");
    expect(error.message).toContain(sha256(wheel));
    expect((await stat(path)).isFile()).toBe(true);
  });

  test("does not download the CUDA build when the CPU build was asked for", async () => {
    const url = "https://host/torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl";
    const SAM3_PYTHON = await python(answer(report(url, "0".repeat(64))));
    const error = await failure(install({ from: "pip", env: { SAM3_HOME: home, SAM3_PYTHON } }));
    expect(error.code).toBe("LIBTORCH_INSTALL_FAILED");
    expect(error.message).toMatch(/another build.*--from/);
    expect(await left()).toEqual([]);
  });

  test("keeps the wheels that were complete, and lays CUDA's out as its libraries look for it", async () => {
    const torch = zipOf({
      "torch/lib/libtorch_cpu.so": "torch",
      "torch/lib/libtorch_cuda.so": "cuda",
      "torch/include/torch/headeronly/version.h":
        "#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 13\n#define TORCH_VERSION_PATCH 0\n",
      "torch/nn/module.py": "not needed",
    });
    const cublas = zipOf({
      "nvidia/cu13/lib/libcublas.so.13": "cublas",
      "nvidia/cu13/include/cublas.h": "not needed",
    });
    const wheel = (name: string, content: Buffer) => ({
      requirement: `${name}==1`,
      prefix: `${name}-1-`,
      sha256: sha256(content),
      bytes: content.length,
    });
    const release = {
      ...LIBTORCH_RELEASES.cu130,
      wheels: [wheel("torch", torch), wheel("nvidia_cublas", cublas)],
      unpackedBytes: 100,
    };
    const index = join(home, "index");
    await mkdir(index);
    await writeFile(join(index, "torch-1-cp311.whl"), torch);
    const offered = {
      install: [
        { download_info: { url: "https://host/torch-1-cp311.whl" } },
        { download_info: { url: "https://host/nvidia_cublas-1-py3.whl" } },
      ],
    };
    // `download --dest <folder> … -r <list>` copies what the list names, if the index has it.
    const SAM3_PYTHON = await python(`
      case "$*" in *--report*) ${answer(JSON.stringify(offered))};; *)
        while [ $# -gt 0 ]; do case "$1" in --dest) to=$2;; -r) list=$2;; esac; shift; done
        cat "$list" >> ${join(home, "asked")}
        name=$(sed 's/==.*//' "$list")
        cp ${index}/$name-1-* "$to" || { echo "ERROR: connection lost" >&2; exit 1; };;
      esac`);
    const options = {
      from: "pip",
      variant: "cu130",
      release,
      env: { SAM3_HOME: home, SAM3_PYTHON },
    } as const;
    expect((await failure(install(options))).message).toContain("connection lost");
    expect(await left()).toEqual([".2.13.0-cu130.downloads"]);

    await writeFile(join(index, "nvidia_cublas-1-py3.whl"), cublas);
    const { path } = await install(options);
    const asked = (await readFile(join(home, "asked"), "utf8")).trim().split("\n");
    expect(asked).toEqual([
      `torch==1 --hash=sha256:${sha256(torch)}`,
      ...Array(2).fill(`nvidia_cublas==1 --hash=sha256:${sha256(cublas)}`),
    ]);
    expect((await readdir(path)).sort()).toEqual([
      "include",
      "lib",
      "nvidia",
      "sam3-libtorch.json",
      "share",
      "torch",
    ]);
    expect(await readFile(`${join(path, "lib")}/../../nvidia/cu13/lib/libcublas.so.13`, "utf8")).toBe(
      "cublas",
    );
    expect(await readdir(join(path, "nvidia", "cu13"))).toEqual(["lib"]);
    expect(await left()).toEqual(["2.13.0-cu130"]);
  });

  test("says what pip said", async () => {
    const SAM3_PYTHON = await python(`echo "ERROR: No matching distribution found for torch" >&2; exit 1`);
    const error = await failure(install({ from: "pip", env: { SAM3_HOME: home, SAM3_PYTHON } }));
    expect(error.message).toContain("No matching distribution found for torch");
  });

  test("without Python the official archive is taken", async () => {
    const { url } = await serve(fakeLibtorch());
    const release = { ...LIBTORCH_RELEASES.cpu, archive: url };
    const env = { SAM3_HOME: home, SAM3_PYTHON: join(home, "no-python") };
    expect((await install({ release, env })).source).toBe(url);
  });

  test("says what to install when there is no Python", async () => {
    const env = { SAM3_HOME: home, SAM3_PYTHON: join(home, "no-python") };
    const error = await failure(install({ from: "pip", env }));
    expect(error.code).toBe("PYTHON_NOT_FOUND");
    expect(error.message).toContain("3.10");
  });
});

describe("sam3 libtorch", () => {
  const env = () => ({ SAM3_HOME: home, SAM3_LIBTORCH: undefined });

  test("install says what it does, line by line in a pipe, and where finds it", async () => {
    const archive = fakeLibtorch();
    const { url } = await serve(archive);
    const { code, stdout, stderr } = await sam3(["libtorch", "install", "--from", url], { env: env() });
    const path = join(home, "libtorch", "2.13.0-cpu");
    expect(stdout).toBe(`libtorch 2.13.0 (cpu) installed in ${path}\n`);
    expect(stderr.split("\n")).toEqual([
      expect.stringMatching(/^downloading libtorch\.zip \(301\.\d kB\)$/),
      expect.stringMatching(/^unpacking libtorch\.zip \(300\.\d kB\)$/),
      expect.stringContaining(
        `note: libtorch.zip was not checked against a known hash (its SHA-256 is ${sha256(archive)})`,
      ),
      "",
    ]);
    expect(code).toBe(0);
    // Found though its library is none: it is only located here, not loaded.
    expect((await sam3(["libtorch", "where"], { env: env() })).stdout).toBe(`${path}\n`);
  });

  test("where says what to do when there is none", async () => {
    const { code, stdout, stderr } = await sam3(["libtorch", "where"], { env: env() });
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/^LIBTORCH_NOT_FOUND: [^\n]*sam3 libtorch install[^\n]*\n$/);
  });

  test("Ctrl-C leaves only what can be continued", async () => {
    const { url } = await serve(fakeLibtorch(), { stallAt: 100_000 });
    const { code, stderr } = await sam3(["libtorch", "install", "--from", url], {
      env: env(),
      interruptAt: /downloading/,
    });
    expect(stderr).toMatch(/interrupted\n$/);
    expect(code).toBe(130);
    expect(await left()).toEqual([".2.13.0-cpu.downloads"]);
  });

  test.each([
    ["--from", "nowhere.zip"],
    ["--from", "http://127.0.0.1:1/libtorch.zip"],
  ])(
    "ends with one line: %s %s",
    async (...args) => {
      const { code, stdout, stderr } = await sam3(["libtorch", "install", ...args], { env: env() });
      expect([code, stdout]).toEqual([1, ""]);
      expect(stderr).toMatch(/^[A-Z_]+: [^\n]+\n$/);
    },
    30_000,
  );
});
