import fc from "fast-check";
import { expect, it } from "vitest";
import type { LoadOptions } from "../../lib/options.js";
import { type FakeAsked, fakeDevice, nativeError } from "./fake-addon.js";
import { CLICK, callOf, concept, openEngine, picture } from "./open-engine.js";

const FEATURE_BYTES = 700_000;
const DEVICES = [fakeDevice("cpu"), fakeDevice("cuda:0"), fakeDevice("cuda:1")];

/** One caller: what it asks, when it gives up, and what befalls it. */
const caller = fc.record({
  content: fc.nat(5),
  // With neither texts nor clicks it only encodes, and gives the features back at once.
  texts: fc.oneof(fc.constant<number[]>([]), fc.array(fc.nat(4), { maxLength: 12 })),
  clicks: fc.oneof(fc.constant(0), fc.nat(3)),
  waitMs: fc.nat(12),
  stopMs: fc.option(fc.nat(25), { freq: 3 }),
});

/** Shares of items that fail, in a thousand. */
const trouble = fc.record({
  memory: fc.nat(60),
  model: fc.nat(60),
  move: fc.nat(500),
  dies: fc.option(fc.nat(60)),
});

it("whatever fails and whoever leaves: every call settles, queues end empty, and every byte comes back", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(caller, { minLength: 10, maxLength: 40, size: "max" }),
      trouble,
      fc.nat(),
      fc.boolean(),
      // From room for one picture to room for several copies of each.
      fc.integer({ min: 1, max: 16 }),
      async (callers, { memory, model, move, dies }, seed, lazy, hostMb) => {
        let state = seed;
        const random = () => {
          state = (state * 1664525 + 1013904223) % 4294967296;
          return (state / 4294967296) * 1000;
        };
        let batches = 0;
        const fails = ({ device, atOnce }: FakeAsked) => {
          if (dies !== null && device === "cuda:1" && ++batches > dies) return nativeError("DEVICE_FAULT");
          if (atOnce !== 1 && random() < memory) return nativeError("OUT_OF_MEMORY");
          return random() < model ? nativeError("MODEL_FAILED") : undefined;
        };
        const options: LoadOptions = {
          devices: ["cuda:0", "cuda:1"],
          load: lazy ? "lazy" : "eager",
          maxCacheSizeMb: 2,
          maxCpuCacheSizeMb: hostMb,
          maxEncodeBatch: 3,
          maxDecodeBatch: 3,
          batchDelayMs: 2,
        };
        const { engine, state: fake } = await openEngine(
          {
            devices: DEVICES,
            featureBytes: FEATURE_BYTES,
            delayMs: 1,
            failures: {
              encodeImages: fails,
              encodeTexts: fails,
              segmentConcepts: fails,
              segmentObjects: fails,
              moveFeatures: () => (random() < move ? nativeError("OUT_OF_MEMORY") : undefined),
            },
          },
          options,
        );
        const outcomes = await Promise.all(
          callers.map(async ({ content, texts, clicks, waitMs, stopMs }) => {
            await new Promise((done) => setTimeout(done, waitMs));
            const controller = new AbortController();
            const timer = stopMs === null ? undefined : setTimeout(() => controller.abort("enough"), stopMs);
            const call = callOf(engine, controller.signal);
            try {
              const lease = await engine.acquire(picture(`${content}`), call);
              try {
                const [found, shown] = await Promise.all([
                  engine.segmentConcepts(
                    lease,
                    texts.map((text) => concept(1, text)),
                    call,
                  ),
                  engine.segmentObjects(lease, Array(clicks).fill(CLICK), call),
                ]);
                expect([found.length, shown.length]).toEqual([texts.length, clicks]);
                return [...found, ...shown].map((it) =>
                  it.status === "fulfilled" ? "ok" : (it.reason as { code: string }).code,
                );
              } finally {
                lease.release();
              }
            } catch (error) {
              return error === "enough" && controller.signal.aborted
                ? "stopped"
                : (error as { code: string }).code;
            } finally {
              clearTimeout(timer);
            }
          }),
        );
        const allowed = ["ok", "stopped", "MODEL_FAILED"];
        expect(outcomes.flat().filter((outcome) => !allowed.includes(outcome))).toEqual([]);

        // What was stopped may still be running; then everything is at rest.
        const busy = () => {
          const stats = engine.stats();
          return (
            stats.cache.making + stats.cache.pinned + stats.cache.looseBytes > 0 ||
            stats.replicas.some(({ running, queued }) => running + Math.max(...Object.values(queued)) > 0)
          );
        };
        for (let i = 0; i < 500 && busy(); i++) await new Promise((done) => setTimeout(done, 2));
        expect(busy()).toBe(false);
        // Two batches, a load or a trim, and as many copies as the host has room for.
        const copies = Math.floor((hostMb * 2 ** 20) / FEATURE_BYTES);
        expect(fake.deepest).toBeLessThanOrEqual(3 + copies);
        const { entries, hostEntries, bytes, maxBytes, hostBytes, maxHostBytes } = engine.cacheStats();
        expect(bytes).toBeLessThanOrEqual(maxBytes);
        expect(hostBytes).toBeLessThanOrEqual(maxHostBytes);
        expect(fake.liveFeatures + fake.liveTexts).toBe(entries + hostEntries);
        // Nothing stays set aside for copies that have arrived, or never will.
        expect(hostBytes).toBe(hostEntries * FEATURE_BYTES);
        await engine.close();
        expect([fake.liveFeatures, fake.liveTexts]).toEqual([0, 0]);
      },
    ),
    // Timers decide what meets what: a smaller case would seldom fail again.
    { numRuns: 60, timeout: 20_000, endOnFailure: true },
  );
}, 120_000);
