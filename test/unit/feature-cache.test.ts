import fc from "fast-check";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { FeatureCache, type FeatureCacheOptions, type Pin } from "../../lib/cache/feature-cache.js";

/** A value that knows whether it lives, and complains when it is freed twice. */
class Thing {
  static live = new Set<Thing>();
  disposed = false;
  constructor(
    readonly key: string,
    readonly bytes: number,
    readonly tier: "device" | "host" = "device",
  ) {
    Thing.live.add(this);
  }
  dispose(): void {
    if (this.disposed) throw new Error(`${this.key} was disposed twice`);
    this.disposed = true;
    Thing.live.delete(this);
  }
}

/** A promise that is settled from outside. */
function deferred<T>() {
  let resolve: (value: T) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

const flush = () => new Promise<void>((done) => setImmediate(done));

beforeEach(() => Thing.live.clear());

function open(changes: Partial<FeatureCacheOptions<Thing>> = {}) {
  return new FeatureCache<Thing>({ deviceBytes: 100, hostBytes: 0, ttlMs: 0, ...changes });
}

/** Asks for a key whose value is made at once. */
function use(cache: FeatureCache<Thing>, key: string, bytes = 30, signal?: AbortSignal) {
  return cache.use({ key, kind: "picture", signal, make: async () => new Thing(key, bytes) });
}

/** Asks and gives back at once; tells what it was. */
async function visit(cache: FeatureCache<Thing>, key: string, bytes = 30) {
  const pin = await use(cache, key, bytes);
  pin.release();
  return pin.outcome;
}

const keysOf = (cache: FeatureCache<Thing>) => cache.entries().map(({ key }) => key);

describe("keeping", () => {
  it("finds what was made before, and throws out what was used longest ago", async () => {
    const cache = open();
    for (const key of ["a", "b", "c"]) expect(await visit(cache, key)).toBe("miss");
    expect(await visit(cache, "a")).toBe("hit");
    expect(await visit(cache, "d")).toBe("miss");
    expect(keysOf(cache)).toEqual(["c", "a", "d"]);
    expect(cache.stats()).toMatchObject({ entries: 3, bytes: 90, hits: 1, misses: 4, evictions: 1 });
    expect(Thing.live.size).toBe(3);
  });

  it("leaves alone what is in use, and does not keep what then does not fit", async () => {
    const cache = open();
    const pins = await Promise.all(["a", "b", "c"].map((key) => use(cache, key)));
    const fourth = await use(cache, "d");
    expect(cache.stats()).toMatchObject({ entries: 3, bytes: 90, looseBytes: 30, pinned: 4 });
    expect((await use(cache, "d")).outcome).toBe("hit");
    expect(fourth.value.disposed).toBe(false);
    for (const pin of pins) pin.release();
    // One of two pins on d is still there; when it goes there is room after all.
    fourth.release();
    expect(keysOf(cache)).toContain("d");
  });

  it("uses what is larger than the budget, and frees it", async () => {
    const cache = open();
    const pin = await use(cache, "big", 101);
    expect(pin.value.disposed).toBe(false);
    expect(cache.stats()).toMatchObject({ bytes: 0, looseBytes: 101 });
    pin.release();
    pin.release();
    expect(Thing.live.size).toBe(0);
    expect(await visit(cache, "big", 101)).toBe("miss");
  });

  it("frees at once what is not to be kept, and counts it nowhere", async () => {
    const cache = open();
    const once = () =>
      cache.use({
        key: "a",
        kind: "picture",
        signal: undefined,
        keep: false,
        make: async () => new Thing("a", 10),
      });
    const [first, second] = await Promise.all([once(), once()]);
    expect([first.outcome, second.outcome, Thing.live.size]).toEqual(["off", "off", 2]);
    first.release();
    second.release();
    expect(Thing.live.size).toBe(0);
    expect(cache.stats()).toMatchObject({ hits: 0, misses: 0, entries: 0 });
  });

  it("forgets what was not used for its time to live, but not what is in use", async () => {
    let now = 0;
    const cache = open({ ttlMs: 1000, now: () => now });
    await visit(cache, "a");
    const held = await use(cache, "b");
    now = 999;
    expect(await visit(cache, "a")).toBe("hit");
    now = 1998;
    expect(await visit(cache, "c")).toBe("miss");
    expect(keysOf(cache)).toEqual(["b", "a", "c"]);
    now = 2000;
    expect(await visit(cache, "a")).toBe("miss");
    expect(held.value.disposed).toBe(false);
    expect(cache.stats().expirations).toBe(1);
  });

  it("frees by itself what has expired", async () => {
    const cache = open({ ttlMs: 20 });
    await visit(cache, "a");
    await vi.waitFor(() => expect(Thing.live.size).toBe(0), { interval: 5 });
    expect(cache.stats()).toMatchObject({ entries: 0, bytes: 0, expirations: 1 });
  });

  it("can be cleared: what is in use goes when it is released", async () => {
    const cache = open();
    await visit(cache, "a");
    const pin = await use(cache, "b");
    cache.clear();
    expect([cache.stats().bytes, Thing.live.size, pin.value.disposed]).toEqual([0, 1, false]);
    expect(await visit(cache, "b")).toBe("miss");
    pin.release();
    expect(keysOf(cache)).toEqual(["b"]);
    cache.close();
    expect(Thing.live.size).toBe(0);
  });

  it("evicts on demand what is not in use", async () => {
    const cache = open();
    await visit(cache, "a");
    const pin = await use(cache, "b");
    expect(cache.evict(() => true)).toBe(30);
    expect(keysOf(cache)).toEqual(["b"]);
    pin.release();
    expect(cache.evict(({ key }) => key === "x")).toBe(0);
  });

  it("evicts on demand what was used longest ago, and no more than it takes", async () => {
    const cache = open();
    for (const key of ["a", "b", "c", "a"]) await visit(cache, key);
    expect(cache.evict(() => true, 1)).toBe(30);
    expect(keysOf(cache)).toEqual(["c", "a"]);
    expect(cache.evict(() => true, 31)).toBe(60);
  });

  it("tells pictures and texts apart", async () => {
    const cache = open();
    const text = () =>
      cache.use({ key: "a", kind: "text", signal: undefined, make: async () => new Thing("a", 1) });
    await visit(cache, "a");
    (await text()).release();
    (await text()).release();
    expect(cache.stats()).toMatchObject({ hits: 0, misses: 1, textHits: 1, textMisses: 1, entries: 2 });
  });
});

describe("making once", () => {
  it("serves 20 callers with one encode", async () => {
    const cache = open();
    const work = deferred<Thing>();
    const make = vi.fn(() => work.promise);
    const asked = Array.from({ length: 20 }, () =>
      cache.use({ key: "a", kind: "picture", signal: undefined, make }),
    );
    await flush();
    expect(cache.stats().making).toBe(1);
    work.resolve(new Thing("a", 10));
    const pins = await Promise.all(asked);
    expect(make).toHaveBeenCalledTimes(1);
    expect(new Set(pins.map(({ value }) => value)).size).toBe(1);
    expect(pins.map(({ outcome }) => outcome).sort()).toEqual([...Array(19).fill("hit"), "miss"]);
    for (const pin of pins) pin.release();
    expect(cache.entries()).toEqual([{ key: "a", kind: "picture", tier: "device", bytes: 10, pins: 0 }]);
  });

  it("one who leaves does not disturb the others; the last one stops the work", async () => {
    const cache = open();
    const work = deferred<Thing>();
    let stop: AbortSignal | undefined;
    const make = vi.fn((signal: AbortSignal) => {
      stop = signal;
      return work.promise;
    });
    const controllers = [new AbortController(), new AbortController(), new AbortController()];
    const asked = controllers.map(({ signal }) => cache.use({ key: "a", kind: "picture", signal, make }));
    await flush();
    controllers[0]?.abort("first");
    await expect(asked[0]).rejects.toBe("first");
    expect(stop?.aborted).toBe(false);
    controllers[1]?.abort("second");
    controllers[2]?.abort("third");
    await expect(asked[1]).rejects.toBe("second");
    await expect(asked[2]).rejects.toBe("third");
    expect(stop?.aborted).toBe(true);

    // A new caller waits until the stopped work has ended, and then has it done anew.
    const later = deferred<Thing>();
    const again = vi.fn(() => later.promise);
    const next = cache.use({ key: "a", kind: "picture", signal: undefined, make: again });
    await flush();
    expect(again).not.toHaveBeenCalled();
    work.reject(new Error("stopped"));
    await flush();
    expect(again).toHaveBeenCalledTimes(1);
    later.resolve(new Thing("a", 10));
    expect((await next).outcome).toBe("miss");
  });

  it("a failure reaches everyone, and the next call tries again", async () => {
    const cache = open();
    const make = async () => {
      throw new Error("broken");
    };
    const asked = [1, 2, 3].map(() => cache.use({ key: "a", kind: "picture", signal: undefined, make }));
    for (const one of asked) await expect(one).rejects.toThrow("broken");
    expect(cache.stats()).toMatchObject({ making: 0, entries: 0 });
    expect(await visit(cache, "a")).toBe("miss");
  });

  it("a failure leaves nobody behind, at whatever moment they came", async () => {
    // One after the other, so that some come in the middle of the failing.
    for (let moment = 0; moment < 12; moment++) {
      const cache = open();
      const work = deferred<Thing>();
      const first = cache.use({ key: "a", kind: "picture", signal: undefined, make: () => work.promise });
      await flush();
      work.reject(new Error("broken"));
      for (let i = 0; i < moment; i++) await null;
      let outcome = "left behind";
      use(cache, "a").then(
        (pin) => {
          outcome = pin.outcome;
        },
        (error: Error) => {
          outcome = error.message;
        },
      );
      await expect(first).rejects.toThrow("broken");
      await flush();
      expect([moment, outcome]).toEqual([moment, expect.stringMatching(/^(broken|miss)$/)]);
    }
  });

  it("delivers what was under way when the cache was cleared, and keeps it not", async () => {
    const cache = open();
    const work = deferred<Thing>();
    const asked = cache.use({ key: "a", kind: "picture", signal: undefined, make: () => work.promise });
    await flush();
    cache.clear();
    work.resolve(new Thing("a", 10));
    const pin = await asked;
    expect(pin.value.disposed).toBe(false);
    expect(keysOf(cache)).toEqual([]);
    pin.release();
    expect(Thing.live.size).toBe(0);
  });
});

describe("the host's memory", () => {
  const move = async (thing: Thing, to: "device" | "host") => new Thing(thing.key, thing.bytes, to);

  it("takes what no longer fits the device, and gives it back when it is used", async () => {
    const cache = open({ hostBytes: 60, move });
    for (const key of ["a", "b", "c", "d"]) {
      await visit(cache, key);
      await flush();
    }
    expect(cache.stats()).toMatchObject({
      entries: 3,
      hostEntries: 1,
      hostBytes: 30,
      offloads: 1,
      bytes: 90,
    });
    const pin = await use(cache, "a");
    expect([pin.outcome, pin.value.tier]).toEqual(["hit", "device"]);
    pin.release();
    await flush();
    expect(cache.stats()).toMatchObject({ restores: 1, hits: 1, misses: 4, evictions: 0 });
    expect(cache.stats().bytes).toBeLessThanOrEqual(100);
    cache.close();
    expect(Thing.live.size).toBe(0);
  });

  it("has a budget of its own", async () => {
    const cache = open({ hostBytes: 60, move });
    for (const key of ["a", "b", "c", "d", "e", "f", "g"]) {
      await visit(cache, key);
      await flush();
    }
    expect(cache.stats()).toMatchObject({ entries: 3, hostEntries: 2, hostBytes: 60, evictions: 2 });
    expect(Thing.live.size).toBe(5);
  });

  it("is not used for what is needed again before it has arrived", async () => {
    const moving = deferred<Thing>();
    let first = true;
    const cache = open({
      hostBytes: 60,
      move: (thing, to) => {
        if (!first) return move(thing, to);
        first = false;
        return moving.promise;
      },
    });
    for (const key of ["a", "b", "c"]) await visit(cache, key);
    const fourth = await use(cache, "d");
    expect(cache.stats()).toMatchObject({ bytes: 90, looseBytes: 30 });
    const pin = await use(cache, "a");
    expect([pin.outcome, pin.value.tier]).toEqual(["hit", "device"]);
    moving.resolve(new Thing("a", 30, "host"));
    await flush();
    expect(pin.value.disposed).toBe(false);
    expect(cache.stats().bytes).toBeLessThanOrEqual(100);
    pin.release();
    fourth.release();
    cache.close();
    expect(Thing.live.size).toBe(0);
  });

  it("is asked once for what is used while it is copied, and sent away again before the copy is there", async () => {
    const moves: ReturnType<typeof deferred<Thing>>[] = [];
    const cache = open({
      hostBytes: 300,
      move: () => {
        const work = deferred<Thing>();
        moves.push(work);
        return work.promise;
      },
    });
    for (const key of ["a", "b", "c"]) await visit(cache, key);
    const held = [await use(cache, "b"), await use(cache, "c")];
    const fourth = await use(cache, "d");
    expect(cache.stats()).toMatchObject({ hostBytes: 30, looseBytes: 30 });
    // a is used in the middle of its copy, and then has to go again: d waits for its room.
    (await use(cache, "a")).release();
    expect([moves.length, cache.stats().hostBytes]).toEqual([1, 30]);
    moves[0]?.resolve(new Thing("a", 30, "host"));
    await flush();
    expect(cache.stats()).toMatchObject({
      bytes: 90,
      looseBytes: 0,
      hostEntries: 1,
      hostBytes: 30,
      offloads: 1,
    });
    for (const pin of [...held, fourth]) pin.release();
    cache.clear();
    expect([cache.stats().hostBytes, Thing.live.size]).toEqual([0, 0]);
  });

  it("gives up its copy to what came back though nobody waited for it any more", async () => {
    const back = deferred<Thing>();
    const cache = open({
      hostBytes: 60,
      move: (thing, to) => (to === "host" ? move(thing, to) : back.promise),
    });
    for (const key of ["a", "b", "c", "d"]) {
      await visit(cache, key);
      await flush();
    }
    const controller = new AbortController();
    const asked = use(cache, "a", 30, controller.signal);
    await flush();
    controller.abort("enough");
    await expect(asked).rejects.toBe("enough");
    // Too late to stop it.
    back.resolve(new Thing("a", 30));
    await flush();
    const live = (tier: string) => [...Thing.live].filter((it) => it.tier === tier).length * 30;
    expect(cache.stats()).toMatchObject({ bytes: live("device"), hostBytes: live("host"), looseBytes: 0 });
    expect(keysOf(cache).filter((key) => key === "a")).toHaveLength(1);
    cache.clear();
    expect([Thing.live.size, cache.stats().hostBytes]).toEqual([0, 0]);
  });

  it("that fails is done without", async () => {
    let fail = true;
    const cache = open({
      hostBytes: 60,
      move: async (thing, to) => {
        if (fail) throw new Error("no room");
        return move(thing, to);
      },
    });
    for (const key of ["a", "b", "c", "d"]) {
      await visit(cache, key);
      await flush();
    }
    expect(cache.stats()).toMatchObject({ hostEntries: 0, hostBytes: 0, evictions: 1 });
    fail = false;
    await visit(cache, "e");
    await flush();
    expect(cache.stats().hostEntries).toBe(1);
    fail = true;
    // b cannot come back: it is made anew.
    expect(await visit(cache, "b")).toBe("miss");
    await flush();
    cache.close();
    expect(Thing.live.size).toBe(0);
  });
});

/** The cache as one would write it down on paper: no waiting, no host. */
class PaperCache {
  entries: { key: string; bytes: number; pins: number; kept: boolean; endsAt: number }[] = [];
  constructor(
    readonly budget: number,
    readonly ttl: number,
  ) {}
  bytes() {
    return this.entries.filter(({ kept }) => kept).reduce((sum, { bytes }) => sum + bytes, 0);
  }
  use(key: string, bytes: number, now: number) {
    this.entries = this.entries.filter(({ pins, endsAt }) => pins > 0 || endsAt > now);
    const known = this.entries.find((it) => it.key === key);
    const entry = known ?? { key, bytes, pins: 0, kept: false, endsAt: Number.POSITIVE_INFINITY };
    this.touch(entry, now);
    if (!known) this.admit(entry);
    entry.pins++;
    return { entry, outcome: known ? "hit" : "miss" };
  }
  release(entry: (typeof this.entries)[number], now: number) {
    entry.pins--;
    if (!this.entries.includes(entry)) return;
    this.touch(entry, now);
    if (entry.pins > 0 || entry.kept) return;
    this.admit(entry);
    if (!entry.kept) this.entries = this.entries.filter((it) => it !== entry);
  }
  touch(entry: (typeof this.entries)[number], now: number) {
    this.entries = [...this.entries.filter((it) => it !== entry), entry];
    entry.endsAt = now + this.ttl;
  }
  admit(entry: (typeof this.entries)[number]) {
    const free = this.entries.filter(({ kept, pins }) => kept && pins === 0);
    const most = free.reduce((sum, { bytes }) => sum + bytes, this.budget - this.bytes());
    if (entry.bytes > most) return;
    while (this.bytes() + entry.bytes > this.budget) {
      const victim = free.shift();
      this.entries = this.entries.filter((it) => it !== victim);
    }
    entry.kept = true;
  }
}

const RUNS = 300;

describe("whatever is asked in whatever order", () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant("use" as const), key: fc.nat(7) }) },
    { weight: 5, arbitrary: fc.record({ do: fc.constant("release" as const), which: fc.nat(20) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.nat(40) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("clear" as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("evict" as const), key: fc.nat(7) }) },
  );

  it("it answers as the cache on paper does, step by step", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 60, size: "max" }),
        fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 8, maxLength: 8 }),
        async (steps, sizes) => {
          Thing.live.clear();
          let now = 0;
          const cache = open({ ttlMs: 50, now: () => now });
          const paper = new PaperCache(100, 50);
          const pins: { real: Pin<Thing>; model: ReturnType<PaperCache["use"]>["entry"] }[] = [];
          for (const it of steps) {
            if (it.do === "use") {
              const bytes = sizes[it.key] as number;
              const model = paper.use(`${it.key}`, bytes, now);
              const real = await use(cache, `${it.key}`, bytes);
              expect(real.outcome).toBe(model.outcome);
              pins.push({ real, model: model.entry });
            } else if (it.do === "release" && pins.length > 0) {
              const [pin] = pins.splice(it.which % pins.length, 1);
              pin?.real.release();
              if (pin) paper.release(pin.model, now);
            } else if (it.do === "wait") {
              now += it.ms;
            } else if (it.do === "clear") {
              cache.clear();
              paper.entries = [];
            } else if (it.do === "evict") {
              cache.evict(({ key }) => key === `${it.key}`);
              paper.entries = paper.entries.filter(({ key, pins }) => pins > 0 || key !== `${it.key}`);
            }
            expect(cache.entries().map(({ key, pins }) => [key, pins])).toEqual(
              paper.entries.map(({ key, pins }) => [key, pins]),
            );
            expect(cache.stats().bytes).toBe(paper.bytes());
            expect(pins.every(({ real }) => !real.value.disposed)).toBe(true);
          }
          for (const { real } of pins) real.release();
          expect([...Thing.live].reduce((sum, { bytes }) => sum + bytes, 0)).toBe(cache.stats().bytes);
          cache.close();
          expect(Thing.live.size).toBe(0);
        },
      ),
      { numRuns: RUNS },
    );
  }, 60_000);

  const chaos = fc.oneof(
    { weight: 8, arbitrary: fc.record({ do: fc.constant("ask" as const), key: fc.nat(4) }) },
    { weight: 6, arbitrary: fc.record({ do: fc.constant("made" as const), which: fc.nat(9) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("failed" as const), which: fc.nat(9) }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant("leave" as const), which: fc.nat(9) }) },
    { weight: 6, arbitrary: fc.record({ do: fc.constant("release" as const), which: fc.nat(9) }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant("moved" as const), which: fc.nat(9) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("stuck" as const), which: fc.nat(9) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("clear" as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("evict" as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.nat(200) }) },
  );

  it("it never goes over a budget, never makes a key twice at once, frees nothing in use and in the end everything", async () => {
    await fc.assert(
      // The largest key has 67 bytes: from no room for it to room for several copies of everything.
      fc.asyncProperty(
        fc.array(chaos, { maxLength: 80, size: "max" }),
        fc.integer({ min: 50, max: 500 }),
        async (steps, room) => {
          Thing.live.clear();
          let now = 0;
          const making: { key: string; work: ReturnType<typeof deferred<Thing>> }[] = [];
          const moves: { thing: Thing; to: "device" | "host"; work: ReturnType<typeof deferred<Thing>> }[] =
            [];
          const asking: { controller: AbortController; over: boolean }[] = [];
          const pins: Pin<Thing>[] = [];
          const settled: Promise<void>[] = [];
          const cache = open({
            hostBytes: room,
            ttlMs: 150,
            now: () => now,
            move: (thing, to) => {
              const work = deferred<Thing>();
              moves.push({ thing, to, work });
              return work.promise;
            },
          });
          const finish = (it: (typeof making)[number], fine: boolean) => {
            making.splice(making.indexOf(it), 1);
            if (fine) it.work.resolve(new Thing(it.key, 15 + Number(it.key) * 13));
            else it.work.reject(new Error("failed"));
          };
          const arrive = (it: (typeof moves)[number], fine: boolean) => {
            moves.splice(moves.indexOf(it), 1);
            if (fine && !it.thing.disposed) it.work.resolve(new Thing(it.thing.key, it.thing.bytes, it.to));
            else it.work.reject(new Error("stuck"));
          };
          const live = (tier: string) =>
            [...Thing.live].filter((it) => it.tier === tier).reduce((sum, { bytes }) => sum + bytes, 0);
          const check = () => {
            const { bytes, hostBytes } = cache.stats();
            expect(bytes).toBeLessThanOrEqual(100);
            expect(hostBytes).toBeLessThanOrEqual(room);
            // Set aside is what is there and what is on its way, and no more.
            const coming = moves
              .filter(({ to }) => to === "host")
              .reduce((sum, { thing }) => sum + thing.bytes, 0);
            expect(hostBytes).toBeLessThanOrEqual(live("host") + coming);
            expect(new Set(making.map(({ key }) => key)).size).toBe(making.length);
            for (const pin of pins) expect([pin.value.disposed, pin.value.tier]).toEqual([false, "device"]);
          };
          for (const it of steps) {
            if (it.do === "ask") {
              const key = `${it.key}`;
              const controller = new AbortController();
              const one = { controller, over: false };
              asking.push(one);
              const make = () => {
                const work = deferred<Thing>();
                making.push({ key, work });
                return work.promise;
              };
              settled.push(
                cache
                  .use({ key, kind: "picture", signal: controller.signal, make })
                  .then(
                    (pin) => void pins.push(pin),
                    () => {},
                  )
                  .finally(() => {
                    one.over = true;
                  }),
              );
            } else if (it.do === "made" || it.do === "failed") {
              const one = making[it.which % Math.max(1, making.length)];
              if (one) finish(one, it.do === "made");
            } else if (it.do === "moved" || it.do === "stuck") {
              const one = moves[it.which % Math.max(1, moves.length)];
              if (one) arrive(one, it.do === "moved");
            } else if (it.do === "leave") {
              asking.filter(({ over }) => !over)[it.which]?.controller.abort();
            } else if (it.do === "release") {
              const [pin] = pins.splice(it.which % Math.max(1, pins.length), 1);
              pin?.release();
            } else if (it.do === "wait") now += it.ms;
            else if (it.do === "evict") cache.evict(() => true);
            else cache.clear();
            await flush();
            check();
          }
          // Everything ends: nothing waits for ever, and every byte comes back.
          for (let i = 0; (making.length > 0 || moves.length > 0) && i < 200; i++) {
            for (const one of [...making]) finish(one, true);
            for (const one of [...moves]) arrive(one, true);
            await flush();
            check();
          }
          await Promise.all(settled);
          for (const pin of pins.splice(0)) pin.release();
          for (let i = 0; moves.length > 0 && i < 50; i++) {
            for (const one of [...moves]) arrive(one, true);
            await flush();
          }
          const stats = cache.stats();
          expect([stats.pinned, stats.making, stats.looseBytes]).toEqual([0, 0, 0]);
          expect([live("device"), live("host")]).toEqual([stats.bytes, stats.hostBytes]);
          cache.clear();
          expect([Thing.live.size, cache.stats().bytes, cache.stats().hostBytes]).toEqual([0, 0, 0]);
        },
      ),
      { numRuns: RUNS },
    );
  }, 60_000);
});
