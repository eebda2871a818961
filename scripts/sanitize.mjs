// npm run test:sanitize: the native tests under AddressSanitizer (with its leak check) and UndefinedBehaviorSanitizer.
// Our code is instrumented, libtorch is not. Takes several minutes, most of them compiling.
import { join } from "node:path";
import { prepareToTest } from "./lib/prepare.mjs";
import { run } from "./lib/steps.mjs";

const { libtorch } = await prepareToTest();
const args = [join("scripts", "build-native.mjs"), "--run-tests", join(".cache", "fixtures")];
const env = { SAM3_LIBTORCH: libtorch, SAM3_SANITIZE: "address,undefined" };
const { code } = await run(process.execPath, args, { log: "sanitize", show: true, quiet: true, env });
console.log(code === 0 ? "clean" : "not clean");
process.exitCode = code === 0 ? 0 : 1;
