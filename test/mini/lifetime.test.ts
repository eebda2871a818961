import { describe, expect, it } from "vitest";
import { runScenario } from "../lifetime/run-scenario.js";

/** Scenarios with the built package. */
const scenario = (name: string, flags: readonly string[] = []) =>
  runScenario(new URL("./lifetime-scenario.mjs", import.meta.url), name, { flags });

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

  it.each(["drop", "drop-measured"])(
    "that is dropped gives its memory back when it is collected, with a line in the log (%s)",
    async (name) => {
      expect(await scenario(name, ["--expose-gc"])).toEqual({ code: 0, signal: null, output: "freed\n" });
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
