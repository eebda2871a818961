// npm test: all set-up, then every test; the last line sums up all runners.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { PYTHON, prepareToTest, REFERENCE } from "./lib/prepare.mjs";
import { ROOT, run } from "./lib/steps.mjs";

const NODE = process.execPath;
const REPORTS = join(".cache", "reports");
const total = { passed: 0, failed: 0, skipped: 0 };

/** Runs one runner, shows its output and adds its count. A runner that dies counts as one failure. */
async function suite(name, work) {
  const started = Date.now();
  console.log(`\n=== ${name}`);
  let count;
  try {
    count = await work();
  } catch (error) {
    console.error(error.message);
    count = { passed: 0, failed: 1, skipped: 0 };
  }
  for (const key of Object.keys(total)) total[key] += count[key] ?? 0;
  const { passed, failed, skipped = 0 } = count;
  const seconds = ((Date.now() - started) / 1000).toFixed(0);
  console.log(
    `--- ${name}: ${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ""} (${seconds} s)`,
  );
}

/** A check that passes or fails as a whole. */
async function check(command, args, log) {
  const { code } = await run(command, args, { log, show: true, quiet: true });
  return { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1 };
}

const bin = (name) => join("node_modules", ...name.split("/"));

async function vitest() {
  const report = join(ROOT, REPORTS, "vitest.json");
  await rm(report, { force: true });
  const args = ["run", "--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  const { code } = await run(NODE, [bin("vitest/vitest.mjs"), ...args], {
    log: "vitest",
    show: true,
    quiet: true,
  });
  if (!existsSync(report)) throw new Error(`vitest ended with ${code} and left no report`);
  const result = JSON.parse(await readFile(report, "utf8"));
  const { numPassedTests, numFailedTests, numPendingTests, numTodoTests } = result;
  // A file that cannot be loaded, or whose preparation failed, has no failed test in it.
  const broken = result.testResults.filter(
    (it) => it.status === "failed" && !it.assertionResults.some(({ status }) => status === "failed"),
  ).length;
  const failed = numFailedTests + broken;
  return {
    passed: numPassedTests,
    failed: code !== 0 && failed === 0 ? 1 : failed,
    skipped: numPendingTests + numTodoTests,
  };
}

async function pytest(folders, log) {
  const report = join(ROOT, REPORTS, `${log}.xml`);
  await rm(report, { force: true });
  const args = ["-m", "pytest", "-q", `--junitxml=${report}`, ...folders];
  const { code } = await run(PYTHON, args, { log, show: true, quiet: true, env: { PYTHONPATH: REFERENCE } });
  if (!existsSync(report)) throw new Error(`pytest ended with ${code} and left no report`);
  const xml = await readFile(report, "utf8");
  const number = (key) => Number(new RegExp(`<testsuite [^>]*\\b${key}="(\\d+)"`).exec(xml)?.[1] ?? 0);
  const skipped = number("skipped");
  const failed = number("failures") + number("errors");
  return {
    passed: number("tests") - failed - skipped,
    failed: code !== 0 && failed === 0 ? 1 : failed,
    skipped,
  };
}

/** The C++ tests print `N passed, N failed` at their end. */
async function core(libtorch) {
  const args = [join("scripts", "build-native.mjs"), "--run-tests", join(".cache", "fixtures")];
  const { code, tail } = await run(NODE, args, {
    log: "core-tests",
    show: true,
    quiet: true,
    env: { SAM3_LIBTORCH: libtorch },
  });
  const found = [...tail.matchAll(/(\d+) passed, (\d+) failed(?:, (\d+) skipped)?/g)].at(-1);
  if (found === undefined) return { passed: 0, failed: 1 };
  const [passed, failed, skipped] = found.slice(1).map((it) => Number(it ?? 0));
  return { passed, failed: code !== 0 && failed === 0 ? 1 : failed, skipped };
}

function pythonTests() {
  return ["test/export", "test/mini"].filter(
    (path) =>
      existsSync(join(ROOT, path)) &&
      readdirSync(join(ROOT, path)).some((name) => /^test_.*\.py$/.test(name)),
  );
}

const started = Date.now();
try {
  const { libtorch } = await prepareToTest();
  process.env.SAM3_LIBTORCH = libtorch;
  await mkdir(join(ROOT, REPORTS), { recursive: true });
  await suite("lint", () => check(NODE, [bin("@biomejs/biome/bin/biome"), "check", "."], "lint"));
  await suite("types", () => check(NODE, [bin("typescript/bin/tsc"), "--noEmit"], "types"));
  await suite("unused code", () => check(NODE, [bin("knip/bin/knip.js")], "knip"));
  await suite("native core", () => core(libtorch));
  await suite("vitest", vitest);
  const folders = pythonTests();
  if (folders.length > 0) await suite("pytest", () => pytest(folders, "pytest"));
  if (!hasGpu()) console.log("\nnot run: no GPU");
} catch (error) {
  console.error(error.message);
  total.failed++;
}
console.log(`\nall of it took ${((Date.now() - started) / 60_000).toFixed(1)} minutes`);
const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : "";
console.log(`${total.passed} passed, ${total.failed} failed${skipped}`);
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;

function hasGpu() {
  if (existsSync("/proc/driver/nvidia/gpus") && readdirSync("/proc/driver/nvidia/gpus").length > 0)
    return true;
  return spawnSync("nvidia-smi", ["-L"], { stdio: "ignore" }).status === 0;
}
