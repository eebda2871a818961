import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

/** Runs a scenario in a process of its own, with the built package; one that hangs is ended by the test's timeout. */
async function scenario(name: string, flags: readonly string[] = []) {
  const script = fileURLToPath(new URL("./lifetime-scenario.mjs", import.meta.url));
  const child = spawn(process.execPath, [...flags, script, name], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (chunk: string) => {
      output += chunk;
    });
  }
  return new Promise<{ code: number | null; signal: string | null; output: string }>((done) =>
    child.once("close", (code, signal) => done({ code, signal, output })),
  );
}

const TIMEOUT = 120_000;

describe("a process ends cleanly", () => {
  it(
    "by process.exit() in the middle of work",
    async () => {
      expect(await scenario("exit")).toEqual({ code: 3, signal: null, output: "" });
    },
    TIMEOUT,
  );

  it(
    "by a rejection that nobody handles",
    async () => {
      const { code, signal, output } = await scenario("reject");
      expect({ code, signal }).toEqual({ code: 1, signal: null });
      expect(output).toContain("IMAGE_NOT_FOUND");
    },
    TIMEOUT,
  );

  it(
    "by itself, with nothing closed",
    async () => {
      expect(await scenario("end")).toEqual({ code: 0, signal: null, output: "12\n" });
    },
    TIMEOUT,
  );

  it(
    "by process.exit() while workers work",
    async () => {
      expect(await scenario("exit-with-workers")).toEqual({ code: 5, signal: null, output: "" });
    },
    TIMEOUT,
  );
});

describe("a model", () => {
  it(
    "that is closed in the middle of work answers or refuses every call",
    async () => {
      expect(await scenario("close")).toEqual({ code: 0, signal: null, output: "12 true true\n" });
    },
    TIMEOUT,
  );

  it(
    "that is dropped is freed by the collector, with a line in the log",
    async () => {
      expect(await scenario("drop", ["--expose-gc"])).toEqual({ code: 0, signal: null, output: "freed\n" });
    },
    TIMEOUT,
  );

  it(
    "works beside another one, with the same results",
    async () => {
      expect(await scenario("two")).toEqual({ code: 0, signal: null, output: "12 12 true\ntrue\n" });
    },
    TIMEOUT,
  );

  it(
    "works in several worker threads and beside one that is terminated",
    async () => {
      expect(await scenario("workers")).toEqual({ code: 0, signal: null, output: "12 12 12\n" });
    },
    TIMEOUT,
  );
});
