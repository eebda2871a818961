import { defineConfig } from "tsup";

// dist/ is emptied by the scripts that build: `clean` here would race between the two builds.
export default defineConfig([
  {
    entry: { index: "lib/index.ts" },
    format: ["esm", "cjs"],
    // tsup sets baseUrl, which TypeScript 6 frowns on.
    dts: { compilerOptions: { ignoreDeprecations: "6.0" } },
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
