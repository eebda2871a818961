import { inspect } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { Gauge, Registry } from "prom-client";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { loadEngine } from "../../lib/load-engine.js";
import { Histogram } from "../../lib/metrics/histogram.js";
import { Meter } from "../../lib/metrics/meter.js";
import { PrometheusExport } from "../../lib/metrics/prometheus.js";
import { Sam3 } from "../../lib/sam3.js";
import { fakeAddon } from "./fake-addon.js";
import { fakeBundle, quietLogger } from "./open-engine.js";

const picture = { data: new Uint8Array(40 * 20 * 3), width: 40, height: 20, channels: 3 } as const;
let folder: string;
beforeAll(async () => {
  folder = await fakeBundle();
});

async function open() {
  const { addon, state } = fakeAddon();
  const { logger } = quietLogger();
  return { sam: Sam3.over(await loadEngine({ model: folder, logger }, {}, () => addon)), state };
}

describe("a histogram", () => {
  it("counts like a sorted list does, to within its buckets", () => {
    const bounds = [1, 2, 5, 10, 20, 50, 100];
    fc.assert(
      fc.property(fc.array(fc.float({ min: 0, max: 100, noNaN: true }), { minLength: 1 }), (values) => {
        const histogram = new Histogram(bounds);
        for (const value of values) histogram.add(value);
        const { count, sum, p50, p99, buckets } = histogram.snapshot();
        expect(count).toBe(values.length);
        expect(sum).toBeCloseTo(values.reduce((total, value) => total + value, 0));
        for (const [bound, below] of buckets) expect(below).toBe(values.filter((it) => it <= bound).length);
        const sorted = [...values].sort((a, b) => a - b);
        for (const [share, got] of [
          [0.5, p50],
          [0.99, p99],
        ] as const) {
          const exact = sorted[Math.max(0, Math.ceil(share * count) - 1)] as number;
          const to = bounds.find((bound) => exact <= bound) as number;
          const from = bounds[bounds.indexOf(to) - 1] ?? 0;
          expect(got).toBeGreaterThanOrEqual(from);
          expect(got).toBeLessThanOrEqual(to);
        }
      }),
    );
  });

  it("is empty at first, and counts what is above its last bound", () => {
    expect(new Histogram([1]).snapshot()).toEqual({ count: 0, sum: 0, p50: 0, p99: 0, buckets: [[1, 0]] });
    const histogram = new Histogram([1]);
    histogram.add(7);
    expect(histogram.snapshot()).toEqual({ count: 1, sum: 7, p50: 7, p99: 7, buckets: [[1, 0]] });
  });
});

describe("sam.stats()", () => {
  it("tells of calls, queues, batches, cache and memory", async () => {
    const { sam } = await open();
    await sam.image.segmentConcept(picture, { text: ["cat", "dog"] });
    await sam.image.segmentConcept(picture, { text: "cat" });
    await sam.image.segmentConcept(picture, { text: "" }).catch(() => {});
    const stats = sam.stats();
    expect(stats.calls.segmentConcept).toEqual({
      inFlight: 0,
      ok: 2,
      aborted: 0,
      failed: { INVALID_PROMPT: 1 },
    });
    expect(stats.replicas).toMatchObject([
      {
        name: "cpu",
        device: "cpu",
        state: "ready",
        running: 0,
        queued: { encodeImages: 0, encodeTexts: 0, segmentConcepts: 0, segmentObjects: 0 },
        modelBytes: 1000,
        memory: { totalBytes: 64 * 2 ** 30 },
      },
    ]);
    expect(stats.cache).toMatchObject({ enabled: true, hits: 1, misses: 1, textHits: 1, textMisses: 2 });
    expect(stats.callMs.segmentConcept?.count).toBe(3);
    expect(stats.workMs.encodeImages).toMatchObject({ count: 1, sum: 7 });
    expect(stats.batchItems.segmentConcepts).toMatchObject({ count: 2, sum: 3 });
    expect(stats.waitMs.segmentConcepts?.count).toBe(3);
    expect(JSON.parse(JSON.stringify(stats))).toMatchObject({ picturesWaiting: 0 });
    await sam.close();
    expect(sam.stats().replicas[0]).toMatchObject({ state: "closed", memory: null });
  });

  it("and of the cache alone, which can be cleared", async () => {
    const { sam, state } = await open();
    await sam.image.segmentConcept(picture, { text: "cat" });
    expect(inspect(sam.cache)).toBe("CacheControl { 2 entries, 0.0 of 4096.0 MiB, 0 hits, 1 misses }");
    expect(sam.cache.entries()).toMatchObject([
      { kind: "text", bytes: 64, pins: 0 },
      { kind: "picture", tier: "device", bytes: 4096, pins: 0 },
    ]);
    sam.cache.clear();
    expect([sam.cache.stats().entries, state.liveFeatures, state.liveTexts]).toEqual([0, 0, 0]);
  });
});

