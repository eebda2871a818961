import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { loadAddon } from "../../lib/native/load.js";
import { encodeOne, noise, openTiny, scenario, tinyBundle, withTokens } from "./support.js";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

describe("a process ends cleanly", () => {
  it("by process.exit() in the middle of work", async () => {
    expect(await scenario("exit")).toEqual({ code: 3, signal: null, output: "" });
  });

  it("by an uncaught error in the middle of work", async () => {
    const { code, signal, output } = await scenario("throw");
    expect({ code, signal }).toEqual({ code: 1, signal: null });
    expect(output).toContain("nobody catches this");
  });

  it("by itself, after all calls are answered and without anything closed", async () => {
    expect(await scenario("end")).toEqual({ code: 0, signal: null, output: "20\n" });
  });

  it("by process.exit() while workers are busy", async () => {
    expect(await scenario("exit-with-workers")).toEqual({ code: 5, signal: null, output: "" });
  });
});

describe("worker threads", () => {
  it("use the addon side by side, come and go", async () => {
    expect(await scenario("workers")).toEqual({ code: 0, signal: null, output: "20 20\n0 0\n20 20\n0 0\n" });
  });

  it("can be terminated in the middle of work; the main thread works on", async () => {
    expect(await scenario("terminate")).toEqual({ code: 0, signal: null, output: "true\n" });
  });

  it("can be ended while calls are being answered", async () => {
    expect(await scenario("end-answering")).toEqual({ code: 7, signal: null, output: "" });
  });
});

describe("memory", () => {
  it("of dropped handles is freed by the collector", async () => {
    expect(await scenario("drop", ["--expose-gc"])).toEqual({ code: 0, signal: null, output: "freed\n" });
  });

  it("comes back after every one of 20 loads", async () => {
    const addon = loadAddon();
    const once = async () => {
      const replica = await openTiny(addon);
      const features = await encodeOne(addon, replica, noise(320, 240));
      features.dispose();
      expect(replica.stats().featureBytes).toBe(0);
      await replica.close();
      expect(replica.stats().modelBytes).toBe(0);
    };
    const settled = async () => {
      for (let i = 0; i < 3; i++) {
        collect();
        await new Promise((done) => setTimeout(done, 20));
      }
      return process.memoryUsage.rss();
    };
    for (let i = 0; i < 8; i++) await once();
    const before = await settled();
    for (let i = 0; i < 20; i++) await once();
    // A model is 3 MB here and its graphs about as much again: 20 kept ones would be over 100 MB.
    expect((await settled()) - before).toBeLessThan(40 * 2 ** 20);
  });

  it("of handles nobody disposes of weighs on the collector, which frees them by itself", async () => {
    const addon = loadAddon();
    const replica = await openTiny(addon, 1);
    const picture = noise(8, 8);
    let total = 0;
    let most = 0;
    for (let i = 0; i < 340; i++) {
      total += (await encodeOne(addon, replica, picture)).bytes;
      most = Math.max(most, replica.stats().featureBytes);
    }
    // V8 collects when 64 MB of outside memory were reported to it.
    expect(total).toBeGreaterThan(95 * 2 ** 20);
    expect(most).toBeLessThan(85 * 2 ** 20);
    await replica.close();
  }, 180_000);
});

describe("the event loop", () => {
  it("is idle while pictures are encoded and while a bundle is loaded", async () => {
    const addon = loadAddon();
    const replica = await openTiny(addon);
    const second = new addon.Replica({ device: "cpu", threads: 1 });
    const picture = noise(1920, 1080);
    const start = performance.eventLoopUtilization();
    const calls: Promise<unknown>[] = [second.load(tinyBundle(1), new addon.CancelToken(), () => {})];
    for (let i = 0; i < 5; i++) {
      const items = withTokens(addon, Array(4).fill({ pixels: picture }));
      calls.push(replica.encodeImages(items, { atOnce: 4 }));
    }
    await Promise.all(calls);
    const { utilization } = performance.eventLoopUtilization(start);
    await Promise.all([replica.close(), second.close()]);
    // Work on this thread would make it 1. Its own share, on a machine with more to do than processors, stays far below.
    expect(utilization).toBeLessThan(0.3);
  });
});
