// Folders of the npm packages that a machine needs to build and run the addon, one per line, relative to the root.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Headers that the addon is compiled with; cmake-js depends on the second. */
const HEADERS = ["node_modules/node-addon-api", "node_modules/node-api-headers"];

const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8"));
const found = new Set();

/** Adds what `name` means in the folder `from`, and everything it depends on; optional packages only where installed. */
function add(name, from) {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf("/node_modules/")))) {
    const folder = at === "" ? join("node_modules", name) : join(at, "node_modules", name);
    if (packages[folder] && existsSync(folder)) {
      if (found.has(folder)) return;
      found.add(folder);
      const { dependencies, optionalDependencies } = packages[folder];
      for (const needed of Object.keys({ ...dependencies, ...optionalDependencies })) add(needed, folder);
      return;
    }
    if (at === "") return;
  }
}

for (const name of Object.keys(packages[""].dependencies)) add(name, "");
for (const folder of [...found, ...HEADERS]) {
  // A folder inside another one is copied with it.
  if (![...found].some((other) => folder.startsWith(`${other}/`))) console.log(folder);
}
