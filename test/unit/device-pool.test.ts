import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { planReplicas } from "../../lib/devices/device-list.js";
import { DeviceMemory } from "../../lib/devices/device-memory.js";
import { type Assignment, DevicePool, type SessionPlace } from "../../lib/devices/device-pool.js";
import { Replica, type ReplicaContext } from "../../lib/devices/replica.js";
import { loadEngine } from "../../lib/load-engine.js";
import { Meter } from "../../lib/metrics/meter.js";
import type { NativeAddon, NativeBundle, NativeCancelToken, NativeReplica } from "../../lib/native/addon.js";
import type { DeviceChoice } from "../../lib/options.js";
import { readSettings } from "../../lib/options.js";
import { type FakeAsked, type FakeState, fakeAddon, fakeDevice, nativeError } from "./fake-addon.js";
import { CLICK, callOf, fakeBundle, openEngine, quietLogger } from "./open-engine.js";

const CPU = fakeDevice("cpu");
const GPUS = [CPU, fakeDevice("cuda:0"), fakeDevice("cuda:1"), fakeDevice("cuda:2")];
const MB = 2 ** 20;

/** Names of the replicas a choice stands for. */
function plan(devices: DeviceChoice, available = GPUS) {
  return planReplicas(readSettings({ devices }, {}).devices, available, 0);
}
const names = (devices: DeviceChoice, available = GPUS) => plan(devices, available).map(({ name }) => name);

