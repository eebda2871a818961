#!/usr/bin/env node
// Stands in for node-gyp when prebuildify calls it: the build is CMake's, and it needs neither a clean folder nor
// headers from the network, as `node-gyp rebuild` would. binding.gyp does the same for node-gyp itself.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const build = fileURLToPath(new URL("../build-native.mjs", import.meta.url));
const args = existsSync(new URL("../../build/tests", import.meta.url)) ? [] : ["--no-tests"];
const { status } = spawnSync(process.execPath, [build, ...args], { stdio: "inherit" });
process.exitCode = status ?? 1;
