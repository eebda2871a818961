// npm run prebuild: prebuilds/<platform>-<arch>/ with the addon, its loader and what they were built for.
import { copyFile, cp, mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { prepareToRun } from "./lib/prepare.mjs";
import { ROOT, run } from "./lib/steps.mjs";

const RELEASE = join(ROOT, "build", "Release");
const ARTIFACTS = join(ROOT, ".cache", "artifacts");
const PREBUILDS = join(ROOT, "prebuilds");

/** Makes the prebuilt addon anew and returns its folder. */
export async function prebuild(libtorch) {
  await rm(PREBUILDS, { recursive: true, force: true });
  await rm(ARTIFACTS, { recursive: true, force: true });
  await mkdir(ARTIFACTS, { recursive: true });
  // prebuildify knows of one file; the loader and its note travel as artifacts.
  await cp(join(RELEASE, "loader"), join(ARTIFACTS, "loader"), { recursive: true });
  const prebuildify = join("node_modules", "prebuildify", "bin.js");
  await run(
    process.execPath,
    [prebuildify, "--napi", "--strip", "--tag-libc", "--name=sam3-node", ...more()],
    {
      log: "prebuildify",
      env: {
        SAM3_LIBTORCH: libtorch,
        PREBUILD_NODE_GYP: fileURLToPath(new URL("lib/node-gyp.mjs", import.meta.url)),
      },
    },
  );
  const folder = join(PREBUILDS, `${process.platform}-${process.arch}`);
  const addon = (await readdir(folder)).find((name) => name.endsWith(".node"));
  // It was moved there; the checkout goes on using its own.
  await copyFile(join(folder, addon), join(RELEASE, "sam3-node.node"));
  await run("strip", ["--strip-all", join(folder, "loader", "loader.node")], { log: "strip" });
  return folder;
}

function more() {
  return [`--target=node@${process.versions.node}`, `--artifacts=${ARTIFACTS}`];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    const { libtorch } = await prepareToRun();
    const folder = await prebuild(libtorch);
    for (const name of await readdir(folder, { recursive: true })) console.log(join(folder, name));
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
