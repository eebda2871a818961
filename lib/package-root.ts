import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Sam3Error } from "./errors.js";

/** Folder of this installed package, found by walking up from this file, whether bundled or not. */
export function packageRoot(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    try {
      const found = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { name?: unknown };
      if (found.name === "sam3-node") return folder;
    } catch {
      // No package.json here: go on upwards.
    }
    if (dirname(folder) === folder) {
      throw new Sam3Error("INTERNAL", "The package's own folder was not found; was a file moved out of it?");
    }
  }
}
