import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // One file at a time: the model takes every core there is, and some tests measure time.
    fileParallelism: false,
    // The addon lives in a process of its own per file, as in a program.
    pool: "forks",
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