describe("a list of devices", () => {
  it.each([
    ["auto", ["cuda:0"]],
    ["cpu", ["cpu"]],
    ["cuda", ["cuda:0"]],
    ["cuda:1,cuda:0", ["cuda:1", "cuda:0"]],
    [
      ["cuda:0", "cpu"],
      ["cuda:0", "cpu"],
    ],
    [
      ["cpu:0", "cpu:1"],
      ["cpu:0", "cpu:1"],
    ],
    [[{ device: "cpu", replicas: 2 }], ["cpu:0", "cpu:1"]],
    [
      [{ device: "cuda:1", replicas: 2 }, "cuda:0"],
      ["cuda:1/0", "cuda:1/1", "cuda:0"],
    ],
    ["GPU-00000000-0000-0000-0000-000000000002", ["cuda:2"]],
    ["gpu-00000000-0000-0000-0000-000000000001", ["cuda:1"]],
  ] as [DeviceChoice, string[]][])("%j stands for %j", (devices, expected) => {
    expect(names(devices)).toEqual(expected);
  });

  it("takes the CPU where there is no GPU", () => {
    expect(names("auto", [CPU])).toEqual(["cpu"]);
    expect(() => names("cuda", [CPU])).toThrow(expect.objectContaining({ code: "DEVICE_UNKNOWN" }));
  });

  it("gives each its threads, and keeps what is optional", () => {
    const plans = plan([
      { device: "cpu:0", threads: 3 },
      { device: "cpu:1", required: false },
    ]);
    expect(plans.map(({ threads, required }) => [threads, required])).toEqual([
      [3, true],
      [0, false],
    ]);
    expect(plan([{ device: "cuda:7", required: false }, "cpu"])).toMatchObject([
      { name: "cuda:7", device: undefined, reason: { code: "DEVICE_UNKNOWN" } },
      { name: "cpu" },
    ]);
  });

  it.each([
    [["cuda:0", "cuda:0"], "INVALID_SETTING", /"cuda:0" twice/],
    ["cuda,cuda:0", "INVALID_SETTING", /"cuda" and "cuda:0", which are the same/],
    [["auto", "GPU-00000000-0000-0000-0000-000000000000"], "INVALID_SETTING", /the same/],
    [["cpu", "cpu:0"], "INVALID_SETTING", /the same/],
    [[{ device: "cpu", replicas: 2 }, "cpu:1"], "INVALID_SETTING", /the same/],
    [[{ device: "cpu:1", replicas: 2 }], "INVALID_SETTING", /the name of one/],
    ["cuda:9", "DEVICE_UNKNOWN", /cuda:9.*cpu \(Fake CPU\), cuda:0 \(Fake GPU 0/],
    ["MIG-12345678-1234", "DEVICE_UNKNOWN", /CUDA_VISIBLE_DEVICES=MIG-12345678-1234/],
    ["tpu", "INVALID_SETTING", /devices/],
    [[], "INVALID_SETTING", /at least one/],
    [[3], "INVALID_SETTING", /devices/],
    [[{ device: "cpu", replicas: 0 }], "INVALID_SETTING", /devices/],
    [[{ device: "cpu", replicas: 17 }], "INVALID_SETTING", /devices/],
    [[{ device: "cpu", threads: -1 }], "INVALID_SETTING", /devices/],
    [[{ device: "cpu", memory: 3 }], "INVALID_SETTING", /devices/],
  ] as [DeviceChoice, string, RegExp][])("%j is refused with %s", (devices, code, message) => {
    expect(() => plan(devices)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
  });
});

describe("loading", () => {
  const allBut = (device: string, code: string) => ({
    devices: GPUS,
    failures: { load: ({ device: on }: FakeAsked) => (on === device ? nativeError(code) : undefined) },
  });

  it("loads every replica, each with its own threads", async () => {
    const { facts, state, engine } = await openEngine(
      {},
      { devices: [{ device: "cpu", replicas: 2, threads: 3 }] },
    );
    expect(state.opened).toEqual([
      { device: "cpu", threads: 3 },
      { device: "cpu", threads: 3 },
    ]);
    expect(facts).toMatchObject({ device: "cpu:0, cpu:1", deviceName: "Fake CPU", modelBytes: 2000 });
    expect(engine.health()).toMatchObject({ status: "ready", reasons: [] });
    await engine.close();
    expect(state.closed).toBe(2);
  });

  it("fails when a required one fails, and frees the others", async () => {
    const changes = allBut("cuda:1", "MODEL_FAILED");
    const { addon, state } = fakeAddon(changes);
    const { logger } = quietLogger();
    const loading = loadEngine(
      { model: await fakeBundle(), devices: ["cuda:0", "cuda:1", "cuda:2"], logger },
      {},
      () => addon,
    );
    await expect(loading).rejects.toMatchObject({ code: "MODEL_FAILED" });
    expect([state.replicas, state.closed]).toEqual([2, 2]);
  });

  it("goes on without an optional one, and says so", async () => {
    const { engine, facts } = await openEngine(allBut("cuda:1", "MODEL_FAILED"), {
      devices: ["cuda:0", { device: "cuda:1", required: false }, { device: "cuda:7", required: false }],
    });
    expect(facts.device).toBe("cuda:0");
    expect(engine.health()).toMatchObject({
      status: "degraded",
      reasons: [
        expect.stringMatching(/^cuda:1 is failed: fake MODEL/),
        expect.stringMatching(/^cuda:7 is failed/),
      ],
    });
    const only = openEngine(allBut("cuda:1", "MODEL_FAILED"), {
      devices: [{ device: "cuda:1", required: false }],
    });
    await expect(only).rejects.toMatchObject({ code: "MODEL_FAILED" });
  });

  it("refuses a load that would not fit, before it begins, with what is needed and free", async () => {
    const little = [fakeDevice("cpu", { freeBytes: 10 })];
    const loading = openEngine({ devices: little });
    await expect(loading).rejects.toMatchObject({
      code: "DEVICE_MEMORY",
      details: { replica: "cpu", freeBytes: 10, neededBytes: expect.any(Number) },
    });
    // The budget is shared by the replicas of one device: the fake model holds 1000 bytes of it.
    const { addon, state } = fakeAddon();
    const context = contextOf({ addon, modelBytes: 900, memory: new DeviceMemory(1500, () => 0) });
    const pool = poolOf([{ device: "cpu", replicas: 2 }] as never, context, [CPU]);
    await expect(pool.load()).rejects.toMatchObject({
      code: "DEVICE_MEMORY",
      message: expect.stringContaining("SAM3_DEVICE_MEMORY_MB"),
      details: { neededBytes: 900, freeBytes: 500 },
    });
    expect(state.loaded).toHaveLength(1);
  });

  it("lazily waits for the first call, and loads more when there is enough to do", async () => {
    const { engine, acquire, state, facts } = await openEngine(
      { devices: GPUS, delayMs: 5 },
      { devices: ["cuda:0", "cuda:1"], load: "lazy", maxEncodeBatch: 2 },
    );
    expect([state.replicas, facts.modelBytes, engine.health().status]).toEqual([0, 0, "ready"]);
    expect((await acquire("a")).replica).toBe("cuda:0");
    expect(state.opened).toMatchObject([{ device: "cuda:0" }]);
    await Promise.all(Array.from({ length: 20 }, (_, i) => acquire(`${i}`)));
    expect(state.opened).toMatchObject([{ device: "cuda:0" }, { device: "cuda:1" }]);
    await vi.waitFor(() =>
      expect(engine.health().replicas.every(({ state: it }) => it === "ready")).toBe(true),
    );
  });

  it("lazily fails the call that needed it, and tries again when it was memory", async () => {
    let code = "OUT_OF_MEMORY";
    const { acquire, engine } = await openEngine(
      { failures: { load: () => (code === "" ? undefined : nativeError(code)) } },
      { load: "lazy" },
    );
    await expect(acquire("a")).rejects.toMatchObject({ code: "OUT_OF_MEMORY" });
    expect(engine.health()).toMatchObject({ status: "degraded" });
    code = "";
    await expect(acquire("a")).resolves.toBeDefined();
    expect(engine.health()).toMatchObject({ status: "ready", reasons: [] });
  });

  it("warms up every replica when told to", async () => {
    const { state, engine } = await openEngine(
      {},
      { devices: [{ device: "cpu", replicas: 2 }], warmUp: true },
    );
    expect(state.batches.filter(({ stage }) => stage === "segmentConcepts")).toHaveLength(2);
    expect([state.liveFeatures, state.liveTexts]).toEqual([0, 0]);
    await engine.close();
  });
});

function contextOf(changes: Partial<ReplicaContext> = {}): ReplicaContext {
  return {
    addon: fakeAddon({ devices: GPUS }).addon,
    logger: quietLogger().logger,
    meter: new Meter(),
    limits: {
      encode: { maxBatch: 4, maxDelayMs: 5, queueTimeoutMs: 0 },
      decode: { maxBatch: 4, maxDelayMs: 5, queueTimeoutMs: 0 },
    },
    maxQueue: 100,
    bundle: async () => ({ parts: {} }) as never,
    modelBytes: 1000,
    memory: new DeviceMemory(undefined, () => 0),
    onFault: () => {},
    warmUp: undefined,
    onPart: () => {},
    ...changes,
  };
}

function poolOf(devices: DeviceChoice, context: ReplicaContext, available = GPUS): DevicePool {
  return new DevicePool(
    plan(devices, available).map((one) => new Replica(one, context)),
    context.limits.encode.maxBatch,
  );
}

/** What is on one card, in bytes; `kept`: by the allocator, for its next need. */
interface Card {
  others: number;
  kept: number;
  readonly replicas: { model: number; inUse: number; cached: number }[];
}

const CARD_BYTES = 10_000;
const MODEL_BYTES = 1000;

/** GPUs with a memory of their own, which is full when it is full. */
function cards(budget?: number) {
  const { addon } = fakeAddon({ devices: GPUS, delayMs: -1 });
  const state = new Map<string, Card>();
  const card = (id: string): Card => {
    const known = state.get(id) ?? { others: 0, kept: 0, replicas: [] };
    state.set(id, known);
    return known;
  };
  const sum = (id: string, of: (one: Card["replicas"][number]) => number) =>
    card(id).replicas.reduce((total, one) => total + of(one), 0);
  const free = (id: string) =>
    CARD_BYTES -
    card(id).others -
    card(id).kept -
    sum(id, ({ model, inUse, cached }) => model + inUse + cached);

  class OnCard extends addon.Replica {
    readonly #id: string;
    readonly #own = { model: 0, inUse: 0, cached: 0 };
    #loaded = false;

    constructor(options: { device: string; threads: number }) {
      super(options);
      this.#id = options.device;
      card(this.#id).replicas.push(this.#own);
    }

    override async load(
      bundle: NativeBundle,
      token: NativeCancelToken,
      onPart: (name: string, done: number, total: number) => void,
    ) {
      // Half of it is there while the rest is still read.
      this.#own.model = MODEL_BYTES / 2;
      const report = await super.load(bundle, token, onPart);
      this.#own.model = MODEL_BYTES;
      this.#loaded = true;
      expect(free(this.#id)).toBeGreaterThanOrEqual(0);
      return report;
    }
    override memory() {
      return { ...super.memory(), totalBytes: CARD_BYTES, freeBytes: Math.max(0, free(this.#id)) };
    }
    override stats() {
      const { model, inUse, cached } = this.#own;
      return { ...super.stats(), modelBytes: this.#loaded ? model : 0, featureBytes: inUse + cached };
    }
    override async trim() {
      await super.trim();
      card(this.#id).kept = 0;
    }
  }
  const evict = (id: string, neededBytes = Number.POSITIVE_INFINITY) => {
    let freed = 0;
    for (const one of card(id).replicas) {
      const bytes = Math.min(one.cached, neededBytes - freed);
      one.cached -= bytes;
      freed += bytes;
    }
    card(id).kept += freed;
    return freed;
  };
  const context = contextOf({
    addon: {
      ...addon,
      devices: () => GPUS.map((it) => ({ ...it, freeBytes: Math.max(0, free(it.id)) })),
      Replica: OnCard as unknown as NativeAddon["Replica"],
    },
    modelBytes: MODEL_BYTES,
    memory: new DeviceMemory(budget, evict),
  });
  return { context, card, sum, free };
}

describe("work", () => {
  it("goes to the least loaded replica, spread over all that have as little", async () => {
    const pool = poolOf(["cuda:0", "cuda:1", "cuda:2"], contextOf());
    await pool.load();
    const work = await Promise.all(Array.from({ length: 7 }, () => pool.assign("encodeImages")));
    expect(work.map(({ replica }) => replica.name)).toEqual([
      "cuda:0",
      "cuda:1",
      "cuda:2",
      "cuda:0",
      "cuda:1",
      "cuda:2",
      "cuda:0",
    ]);
    work[1]?.arrived();
    work[4]?.arrived();
    expect((await pool.assign("encodeImages")).replica.name).toBe("cuda:1");
  });

  it("of a picture goes where its features are", async () => {
    const { acquire, engine, state } = await openEngine(
      { devices: GPUS, delayMs: 3 },
      { devices: ["cuda:0", "cuda:1"] },
    );
    const leases = await Promise.all(Array.from({ length: 6 }, (_, i) => acquire(`${i}`)));
    for (const lease of leases) {
      state.batches.length = 0;
      await engine.segmentObjects(lease, [CLICK], callOf(engine));
      expect(state.batches.map(({ device }) => device)).toEqual([lease.replica]);
    }
    expect(new Set(leases.map(({ replica }) => replica)).size).toBe(2);
  });

  it("of a session stays on its replica, and is refused where its memory does not fit", async () => {
    const memory = {
      totalBytes: 1000 * MB,
      freeBytes: 500 * MB,
      allocatedBytes: 0,
      peakBytes: null,
      modelBytes: 0,
      featureBytes: 0,
    };
    const { addon } = fakeAddon({ devices: GPUS, memory });
    const pool = poolOf(["cuda:0", "cuda:1"], contextOf({ addon }));
    const places = await Promise.all([1, 2, 3, 4].map(() => pool.pin(200 * MB)));
    expect(places.map(({ replica }) => replica.name)).toEqual(["cuda:0", "cuda:1", "cuda:0", "cuda:1"]);
    await expect(pool.pin(200 * MB)).rejects.toMatchObject({
      code: "DEVICE_MEMORY",
      details: { neededBytes: 200 * MB, freeBytes: 100 * MB },
    });
    places[1]?.release();
    places[1]?.release();
    expect((await pool.pin(200 * MB)).replica.name).toBe("cuda:1");
    expect(pool.replicas.map(({ sessions, reservedBytes }) => [sessions, reservedBytes / MB])).toEqual([
      [2, 400],
      [2, 400],
    ]);
  });
});

describe("the memory of a device that replicas share", () => {
  const TWO: DeviceChoice = [{ device: "cuda:0", replicas: 2 }];

  it("is not promised twice to replicas that are loaded at the same time", async () => {
    for (const [budget, others] of [
      [1500, 0],
      [undefined, CARD_BYTES - 1500],
    ] as const) {
      const { context, card } = cards(budget);
      card("cuda:0").others = others;
      const pool = poolOf(TWO, context);
      const loads = await Promise.allSettled(pool.replicas.map((it) => it.load()));
      expect(loads).toMatchObject([
        { status: "fulfilled" },
        { status: "rejected", reason: { code: "DEVICE_MEMORY", details: { freeBytes: 500 } } },
      ]);
      expect(pool.health().replicas.map(({ state }) => state)).toEqual(["ready", "waiting"]);
    }
  });

  it("is free again after a load that failed, before the next one looks at it", async () => {
    const { context, card } = cards(1500);
    const { Replica: OnCard } = context.addon;
    let loads = 0;
    class Failing extends OnCard {
      override async load(...args: Parameters<NativeReplica["load"]>) {
        const report = await super.load(...args);
        if (++loads === 1) throw nativeError("OUT_OF_MEMORY");
        return report;
      }
      override async close() {
        await new Promise((resolve) => setTimeout(resolve, 20));
        await super.close();
        for (const one of card("cuda:0").replicas.splice(0)) one.model = 0;
      }
    }
    card("cuda:0").others = CARD_BYTES - 1500;
    const pool = poolOf(TWO, { ...context, addon: { ...context.addon, Replica: Failing } });
    const ends = await Promise.allSettled(pool.replicas.map((it) => it.load()));
    expect(ends).toMatchObject([
      { status: "rejected", reason: { code: "OUT_OF_MEMORY" } },
      { status: "fulfilled" },
    ]);
  });

  it("is not promised to a session while a model is on its way into it", async () => {
    const { context, card } = cards(2500);
    const pool = poolOf(TWO, context);
    await pool.replicas[0]?.load();
    const loading = pool.replicas[1]?.load();
    while (card("cuda:0").replicas.length < 2) await null;
    await expect(pool.pin(600, ["cuda:0/0"])).rejects.toMatchObject({
      code: "DEVICE_MEMORY",
      details: { neededBytes: 600, freeBytes: 500 },
    });
    await loading;
    await expect(pool.pin(500, ["cuda:0/0"])).resolves.toBeDefined();
  });

  it("is waited for no longer than the signal, and what comes later is given back", async () => {
    const { context, card } = cards(2500);
    const pool = poolOf(TWO, context);
    await pool.replicas[0]?.load();
    const loading = pool.replicas[1]?.load();
    while (card("cuda:0").replicas.length < 2) await null;
    const stop = new AbortController();
    const pins = [
      // Waits for the load to end, to see what is left; is told to stop while it waits.
      pool.pin(600, ["cuda:0/0"], stop.signal),
      // Waits for the load itself, which goes on.
      pool.pin(100, ["cuda:0/1"], stop.signal),
    ];
    const ended = Promise.allSettled(pins);
    await null;
    stop.abort("enough");
    expect(await ended).toEqual(Array(2).fill({ status: "rejected", reason: "enough" }));
    expect(pool.replicas[1]?.state).toBe("loading");
    await loading;
    await vi.waitFor(() =>
      expect(pool.replicas.map(({ sessions, reservedBytes }) => sessions + reservedBytes)).toEqual([0, 0]),
    );
  });

  it("is not promised to two sessions, nor to a session and then to a model", async () => {
    const { context } = cards(2500);
    const pool = poolOf(TWO, context);
    await pool.replicas[0]?.load();
    const place = await pool.pin(600, ["cuda:0/0"]);
    await expect(pool.replicas[1]?.load()).rejects.toMatchObject({ details: { freeBytes: 900 } });
    place.release();
    await pool.replicas[1]?.load();
    const pins = await Promise.allSettled([pool.pin(400, ["cuda:0/0"]), pool.pin(400, ["cuda:0/1"])]);
    expect(pins.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
  });

  it("is counted once of what a session was promised and holds by now", async () => {
    const { context, card } = cards(2000);
    const pool = poolOf("cuda:0", context);
    await pool.load();
    const place = await pool.pin(400);
    const [own] = card("cuda:0").replicas;
    const room = (bytes: number) => {
      if (own) own.inUse = bytes;
      return pool.replicas[0]?.room().freeBytes;
    };
    place.countHeld(() => own?.inUse ?? 0);
    expect([0, 100, 400, 700].map(room)).toEqual([600, 600, 600, 300]);
    expect(pool.replicas[0]?.reservedBytes).toBe(400);
    place.release();
    expect(room(0)).toBe(1000);
  });

  it("goes to the session that fits, though one that does not is asked for at the same time", async () => {
    const { context } = cards(1300);
    const pool = poolOf("cuda:0", context);
    await pool.load();
    for (const sizes of [
      [200, 400],
      [400, 200],
    ] as const) {
      const pins = await Promise.allSettled(sizes.map((bytes) => pool.pin(bytes)));
      expect(pins.map(({ status }) => status)).toEqual(
        sizes.map((bytes) => (bytes === 200 ? "fulfilled" : "rejected")),
      );
      for (const pin of pins) if (pin.status === "fulfilled") pin.value.release();
    }
  });

  it.each([2000, undefined])(
    "is made free of what nobody uses, for a session and for a model (budget %s)",
    async (budget) => {
      const { context, card } = cards(budget);
      const pool = poolOf(TWO, context);
      await pool.replicas[0]?.load();
      const shared = card("cuda:0");
      const fill = () => {
        const [first] = shared.replicas;
        if (first) first.cached = 700;
        if (budget === undefined) shared.others = CARD_BYTES - 2000;
      };
      fill();
      const place = await pool.pin(1000);
      expect([shared.replicas[0]?.cached, shared.kept]).toEqual([0, 0]);
      place.release();
      fill();
      await pool.replicas[1]?.load();
      expect([shared.replicas[0]?.cached, shared.kept]).toEqual([0, 0]);
    },
  );
});

describe("what is in the way of a session or a model", () => {
  const ways = [
    ["session", (pool: DevicePool) => pool.pin(1000)],
    ["model", (pool: DevicePool) => pool.replicas[1]?.load()],
  ] as const;

  it.each(ways)("is given back by the allocator first, before features go (%s)", async (_, ask) => {
    const { context, card } = cards();
    const pool = poolOf([{ device: "cuda:0", replicas: 2 }], context);
    await pool.replicas[0]?.load();
    const shared = card("cuda:0");
    const [first] = shared.replicas;
    if (first) first.cached = 700;
    shared.kept = 400;
    shared.others = CARD_BYTES - 2700;
    await ask(pool);
    expect([first?.cached, shared.kept]).toEqual([700, 0]);
  });

  it.each(ways.flatMap(([what, ask]) => [2500, undefined].map((budget) => [what, budget, ask] as const)))(
    "goes as far as it takes and no further (%s, budget %s)",
    async (_, budget, ask) => {
      const { context, card } = cards(budget);
      const pool = poolOf([{ device: "cuda:0", replicas: 2 }], context);
      await pool.replicas[0]?.load();
      const shared = card("cuda:0");
      const [first] = shared.replicas;
      if (first) first.cached = 700;
      shared.kept = 400;
      if (budget === undefined) shared.others = CARD_BYTES - 2500;
      await ask(pool);
      expect([first?.cached, shared.kept]).toEqual([500, 0]);
    },
  );
});

describe("whatever happens in whatever order", () => {
  const step = fc.oneof(
    { weight: 8, arbitrary: fc.record({ do: fc.constant("assign" as const) }) },
    { weight: 6, arbitrary: fc.record({ do: fc.constant("arrive" as const), which: fc.nat(20) }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant("pin" as const), mb: fc.nat(300) }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant("unpin" as const), which: fc.nat(20) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("fault" as const), which: fc.nat(2) }) },
  );

  it("nobody is sent to a replica that is out, or busier than another; budgets hold, and all is given back", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 50, size: "max" }), async (steps) => {
        const memory: FakeState["memory"] = {
          totalBytes: 1000 * MB,
          freeBytes: 500 * MB,
          allocatedBytes: 0,
          peakBytes: null,
          modelBytes: 0,
          featureBytes: 0,
        };
        const faulty = new Set<string>();
        const { addon } = fakeAddon({
          devices: GPUS,
          memory,
          failures: {
            encodeImages: ({ device }: FakeAsked) =>
              faulty.has(device) ? nativeError("DEVICE_FAULT") : undefined,
          },
        });
        const pool = poolOf(["cuda:0", "cuda:1", "cuda:2"], contextOf({ addon }));
        await pool.load();
        // What the pool should know, on paper.
        const load = new Map(pool.replicas.map((it) => [it, 0]));
        const reserved = new Map(pool.replicas.map((it) => [it, 0]));
        const alive = () => pool.replicas.filter(({ name }) => !faulty.has(name));
        const work: Assignment[] = [];
        const places: { place: SessionPlace; mb: number }[] = [];
        const add = (map: typeof load, replica: Replica, by: number) =>
          map.set(replica, (map.get(replica) ?? 0) + by);
        for (const it of steps) {
          if (it.do === "assign") {
            const got = await pool.assign("encodeImages").catch((error) => error);
            if (alive().length === 0) expect(got).toMatchObject({ code: "DEVICE_FAULT" });
            else {
              const least = Math.min(...alive().map((one) => load.get(one) as number));
              expect(alive()).toContain(got.replica);
              expect(load.get(got.replica)).toBe(least);
              add(load, got.replica, 1);
              work.push(got);
            }
          } else if (it.do === "arrive") {
            const [one] = work.splice(it.which % Math.max(1, work.length), 1);
            one?.arrived();
            if (one) add(load, one.replica, -1);
          } else if (it.do === "pin") {
            const got = await pool.pin(it.mb * MB).catch((error) => error);
            const roomy = alive().filter((one) => (reserved.get(one) as number) + it.mb <= 500);
            if (roomy.length === 0) {
              expect(got.code).toBe(alive().length === 0 ? "DEVICE_FAULT" : "DEVICE_MEMORY");
            } else {
              expect(roomy).toContain(got.replica);
              add(reserved, got.replica, it.mb);
              places.push({ place: got, mb: it.mb });
            }
          } else if (it.do === "unpin") {
            const [one] = places.splice(it.which % Math.max(1, places.length), 1);
            one?.place.release();
            if (one) add(reserved, one.place.replica, -one.mb);
          } else {
            const replica = pool.replicas[it.which] as Replica;
            if (faulty.has(replica.name)) continue;
            faulty.add(replica.name);
            const pixels = { data: new Uint8Array(3), width: 1, height: 1 };
            await expect(replica.submit("encodeImages", { pixels })).rejects.toMatchObject({
              code: "DEVICE_FAULT",
            });
          }
          for (const replica of pool.replicas) {
            expect(replica.reservedBytes).toBe((reserved.get(replica) as number) * MB);
            expect(replica.reservedBytes).toBeLessThanOrEqual(500 * MB);
          }
          const out = faulty.size;
          expect(pool.health().status).toBe(out === 0 ? "ready" : out === 3 ? "unavailable" : "degraded");
        }
        for (const one of work) one.arrived();
        for (const { place } of places) place.release();
        expect(
          pool.replicas.every(
            ({ queue, sessions, reservedBytes }) => queue.load + sessions + reservedBytes === 0,
          ),
        ).toBe(true);
        await pool.close();
        expect(pool.health().status).toBe("unavailable");
      }),
      { numRuns: 60 },
    );
  }, 180_000);

  const bytes = fc.integer({ min: 1, max: 2500 });
  const onCards = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant("ask" as const),
        // Replicas to load, and sessions to open, all at the same time.
        loads: fc.subarray([0, 1, 2, 3]),
        pins: fc.array(bytes, { maxLength: 3 }),
        loadsFirst: fc.boolean(),
      }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constant("unpin" as const), which: fc.nat(20) }) },
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constantFrom("use" as const, "cache" as const),
        which: fc.nat(3),
        bytes,
      }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constant("free" as const), which: fc.nat(3) }) },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant("others" as const),
        which: fc.nat(1),
        bytes: fc.nat(CARD_BYTES),
      }),
    },
  );

  it("no byte is promised twice, and nothing is refused that would fit once all that can be spared is freed", async () => {
    const seen = { granted: 0, refused: 0, madeRoom: 0 };
    await fc.assert(
      fc.asyncProperty(
        fc.array(onCards, { minLength: 5, maxLength: 40, size: "max" }),
        fc.option(fc.integer({ min: 1000, max: 8000 }), { nil: undefined }),
        async (steps, budget) => {
          const { context, card, sum, free } = cards(budget);
          const devices = ["cuda:0", "cuda:1"] as const;
          const choice = devices.map((device) => ({ device, replicas: 2, required: false }));
          const pool = poolOf(choice, context);
          const idOf = (replica: Replica) => replica.device?.id as string;
          const places: { place: SessionPlace; bytes: number }[] = [];
          /** What cannot be spared: models, features in use, what sessions were promised. */
          const fixed = (id: string) =>
            sum(id, ({ model, inUse }) => model + inUse) +
            places
              .filter(({ place }) => idOf(place.replica) === id)
              .reduce((total, one) => total + one.bytes, 0);
          const limit = (id: string) =>
            Math.min(budget ?? Number.POSITIVE_INFINITY, CARD_BYTES - card(id).others);
          const fits = (id: string, more: number) => fixed(id) + more <= limit(id);
          const ofReplica = (which: number) => {
            const replica = pool.replicas[which] as Replica;
            const id = idOf(replica);
            const loaded = pool.replicas.filter((it) => idOf(it) === id && it.state === "ready");
            return {
              id,
              own: replica.state === "ready" ? card(id).replicas.at(loaded.indexOf(replica)) : undefined,
            };
          };
          for (const it of steps) {
            if (it.do === "ask") {
              const before = devices.map((id) => sum(id, ({ cached }) => cached));
              const load = () => it.loads.map((which) => pool.replicas[which]?.load());
              const open = () => it.pins.map((size) => pool.pin(size));
              const [loads, pins] = it.loadsFirst
                ? [load(), open()]
                : ([open(), load()].reverse() as [ReturnType<typeof load>, ReturnType<typeof open>]);
              const loaded = await Promise.allSettled(loads);
              const pinned = await Promise.allSettled(pins);
              const granted = new Set<string>();
              for (const [i, one] of pinned.entries()) {
                if (one.status === "rejected") continue;
                places.push({ place: one.value, bytes: it.pins[i] as number });
                granted.add(idOf(one.value.replica));
              }
              for (const [i, one] of loaded.entries()) {
                const replica = pool.replicas[it.loads[i] as number] as Replica;
                const id = idOf(replica);
                expect(one.status === "fulfilled").toBe(replica.state === "ready");
                if (one.status === "fulfilled") continue;
                seen.refused++;
                expect(one.reason.code).toBe("DEVICE_MEMORY");
                expect(fits(id, MODEL_BYTES)).toBe(false);
              }
              for (const [i, one] of pinned.entries()) {
                if (one.status === "fulfilled") continue;
                seen.refused++;
                expect(one.reason.code).toBe("DEVICE_MEMORY");
                for (const id of devices) {
                  const there = pool.replicas.some((r) => idOf(r) === id && r.state === "ready");
                  expect(fits(id, (it.pins[i] as number) + (there ? 0 : MODEL_BYTES))).toBe(false);
                }
              }
              for (const id of granted) {
                seen.granted++;
                // What is cached or kept was made to go where it was in the way.
                expect(
                  fits(
                    id,
                    sum(id, ({ cached }) => cached),
                  ),
                ).toBe(true);
                expect(free(id)).toBeGreaterThanOrEqual(0);
              }
              if (devices.some((id, i) => sum(id, ({ cached }) => cached) < (before[i] as number)))
                seen.madeRoom++;
            } else if (it.do === "unpin") {
              const [one] = places.splice(it.which % Math.max(1, places.length), 1);
              one?.place.release();
            } else if (it.do === "others") {
              const id = devices[it.which] as string;
              card(id).others += Math.min(it.bytes - card(id).others, free(id));
            } else {
              const { id, own } = ofReplica(it.which);
              if (!own) continue;
              if (it.do === "free") {
                card(id).kept += own.inUse;
                own.inUse = 0;
              } else if (it.bytes <= free(id)) own[it.do === "use" ? "inUse" : "cached"] += it.bytes;
            }
          }
          for (const { place } of places) place.release();
          expect(pool.replicas.every((it) => it.sessions + it.promisedBytes === 0)).toBe(true);
          await pool.close();
        },
      ),
      { numRuns: 150 },
    );
    // Or it would have proved nothing.
    expect(Math.min(seen.granted, seen.refused, seen.madeRoom)).toBeGreaterThan(20);
  }, 180_000);
});
