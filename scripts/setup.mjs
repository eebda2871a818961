// npm run setup: everything that running needs; with --test everything that the tests need too.
import { prepareToRun, prepareToTest } from "./lib/prepare.mjs";

try {
  const { libtorch } = await (process.argv.includes("--test") ? prepareToTest() : prepareToRun());
  console.log(`ready; libtorch is in ${libtorch}`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