describe("sam.metrics()", () => {
  it("is Prometheus' text", async () => {
    const { sam } = await open();
    expect(await sam.metrics()).toContain("# TYPE sam3_calls_total counter");
    await sam.image.segmentConcept(picture, { text: "cat" });
    await sam.image.segmentConcept(picture, { text: "" }).catch(() => {});
    const text = await sam.metrics();
    for (const line of [
      'sam3_calls_total{operation="segmentConcept",outcome="ok"} 1',
      'sam3_calls_total{operation="segmentConcept",outcome="INVALID_PROMPT"} 1',
      'sam3_replica_up{replica="cpu",state="ready"} 1',
      'sam3_queue_items{replica="cpu",stage="encodeImages"} 0',
      'sam3_device_memory_bytes{replica="cpu",kind="total"} 68719476736',
      'sam3_cache_requests_total{kind="picture",outcome="miss"} 1',
      'sam3_cache_bytes{tier="device"} 4160',
      'sam3_call_seconds_count{operation="segmentConcept"} 2',
      'sam3_stage_seconds_bucket{le="0.01",stage="encodeImages"} 1',
      'sam3_batch_items_bucket{le="1",stage="segmentConcepts"} 1',
    ]) {
      expect(text).toContain(`${line}\n`);
    }
    // Read again, nothing is counted twice.
    expect(await sam.metrics()).toContain('outcome="ok"} 1\n');
  });

  it("takes a registry, one Sam3 each prefix", async () => {
    const [one, two] = [await open(), await open()];
    const registry = new Registry();
    await one.sam.metrics({ registry });
    await expect(two.sam.metrics({ registry })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("prefix"),
    });
    const text = await two.sam.metrics({ registry, prefix: "second_" });
    expect(text).toContain("sam3_replica_up");
    expect(text).toContain("second_replica_up");
    expect(await registry.metrics()).toContain("second_calls_in_flight");
    for (const options of [{ registry: {} }, { prefix: "1" }, { prefix: 3 }]) {
      await expect(one.sam.metrics(options as never)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }
  });

  it("makes room for the next load as it is closed, and leaves what is not its own", async () => {
    const registry = new Registry();
    const own = new Gauge({ name: "sam3_of_somebody_else", help: "mine", registers: [registry] });
    for (let load = 0; load < 3; load++) {
      const { sam } = await open();
      await sam.metrics({ registry, prefix: "sam3_" });
      await sam.image.segmentConcept(picture, { text: "cat" });
      expect(await sam.metrics({ registry })).toContain(
        'sam3_call_seconds_count{operation="segmentConcept"} 1\n',
      );
      await sam.close();
      await sam.close();
      expect(await registry.getMetricsAsArray()).toEqual([own]);
      // A route that still asks is told what else there is, and takes no name from the next one.
      expect(await sam.metrics({ registry })).toContain("sam3_of_somebody_else");
      expect(await sam.metrics()).not.toContain("sam3_calls_total");
      expect(registry.getMetricsAsArray()).toEqual([own]);
    }
  });

  it("takes nothing from another Sam3 that has its names since the registry was emptied", async () => {
    const [one, two] = [await open(), await open()];
    const registry = new Registry();
    await one.sam.metrics({ registry });
    registry.clear();
    await two.sam.metrics({ registry });
    await one.sam.close();
    expect(await two.sam.metrics({ registry })).toContain("sam3_replica_up");
    await two.sam.close();
    expect(registry.getMetricsAsArray()).toEqual([]);
  });

  it("registers all of it or nothing", async () => {
    const { sam } = await open();
    const registry = new Registry();
    const other = new Gauge({ name: "sam3_batch_items", help: "mine", registers: [registry] });
    await expect(sam.metrics({ registry })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining('"sam3_batch_items"'),
    });
    expect(registry.getMetricsAsArray()).toEqual([other]);
  });

  it("holds no model that was dropped, and gives its names back", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const registry = new Registry();
    const drop = async () => {
      const { sam, state } = await open();
      await sam.image.segmentConcept(picture, { text: "cat" });
      await sam.metrics();
      await sam.metrics({ registry });
      return state;
    };
    const state = await drop();
    expect(registry.getMetricsAsArray()).not.toEqual([]);
    await vi.waitFor(
      () => {
        collect();
        expect([state.closed, state.liveFeatures, state.liveTexts]).toEqual([1, 0, 0]);
        expect(registry.getMetricsAsArray()).toEqual([]);
      },
      { timeout: 5000, interval: 20 },
    );
    const { sam } = await open();
    expect(await sam.metrics({ registry })).toContain("sam3_replica_up");
  });

  it("says what to install where prom-client is missing", async () => {
    const { sam } = await open();
    const broken = new PrometheusExport(new Meter(), sam, () =>
      Promise.reject(new Error("Cannot find package 'prom-client'")),
    );
    await expect(broken.text()).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining("npm install prom-client"),
    });
  });
});
