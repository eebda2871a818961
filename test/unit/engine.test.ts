import { describe, expect, it, vi } from "vitest";
import { type FakeAsked, fakeDevice, nativeError } from "./fake-addon.js";
import { CLICK, callOf, concept, openEngine, picture } from "./open-engine.js";

const GPUS = [fakeDevice("cpu"), fakeDevice("cuda:0"), fakeDevice("cuda:1")];
const turn = () => new Promise<void>((done) => setImmediate(done));
const pause = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));

describe("features", () => {
  it("are encoded once for 20 callers, kept, and found by content", async () => {
    const { engine, acquire, state } = await openEngine({ delayMs: 5 });
    const leases = await Promise.all(Array.from({ length: 20 }, () => acquire("a")));
    expect(state.pixels).toHaveLength(1);
    expect(leases.filter(({ cache }) => cache === "miss")).toHaveLength(1);
    expect(leases.find(({ cache }) => cache === "miss")).toMatchObject({ decodeMs: 3, encodeMs: 7 });
    expect(leases.find(({ cache }) => cache === "hit")).toMatchObject({ decodeMs: 0, encodeMs: 0 });
    for (const lease of leases) lease.release();
    expect(await acquire("a")).toMatchObject({
      cache: "hit",
      width: 4,
      height: 2,
      bytes: 4096,
      replica: "cpu",
    });
    expect(await acquire("b")).toMatchObject({ cache: "miss" });
    expect(engine.cacheStats()).toMatchObject({
      enabled: true,
      hits: 20,
      misses: 2,
      entries: 2,
      bytes: 8192,
    });
    expect(engine.cacheEntries()[0]?.key).toMatch(/^a\//);
    await engine.close();
    expect([state.liveFeatures, state.liveTexts]).toEqual([0, 0]);
  });

  it("are not kept without a key, nor with the cache switched off", async () => {
    const { acquire, state } = await openEngine();
    const lease = await acquire(undefined);
    expect([lease.cache, state.liveFeatures]).toEqual(["off", 1]);
    lease.release();
    lease.release();
    expect([lease.released, state.liveFeatures]).toEqual([true, 0]);
    const off = await openEngine({}, { featureCache: false });
    const both = await Promise.all([off.acquire("a"), off.acquire("a")]);
    expect(both.map(({ cache }) => cache)).toEqual(["off", "off"]);
    await off.engine.segmentConcepts(both[0], [concept(1, 2), concept(1, 2)], callOf(off.engine));
    for (const one of both) one.release();
    expect([off.state.liveFeatures, off.state.liveTexts, off.state.pixels.length]).toEqual([0, 0, 2]);
    expect(off.engine.cacheStats()).toMatchObject({ enabled: false, entries: 0, hits: 0, misses: 0 });
  });

  it("stay within the budget, and for the time to live", async () => {
    const { engine, acquire, state } = await openEngine({ featureBytes: 600_000 }, { maxCacheSizeMb: 1 });
    for (const content of ["a", "b"]) (await acquire(content)).release();
    expect(engine.cacheStats()).toMatchObject({ entries: 1, evictions: 1, bytes: 600_000 });
    const large = await openEngine({ featureBytes: 2_000_000 }, { maxCacheSizeMb: 1 });
    const lease = await large.acquire("a");
    expect((await large.engine.segmentObjects(lease, [CLICK], callOf(large.engine)))[0]?.status).toBe(
      "fulfilled",
    );
    lease.release();
    expect([large.state.liveFeatures, state.liveFeatures]).toEqual([0, 1]);
    const short = await openEngine({}, { cacheTtlSeconds: 0.02 });
    (await short.acquire("a")).release();
    await vi.waitFor(() => expect(short.state.liveFeatures).toBe(0), { interval: 5 });
  });

  it("take at most half of what the device has free, unless told otherwise", async () => {
    const little = { devices: [fakeDevice("cpu", { freeBytes: 2 ** 30 })] };
    const { engine } = await openEngine(little);
    const { maxBytes } = engine.cacheStats();
    expect(maxBytes).toBeLessThan(2 ** 29);
    expect(maxBytes).toBeGreaterThan(2 ** 29 - 1000);
    expect((await openEngine(little, { maxCacheSizeMb: 4096 })).engine.cacheStats().maxBytes).toBe(2 ** 32);
    expect((await openEngine()).engine.cacheStats().maxBytes).toBe(2 ** 32);
  });

  it("take at most half of what the budget of a device leaves, unless told otherwise", async () => {
    const two = { devices: [{ device: "cuda:0", replicas: 2 }], deviceMemoryMb: 100 } as const;
    const { engine } = await openEngine({ devices: GPUS }, two);
    const { maxBytes } = engine.cacheStats();
    expect(maxBytes).toBeLessThan(50 * 2 ** 20);
    expect(maxBytes).toBeGreaterThan(50 * 2 ** 20 - 1000);
    const told = await openEngine({ devices: GPUS }, { ...two, maxCacheSizeMb: 80 });
    expect(told.engine.cacheStats().maxBytes).toBe(80 * 2 ** 20);
  });

  it("move to the host's memory and back where a GPU has no more room", async () => {
    const { engine, acquire, state } = await openEngine(
      { devices: GPUS, featureBytes: 600_000 },
      { devices: "cuda:0", maxCacheSizeMb: 1, maxCpuCacheSizeMb: 1 },
    );
    for (const content of ["a", "b"]) {
      (await acquire(content)).release();
      await pause(5);
    }
    expect(engine.cacheStats()).toMatchObject({ entries: 1, hostEntries: 1, offloads: 1 });
    const lease = await acquire("a");
    expect(lease.cache).toBe("hit");
    expect((await engine.segmentObjects(lease, [CLICK], callOf(engine)))[0]?.status).toBe("fulfilled");
    expect([state.moves, state.pixels.length]).toEqual([
      ["host", "device", "host"].slice(0, state.moves.length),
      2,
    ]);
    lease.release();
    await pause(10);
    await engine.close();
    expect(state.liveFeatures).toBe(0);
  });

  it("of a text are made once", async () => {
    const { engine, acquire, state } = await openEngine();
    const lease = await acquire("a");
    const ask = () =>
      engine.segmentConcepts(lease, [concept(1, 2), concept(1, 3), concept(1, 2)], callOf(engine));
    await Promise.all([ask(), ask()]);
    await ask();
    expect(state.ids).toEqual([
      [1, 2],
      [1, 3],
    ]);
    expect(engine.cacheStats()).toMatchObject({ textMisses: 2, textHits: 7 });
  });

  it("come from one who still waits where the one who was asked for them has left", async () => {
    const { engine, state } = await openEngine();
    const stop = new AbortController();
    let asked = () => {};
    const reading = new Promise<void>((resolve) => {
      asked = resolve;
    });
    const leaving = {
      pixels: async () => {
        asked();
        await pause(10);
        throw new Error("the file is gone");
      },
    };
    const first = engine.acquire(picture("a", leaving), callOf(engine, stop.signal));
    await reading;
    const others = [1, 2].map(() => engine.acquire(picture("a"), callOf(engine)));
    stop.abort("left");
    await expect(first).rejects.toBe("left");
    await expect(Promise.all(others)).resolves.toHaveLength(2);
    expect(state.pixels).toHaveLength(1);
    // While it is still there, its failure is that of all.
    const all = [leaving, {}].map((it) => engine.acquire(picture("b", it), callOf(engine)));
    for (const one of all) await expect(one).rejects.toThrow("the file is gone");
  });
});

describe("prompts", () => {
  it("are answered in order, each failing alone", async () => {
    const { engine, acquire } = await openEngine({
      failures: {
        segmentConcepts: ({ item }: FakeAsked) =>
          (item as { threshold: number }).threshold === 0.1 ? nativeError("MODEL_FAILED") : undefined,
      },
    });
    const lease = await acquire("a");
    const asked = Array.from({ length: 20 }, (_, i) => ({
      ...concept(1, i),
      threshold: i % 7 === 3 ? 0.1 : 0.5,
    }));
    const answers = await engine.segmentConcepts(lease, asked, callOf(engine));
    expect(answers.map(({ status }) => status)).toEqual(
      asked.map(({ threshold }) => (threshold === 0.1 ? "rejected" : "fulfilled")),
    );
  });

  it("go in batches, of at most the number set, and of different callers together", async () => {
    const { engine, acquire, state } = await openEngine(
      { delayMs: 5 },
      { maxDecodeBatch: 4, maxEncodeBatch: 2 },
    );
    const leases = await Promise.all(["a", "b", "c"].map((content) => acquire(content)));
    expect(state.batches.filter(({ stage }) => stage === "encodeImages").map(({ items }) => items)).toEqual([
      2, 1,
    ]);
    await Promise.all(
      leases.flatMap((lease) =>
        [CLICK, CLICK].map((it) => engine.segmentObjects(lease, [it], callOf(engine))),
      ),
    );
    const decodes = state.batches.filter(({ stage }) => stage === "segmentObjects");
    expect(decodes.map(({ items, atOnce }) => [items, atOnce])).toEqual([
      [4, 4],
      [2, 4],
    ]);
    expect(state.deepest).toBeLessThanOrEqual(2);
  });

  it("a long list leaves gaps for others", async () => {
    const { engine, acquire, state } = await openEngine({ delayMs: 3 });
    const lease = await acquire("a");
    const long = engine.segmentObjects(lease, Array(100).fill(CLICK), callOf(engine));
    await pause(4);
    const order: string[] = [];
    const mark = { ...CLICK, maxHoleArea: 77 };
    await Promise.all([
      long.then(() => order.push("long")),
      engine.segmentObjects(lease, [mark], callOf(engine)).then(() => order.push("short")),
    ]);
    expect(order).toEqual(["short", "long"]);
    expect(state.objects.findIndex(({ maxHoleArea }) => maxHoleArea === 77)).toBeLessThan(50);
  });

  it("on released features are refused, while those that run go on", async () => {
    const { engine, acquire, state } = await openEngine({ delayMs: 10 }, { featureCache: false });
    const lease = await acquire("a");
    const running = engine.segmentObjects(lease, [CLICK], callOf(engine));
    await turn();
    await turn();
    lease.release();
    expect(state.liveFeatures).toBe(1);
    expect((await running)[0]?.status).toBe("fulfilled");
    await turn();
    expect(state.liveFeatures).toBe(0);
    const [refused] = await engine.segmentObjects(lease, [CLICK], callOf(engine));
    expect(refused).toMatchObject({ status: "rejected", reason: { code: "DISPOSED" } });
  });
});

describe("too little memory", () => {
  it("empties the cache, trims, and tries once more one by one", async () => {
    let short = true;
    const { engine, acquire, state, lines } = await openEngine({
      failures: {
        segmentObjects: ({ atOnce }: FakeAsked) =>
          short && atOnce !== 1 ? nativeError("OUT_OF_MEMORY") : undefined,
      },
    });
    (await acquire("old")).release();
    const lease = await acquire("a");
    const answers = await engine.segmentObjects(lease, [CLICK, CLICK, CLICK], callOf(engine));
    expect(answers.every(({ status }) => status === "fulfilled")).toBe(true);
    expect(
      state.batches.filter(({ stage }) => stage === "segmentObjects").map(({ atOnce }) => atOnce),
    ).toEqual([8, 1]);
    expect(state.trims).toBe(1);
    expect(engine.cacheEntries().map(({ key }) => key[0])).toEqual(["a"]);
    expect(engine.stats().memoryRecoveries).toBe(1);
    expect(lines.join()).toContain("too little memory");
    short = false;
    await engine.segmentObjects(lease, [CLICK], callOf(engine));
    expect(state.trims).toBe(1);
  });

  it("frees what other replicas keep on the same device, and nothing of other devices", async () => {
    const { engine, acquire, state } = await openEngine(
      { devices: GPUS },
      { devices: [{ device: "cuda:0", replicas: 2 }, "cuda:1"] },
    );
    const leases = await Promise.all(["a", "b", "c"].map((content) => acquire(content)));
    expect(leases.map(({ replica }) => replica).sort()).toEqual(["cuda:0/0", "cuda:0/1", "cuda:1"]);
    const kept = () => engine.cacheEntries().map(({ key }) => key[0]);
    for (const lease of leases) lease.release();
    expect(kept().sort()).toEqual(["a", "b", "c"]);
    state.failures = {
      encodeImages: ({ atOnce }: FakeAsked) => (atOnce === 1 ? undefined : nativeError("OUT_OF_MEMORY")),
    };
    const next = await acquire("d");
    expect(next.replica).toBe("cuda:0/0");
    const onOther = leases.findIndex(({ replica }) => replica === "cuda:1");
    expect(kept().sort()).toEqual(["abc"[onOther], "d"]);
    expect([state.trims, engine.stats().memoryRecoveries]).toEqual([1, 1]);
  });

  it("that stays too little says what there is, and the next call works", async () => {
    const { acquire, state } = await openEngine({
      failures: { encodeImages: nativeError("OUT_OF_MEMORY", "CUDA out of memory: 3 GiB") },
    });
    await expect(acquire("a")).rejects.toMatchObject({
      code: "OUT_OF_MEMORY",
      message: expect.stringMatching(/3 GiB.*of 65536 MB free.*bf16/),
      details: { replica: "cpu", stage: "encodeImages", totalBytes: 64 * 2 ** 30 },
    });
    expect(state.batches.map(({ atOnce }) => atOnce)).toEqual([8, 1]);
    state.failures = {};
    await expect(acquire("a")).resolves.toBeDefined();
  });

  it("hurts only those it hits", async () => {
    const { engine, acquire } = await openEngine({
      failures: {
        segmentObjects: ({ item }: FakeAsked) =>
          (item as { maxHoleArea: number }).maxHoleArea === 1 ? nativeError("OUT_OF_MEMORY") : undefined,
      },
    });
    const lease = await acquire("a");
    const answers = await engine.segmentObjects(lease, [CLICK, { ...CLICK, maxHoleArea: 1 }], callOf(engine));
    expect(answers.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
  });
});

describe("a device that fails", () => {
  const failing = (device: string, stage: string) => ({
    [stage]: (asked: FakeAsked) =>
      asked.device === device ? nativeError("DEVICE_FAULT", "illegal access") : undefined,
  });

  it("is taken out, and what it encoded is encoded elsewhere", async () => {
    const { engine, acquire, state } = await openEngine(
      { devices: GPUS, failures: failing("cuda:0", "encodeImages") },
      { devices: ["cuda:0", "cuda:1"] },
    );
    const lease = await acquire("a");
    expect(lease.replica).toBe("cuda:1");
    expect(engine.health()).toMatchObject({
      status: "degraded",
      reasons: [expect.stringContaining("illegal access")],
      replicas: [
        { name: "cuda:0", state: "faulted", code: "DEVICE_FAULT" },
        { name: "cuda:1", state: "ready" },
      ],
    });
    expect(engine.stats().deviceRetries).toBe(1);
    expect(state.closed).toBe(1);
    for (const content of ["b", "c"]) expect((await acquire(content)).replica).toBe("cuda:1");
  });

  it("loses its features, which are made again on another, once for all prompts", async () => {
    const { engine, acquire, state } = await openEngine({ devices: GPUS }, { devices: ["cuda:0", "cuda:1"] });
    const lease = await acquire("a");
    expect(lease.replica).toBe("cuda:0");
    state.failures = failing("cuda:0", "segmentObjects");
    const answers = await engine.segmentObjects(lease, Array(12).fill(CLICK), callOf(engine));
    expect(answers.map(({ status }) => status)).toEqual(Array(12).fill("fulfilled"));
    expect(lease.replica).toBe("cuda:1");
    expect(state.pixels).toHaveLength(2);
    expect((await acquire("a")).cache).toBe("hit");
    lease.release();
    await engine.close();
    expect([state.liveFeatures, state.liveTexts]).toEqual([0, 0]);
  });

  it("fails the call where there is no other, and says what to do", async () => {
    const { engine, acquire, state } = await openEngine({ failures: failing("cpu", "encodeImages") });
    for (let i = 0; i < 2; i++) {
      await expect(acquire("a")).rejects.toMatchObject({
        code: "DEVICE_FAULT",
        message: expect.stringContaining("restart"),
      });
    }
    expect(engine.health().status).toBe("unavailable");
    expect(state.pixels).toHaveLength(1);
    await engine.close();
  });

  it("is retried once only", async () => {
    const { acquire, engine } = await openEngine(
      { devices: [...GPUS, fakeDevice("cuda:2")], failures: { encodeImages: nativeError("DEVICE_FAULT") } },
      { devices: ["cuda:0", "cuda:1", "cuda:2"] },
    );
    await expect(acquire("a")).rejects.toMatchObject({ code: "DEVICE_FAULT" });
    expect(engine.health().replicas.map(({ state }) => state)).toEqual(["faulted", "faulted", "ready"]);
  });
});

describe("stopping", () => {
  it("rejects at once, and what arrives late is kept for the next", async () => {
    const { acquire, state } = await openEngine({ delayMs: 40 });
    const controller = new AbortController();
    const asked = acquire("a", controller.signal);
    await pause(10);
    const start = performance.now();
    controller.abort("enough");
    await expect(asked).rejects.toBe("enough");
    expect(performance.now() - start).toBeLessThan(20);
    expect(state.cancelled).toBe(1);
    // The fake notices the token only at its end.
    expect((await acquire("a")).cache).toBe("miss");
    expect(state.liveFeatures).toBe(1);
  });

  it("one of two who wait for a picture leaves the other alone", async () => {
    const { acquire, state } = await openEngine({ delayMs: 20 });
    const controller = new AbortController();
    const stopped = acquire("a", controller.signal);
    const other = acquire("a");
    await pause(5);
    controller.abort("enough");
    await expect(stopped).rejects.toBe("enough");
    expect((await other).cache).toBe("hit");
    expect([state.cancelled, state.pixels.length]).toEqual([0, 1]);
  });

  it("leaves no text and no features behind, wherever it comes", async () => {
    const { engine, state } = await openEngine({ delayMs: 3 }, { featureCache: false });
    for (let delay = 0; delay < 20; delay++) {
      const controller = new AbortController();
      const call = callOf(engine, controller.signal);
      const work = async () => {
        const lease = await engine.acquire(picture("a"), call);
        try {
          await engine.segmentConcepts(lease, [concept(1, 2), concept(1, 3)], call);
        } finally {
          lease.release();
        }
      };
      setTimeout(() => controller.abort("enough"), delay);
      await work().catch((error) => expect(error).toBe("enough"));
    }
    await vi.waitFor(() => expect([state.liveFeatures, state.liveTexts]).toEqual([0, 0]));
  });
});

describe("a public call", () => {
  it("ends with TIMEOUT and the caller's stack when it takes too long", async () => {
    const { engine } = await openEngine({ delayMs: 50 });
    const segment = (timeoutMs?: number) =>
      engine.call("segment", segment, { timeoutMs }, async (call) => engine.acquire(picture("a"), call));
    const error = await (async function someCaller() {
      return segment(15).catch((e: Error) => e);
    })();
    expect(error).toMatchObject({ code: "TIMEOUT", details: { timeoutMs: 15 } });
    expect((error as Error).stack).toContain("someCaller");
    await expect(segment()).resolves.toBeDefined();
    expect(engine.stats().calls.segment).toEqual({ inFlight: 0, ok: 1, aborted: 0, failed: { TIMEOUT: 1 } });
    expect(engine.stats().callMs.segment?.count).toBe(2);
    const slow = await openEngine({ delayMs: 50 }, { callTimeoutMs: 10 });
    const call = slow.engine.call("x", segment, undefined, (it) => slow.engine.acquire(picture("a"), it));
    await expect(call).rejects.toMatchObject({ code: "TIMEOUT" });
  });

  it("refuses options that make no sense", async () => {
    const { engine } = await openEngine();
    const work = async () => 1;
    for (const options of [
      { timeoutMs: -1 },
      { timeoutMs: Number.NaN },
      { timeoutMs: "5" },
      { requestId: "" },
      { signal: 3 },
    ]) {
      await expect(engine.call("x", work, options as never, work)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
      });
    }
    await engine.close();
    await expect(engine.call("x", work, {}, work)).rejects.toMatchObject({ code: "DISPOSED" });
    expect(engine.stats().calls.x).toMatchObject({ ok: 0, failed: { INVALID_ARGUMENT: 5, DISPOSED: 1 } });
  });

  it("counts who was aborted, and writes lines with its id", async () => {
    const children: unknown[] = [];
    const lines: string[] = [];
    const child = (bindings: object) => {
      children.push(bindings);
      const write = (line: string) => void lines.push(`child ${line}`);
      return { debug: write, info: write, warn: write, error: write };
    };
    const nothing = () => {};
    const logger = { debug: nothing, info: nothing, warn: nothing, error: nothing, child };
    const { engine } = await openEngine({}, { logger });
    const work = async () => 1;
    await engine.call("find", work, { requestId: "mine" }, work);
    await engine
      .call("find", work, { signal: AbortSignal.abort("no") }, () => Promise.reject("no"))
      .catch(nothing);
    expect(children).toEqual([
      { requestId: "mine" },
      { requestId: expect.stringMatching(/^[0-9a-f]{4}-2$/) },
    ]);
    expect(lines[0]).toMatch(/^child find took \d+ ms$/);
    expect(engine.stats().calls.find).toMatchObject({ ok: 1, aborted: 1 });
    const plain = await openEngine();
    await plain.engine.call("find", work, { requestId: "mine" }, work);
    expect(plain.lines.at(-1)).toMatch(/^\[mine\] find took/);
  });
});

describe("queues", () => {
  it("are bounded: more is refused at once with figures, and nothing is lost", async () => {
    const { acquire, state } = await openEngine({ delayMs: 5 }, { maxQueue: 5, maxEncodeBatch: 1 });
    const asked = Array.from({ length: 30 }, (_, i) => acquire(`${i}`));
    const settled = await Promise.allSettled(asked);
    const refused = settled.filter((it) => it.status === "rejected");
    expect(refused).toHaveLength(30 - 2 - 5);
    for (const it of refused)
      expect(it).toMatchObject({ reason: { code: "QUEUE_FULL", details: { maxQueue: 5 } } });
    expect(state.pixels).toHaveLength(7);
    await expect(acquire("again")).resolves.toBeDefined();
  });

  it.each(["segmentObjects", "segmentConcepts"] as const)(
    "of a replica's decoders are bounded, too: of 500 calls of %s together the first ones are answered, and the rest leaves nothing",
    async (stage) => {
      const { acquire, engine, state } = await openEngine({ delayMs: 2 }, { maxQueue: 5, maxDecodeBatch: 4 });
      const lease = await acquire("a");
      const ask = async (i: number) => {
        const call = callOf(engine);
        const answers = await (stage === "segmentObjects"
          ? engine.segmentObjects(lease, [CLICK], call)
          : engine.segmentConcepts(lease, [concept(1, i)], call));
        expect(answers).toMatchObject([{ status: "fulfilled" }]);
      };
      const asked = Promise.allSettled(Array.from({ length: 500 }, (_, i) => ask(i)));
      // As the first batches begin: two of four, and those that wait.
      await turn();
      await turn();
      const { queued, running } = engine.stats().replicas[0] as { queued: object; running: number };
      expect([running, Math.max(...Object.values(queued))]).toEqual([8, 5]);
      const settled = await asked;
      expect(settled.slice(0, 13).every(({ status }) => status === "fulfilled")).toBe(true);
      for (const it of settled.slice(13)) {
        const details = { stage, waiting: 5, maxQueue: 5 };
        expect(it).toMatchObject({ status: "rejected", reason: { code: "QUEUE_FULL", details } });
      }
      expect(stage === "segmentObjects" ? state.objects : state.ids).toHaveLength(13);
      expect(engine.cacheStats()).toMatchObject({ pinned: 1, making: 0, looseBytes: 0 });
      // And once more, to the last place.
      const again = await Promise.allSettled(Array.from({ length: 13 }, (_, i) => ask(i)));
      expect(again.every(({ status }) => status === "fulfilled")).toBe(true);
      lease.release();
      await engine.close();
      expect([state.liveFeatures, state.liveTexts]).toEqual([0, 0]);
    },
  );

  it("take a call with many prompts as one, and give its place back however it ends", async () => {
    const { acquire, engine, state } = await openEngine({ delayMs: 1 }, { maxQueue: 1, maxDecodeBatch: 1 });
    const lease = await acquire("a");
    const many = Array.from({ length: 1000 }, (_, i) => concept(1, i));
    const controller = new AbortController();
    const stopped = engine.segmentConcepts(lease, many, callOf(engine, controller.signal));
    const others = [1, 2].map((i) => engine.segmentConcepts(lease, [concept(2, i)], callOf(engine)));
    const full = engine.segmentConcepts(lease, [concept(3, 1)], callOf(engine));
    await expect(full).rejects.toMatchObject({ code: "QUEUE_FULL" });
    controller.abort("enough");
    await expect(stopped).rejects.toBe("enough");
    await Promise.all(others);
    state.delayMs = -1;
    const answers = await engine.segmentConcepts(lease, many, callOf(engine));
    expect(answers.filter(({ status }) => status === "fulfilled")).toHaveLength(1000);
  });

  it("of the encoder hold few large pictures at a time", async () => {
    const { engine } = await openEngine();
    let decoding = 0;
    let most = 0;
    const pixels = async () => {
      most = Math.max(most, ++decoding);
      await pause(2);
      decoding--;
      return { data: new Uint8Array(24), width: 4, height: 2, decodeMs: 3 };
    };
    const open = (pixelBytes: number) =>
      Promise.all(
        Array.from({ length: 12 }, (_, i) =>
          engine.acquire(picture(`${pixelBytes} ${i}`, { pixels, pixelBytes }), callOf(engine)),
        ),
      );
    await open(200 * 2 ** 20);
    expect(most).toBe(2);
    await open(2 ** 20);
    expect(most).toBe(12);
  });

  it("wait for others as long as is set for the encoder and for the decoders", async () => {
    const waited = async (options: object) => {
      const { engine } = await openEngine({}, { batchDelayMs: 0, ...options });
      const times: number[] = [];
      const pixels = { data: new Uint8Array(24), width: 4, height: 2 };
      const { replica } = (await engine.acquire(picture("a"), callOf(engine))).features;
      for (const stage of ["encodeImages", "encodeTexts"] as const) {
        replica.queue.expect(stage);
        const start = performance.now();
        if (stage === "encodeImages") await replica.submit(stage, { pixels });
        else await replica.submit(stage, { ids: Int32Array.of(1) });
        times.push(performance.now() - start);
      }
      return times.map((ms) => ms > 55);
    };
    expect(await waited({ encodeDelayMs: 60 })).toEqual([true, false]);
    expect(await waited({ decodeDelayMs: 60 })).toEqual([false, true]);
    expect(await waited({ batchDelayMs: 60, encodeDelayMs: 0 })).toEqual([false, true]);
  });

  it("let nobody wait longer than their timeout", async () => {
    const { acquire, engine } = await openEngine({ delayMs: 30 }, { queueTimeoutMs: 20, maxEncodeBatch: 1 });
    const settled = await Promise.allSettled(Array.from({ length: 6 }, (_, i) => acquire(`${i}`)));
    const codes = settled.map((it) => (it.status === "rejected" ? it.reason.code : "ok"));
    expect(codes.filter((code) => code === "TIMEOUT").length).toBeGreaterThanOrEqual(3);
    expect(codes.filter((code) => code === "ok").length).toBeGreaterThanOrEqual(1);
    await expect(acquire("later")).resolves.toBeDefined();
    await engine.close();
  });
});

describe("closing", () => {
  it("lets end what runs, refuses what waits, and frees everything", async () => {
    const { engine, acquire, state } = await openEngine({ delayMs: 10 });
    const lease = await acquire("a");
    const running = engine.segmentObjects(lease, [CLICK], callOf(engine));
    const waiting = Promise.allSettled(Array.from({ length: 40 }, (_, i) => acquire(`x${i}`)));
    await turn();
    await turn();
    await engine.close();
    expect(state.liveFeatures).toBe(0);
    for (const it of await waiting) {
      expect(it).toMatchObject({ status: "rejected", reason: { code: "DISPOSED" } });
    }
    const ended = await running.catch((error) => error);
    expect(Array.isArray(ended) || ended.code === "DISPOSED").toBe(true);
    await expect(acquire("a")).rejects.toMatchObject({ code: "DISPOSED" });
    await vi.waitFor(() => expect([state.liveFeatures, state.liveTexts]).toEqual([0, 0]));
    expect(engine.health()).toMatchObject({ status: "unavailable", reasons: ["This Sam3 was closed."] });
  });
});
