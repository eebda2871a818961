import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { ROOT, run, step } from "./steps.mjs";

const NODE = process.execPath;
const NPM = process.platform === "win32" ? "npm.cmd" : "npm";

/** Everything that running needs: npm packages, TypeScript, libtorch, the addon. Does only what is not done yet. */
export async function prepareToRun() {
  checkNode();
  await npmPackages();
  await typeScript();
  const libtorch = await installLibtorch();
  await addon(libtorch);
  return { libtorch };
}

/** Everything that the tests need on top: a Python environment and the small models the tests run on. */
export async function prepareToTest() {
  const prepared = await prepareToRun();
  await pythonEnvironment();
  await fixtures();
  return prepared;
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new Error(`Node 20.19 or newer is needed, this is ${process.versions.node}`);
  }
}

function npmPackages() {
  return step({
    name: "npm packages",
    inputs: ["package-lock.json"],
    outputs: ["node_modules/.package-lock.json"],
    // Not `npm ci`: it refuses a lock file that lacks the optional packages of other platforms, and a mirror of the
    // registry need not carry those. The versions in the lock file hold either way, and it is not changed.
    // Without install scripts: no package here needs its own, and node-av's would download a second FFmpeg.
    work: () =>
      run(NPM, ["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"], { log: "npm" }),
  });
}

export function typeScript() {
  return step({
    name: "TypeScript build",
    inputs: ["lib", "tsup.config.ts", "tsconfig.json", "package.json"],
    outputs: ["dist/cli.js", "dist/index.js", "dist/index.cjs", "dist/index.d.ts"],
    work: async () => {
      await rm(join(ROOT, "dist"), { recursive: true, force: true });
      await run(NODE, [join("node_modules", "tsup", "dist", "cli-default.js")], { log: "tsup" });
    },
  });
}

/** Installs libtorch as a user would, through the CLI, and returns its folder. `SAM3_LIBTORCH` is taken as it is. */
async function installLibtorch() {
  if (process.env.SAM3_LIBTORCH) {
    console.log(`libtorch: ${process.env.SAM3_LIBTORCH} (from SAM3_LIBTORCH)`);
    return process.env.SAM3_LIBTORCH;
  }
  const cli = join(ROOT, "dist", "cli.js");
  await run(NODE, [cli, "libtorch", "install"], { log: "libtorch", show: "inherit" });
  return execFileSync(NODE, [cli, "libtorch", "where"], { encoding: "utf8" }).trim().split("\n")[0];
}

async function addon(libtorch) {
  await ensureCmake();
  return step({
    name: "addon (C++, a few minutes the first time)",
    inputs: ["native", "CMakeLists.txt", "binding.gyp", "scripts/build-native.mjs"],
    extra: libtorch,
    outputs: ["build/Release/sam3-node.node", "build/Release/loader/loader.node"],
    work: () => {
      checkCompiler();
      // Whoever only wants to run it need not wait for the native tests; once built, they are kept up to date.
      const args = existsSync(join(ROOT, "build", "tests")) ? [] : ["--no-tests"];
      const env = { SAM3_LIBTORCH: libtorch };
      return run(NODE, [join("scripts", "build-native.mjs"), ...args], { log: "addon", env });
    },
  });
}

/** Path of the Python that the tests use. */
export const PYTHON = join(ROOT, ".venv", process.platform === "win32" ? "Scripts/python.exe" : "bin/python");

/** Packages that only tests import, by PYTHONPATH. */
export const REFERENCE = join(ROOT, ".venv", "reference");

function pythonEnvironment() {
  const requirements = ["scripts/export/requirements.txt", "test/requirements.txt"];
  const alone = "test/requirements-no-deps.txt";
  return step({
    name: "Python environment for the tests",
    inputs: [...requirements, alone],
    outputs: [".venv/pyvenv.cfg"],
    work: async () => {
      if (!existsSync(PYTHON)) await makeEnvironment(join(ROOT, ".venv"));
      const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"];
      // torch first and alone, in the spelling that lets pip take a CPU build where its index has one.
      await run(PYTHON, [...pip, "torch==2.13.0"], { log: "pip-torch" });
      await run(PYTHON, [...pip, ...requirements.flatMap((file) => ["-r", file])], { log: "pip" });
      // In a folder of its own: beside a CPU build of torch it cannot be imported without help (test/export has it).
      await run(PYTHON, [...pip, "--no-deps", "--target", REFERENCE, "--upgrade", "-r", alone], {
        log: "pip-reference",
      });
    },
  });
}

function fixtures() {
  return step({
    name: "small random models for the tests",
    inputs: ["scripts/export"],
    outputs: [".cache/fixtures/0/bundle/manifest.json"],
    work: async () => {
      await mkdir(join(ROOT, ".cache"), { recursive: true });
      await run(PYTHON, [join("scripts", "export", "tiny.py"), "--out", join(".cache", "fixtures")], {
        log: "fixtures",
      });
    },
  });
}

/** A Python with pip; `venv` tells whether it can make environments by itself (Debian's needs python3-venv for that). */
function basePython() {
  const probe =
    "import sys, importlib.util as u; print(int(u.find_spec('ensurepip') is not None)); sys.exit(sys.version_info < (3, 10) or u.find_spec('pip') is None)";
  for (const command of process.env.SAM3_PYTHON ? [process.env.SAM3_PYTHON] : ["python3", "python"]) {
    try {
      const options = { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] };
      return { command, venv: execFileSync(command, ["-c", probe], options).trim() === "1" };
    } catch {
      // The next one.
    }
  }
  throw new Error(
    "Python 3.10 or newer with pip is needed (Debian, Ubuntu: apt install python3 python3-pip)",
  );
}

async function makeEnvironment(folder) {
  const { command, venv } = basePython();
  if (venv) return run(command, ["-m", "venv", folder], { log: "venv" });
  await pipTools(command, ["virtualenv==21.15.8"]);
  return run(command, ["-m", "virtualenv", folder], { log: "venv", env: { PYTHONPATH: TOOLS } });
}

const TOOLS = join(ROOT, ".cache", "tools");

/** Tools that come as Python packages, in a folder of their own. */
function pipTools(python, packages) {
  const args = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"];
  return run(python, [...args, "--target", TOOLS, "--upgrade", ...packages], { log: "pip-tools" });
}

function checkCompiler() {
  for (const command of [process.env.CXX, "c++", "g++", "clang++"].filter(Boolean)) {
    if (spawnSync(command, ["--version"], { stdio: "ignore" }).status === 0) return;
  }
  throw new Error("a C++ compiler is needed (Debian, Ubuntu: apt install g++)");
}

/** Puts CMake on the search path of what runs from here on: the system's, else one from pip, with ninja. */
async function ensureCmake() {
  try {
    execFileSync("cmake", ["--version"], { stdio: "ignore" });
    return;
  } catch {
    // pip has it.
  }
  const cmake = join(TOOLS, "cmake", "data", "bin");
  if (!existsSync(cmake)) {
    console.log("CMake is not installed: taking it from pip …");
    await pipTools(basePython().command, ["cmake==3.31.10", "ninja==1.13.0"]);
  }
  process.env.PATH = [cmake, join(TOOLS, "bin"), process.env.PATH].join(delimiter);
}
