import { spawnSync } from "node:child_process";
import { expect, it } from "vitest";

it("the tables in the docs are those of the code (npm run docs:tables writes them)", () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["scripts/doc-tables.mjs", "--check"], {
    encoding: "utf8",
  });
  expect(stderr + stdout).toMatch(/settings is up to date/);
  expect(stderr).toBe("");
  expect(status).toBe(0);
});
