// npm run demo: all set-up that running needs, then a picture segmented by words.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { prepareToRun } from "./lib/prepare.mjs";
import { ROOT } from "./lib/steps.mjs";

const TEXTS = ["red circle", "yellow star", "square", "ring"];
const picture = join("examples", "shapes.png");
const overlay = join("examples", "shapes.overlay.png");

try {
  const { libtorch } = await prepareToRun();
  const args = [picture, ...TEXTS.flatMap((text) => ["--text", text]), "--out", overlay];
  console.log(`\n$ sam3 segment ${args.map((arg) => (arg.includes(" ") ? `"${arg}"` : arg)).join(" ")}`);
  const { status } = spawnSync(
    process.execPath,
    [join("dist", "cli.js"), "segment", ...args, "--model", model()],
    {
      cwd: ROOT,
      stdio: "inherit",
      env: { ...process.env, SAM3_LIBTORCH: libtorch },
    },
  );
  process.exitCode = status ?? 1;
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}

function model() {
  return process.env.SAM3_MODEL || "mini";
}
