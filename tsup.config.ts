import { defineConfig } from "tsup";

// dist/ is emptied by the scripts that build: `clean` here would race between the two builds.
export default defineConfig([
  {
    entry: { index: "lib/index.ts" },
    format: ["esm", "cjs"],
    dts: true,
    target: "node20",
    shims: true,
    sourcemap: true,
  },
  {
    entry: { cli: "lib/cli/main.ts" },
    format: ["esm"],
    target: "node20",
    banner: { js: "#!/usr/bin/env node" },
    sourcemap: true,
  },
]);
