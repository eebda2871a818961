// Builds the addon, its loader and the native tests with cmake-js. Does little where nothing changed.
//
//   node scripts/build-native.mjs                       build/Release/sam3-node.node, build/Release/loader/loader.node
//   node scripts/build-native.mjs --no-tests            without the native tests
//   node scripts/build-native.mjs --run-tests <folder>  then run the native tests on the fixtures of that folder
//
// SAM3_LIBTORCH names the libtorch to build against; SAM3_BUILD_JOBS the compilers at a time;
// SAM3_SANITIZE (for example address,undefined) builds the native tests alone, into build/sanitize/, where anything
// found ends them: `node scripts/sanitize.mjs` does it with everything that belongs to it.

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism, freemem } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");

function fail(message) {
  process.stderr.write(`build-native: ${message}\n`);
  process.exit(1);
}

function run(command, args, env = {}) {
  const done = spawnSync(command, args, { cwd: root, stdio: "inherit", env: { ...process.env, ...env } });
  if (done.error) fail(`${command} could not be started: ${done.error.message}`);
  if (done.status !== 0) process.exit(done.status ?? 1);
}

const args = process.argv.slice(2);
const testsAt = args.indexOf("--run-tests");
const fixtures =
  testsAt >= 0 ? resolve(args[testsAt + 1] ?? fail("--run-tests needs a folder of fixtures")) : undefined;
const withTests = !args.includes("--no-tests");
const sanitize = process.env.SAM3_SANITIZE ?? "";

const given = process.env.SAM3_LIBTORCH;
if (!given) fail("SAM3_LIBTORCH is not set. `npm run setup` installs libtorch and builds with it.");
const libtorch = resolve(given);
if (!existsSync(join(libtorch, "include", "torch", "script.h"))) {
  fail(`no libtorch with headers at SAM3_LIBTORCH=${libtorch} (include/torch/script.h is missing)`);
}

const cmakeJs = join(
  dirname(createRequire(join(root, "package.json")).resolve("cmake-js/package.json")),
  "bin",
  "cmake-js",
);
const out = sanitize ? join("build", "sanitize") : "build";

// A cache of another checkout or another libtorch is configured anew.
function cached(name) {
  const file = join(root, out, "CMakeCache.txt");
  if (!existsSync(file)) return undefined;
  return new RegExp(`^${name}:[A-Z]+=(.*)$`, "m").exec(readFileSync(file, "utf8"))?.[1];
}
const expected = {
  CMAKE_HOME_DIRECTORY: root,
  SAM3_LIBTORCH: libtorch,
  SAM3_CORE_TESTS: withTests ? "ON" : "OFF",
  SAM3_SANITIZE: sanitize,
};
if ((cached("CMAKE_HOME_DIRECTORY") ?? root) !== root) {
  rmSync(join(root, out, "CMakeCache.txt"), { force: true });
  rmSync(join(root, out, "CMakeFiles"), { force: true, recursive: true });
}
// One compiler of torch's headers takes up to about 1 GB.
const jobs =
  Number(process.env.SAM3_BUILD_JOBS) ||
  Math.max(1, Math.min(availableParallelism(), Math.floor(freemem() / 2 ** 30)));
const common = ["--out", out, "--parallel", String(jobs), "--log-level", "warn"];
if (Object.entries(expected).some(([name, value]) => cached(name) !== value)) {
  run(process.execPath, [
    cmakeJs,
    "configure",
    ...common,
    `--CDSAM3_LIBTORCH=${libtorch}`,
    `--CDSAM3_CORE_TESTS=${expected.SAM3_CORE_TESTS}`,
    `--CDSAM3_SANITIZE=${sanitize}`,
  ]);
}
// A sanitizer's addon could not be loaded into a Node without it.
run(process.execPath, [cmakeJs, "build", ...common, ...(sanitize ? ["--target", "core_tests"] : [])]);

if (fixtures !== undefined) {
  const binary = join(root, out, "tests", process.platform === "win32" ? "core_tests.exe" : "core_tests");
  const lib = join(libtorch, "lib");
  const variable = { win32: "PATH", darwin: "DYLD_LIBRARY_PATH" }[process.platform] ?? "LD_LIBRARY_PATH";
  run(binary, [fixtures], {
    [variable]: [lib, process.env[variable]].filter(Boolean).join(delimiter),
    GOMP_SPINCOUNT: "20000", // as the loader does
    ...(sanitize && {
      // A lack of memory is tested by asking for more than there is.
      ASAN_OPTIONS:
        "allocator_may_return_null=1:detect_stack_use_after_return=1:check_initialization_order=1",
      UBSAN_OPTIONS: "halt_on_error=1:print_stacktrace=1",
    }),
  });
}
