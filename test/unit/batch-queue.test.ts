import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import { type BatchItem, type BatchLimits, BatchQueue } from "../../lib/devices/batch-queue.js";

type Stage = "encode" | "decode";
type Item = BatchItem<number, string>;

const LIMITS: BatchLimits = { maxBatch: 3, maxDelayMs: 20, queueTimeoutMs: 0 };

/** A queue whose batches end when they are told to. */
function open(limits: Partial<BatchLimits> = {}) {
  const started: { stage: Stage; items: Item[]; finish: () => void; at: number }[] = [];
  const running = new Set<(typeof started)[number]>();
  const queue = new BatchQueue<Stage>(
    () => ({ ...LIMITS, ...limits }),
    (stage, given) =>
      new Promise<void>((resolve) => {
        const items = given as unknown as Item[];
        const batch = {
          stage,
          items,
          at: performance.now(),
          finish: () => {
            for (const item of items) item.resolve(`${item.input} done`);
            running.delete(batch);
            resolve();
          },
        };
        started.push(batch);
        running.add(batch);
      }),
  );
  const submit = (input: number, stage: Stage = "encode", signal?: AbortSignal, startedAt?: number) =>
    queue.submit<number, string>(stage, input, { signal, startedAt });
  return { queue, started, running, submit };
}

const turn = () => new Promise<void>((done) => setImmediate(done));
const inputs = (batch: { items: Item[] } | undefined) => batch?.items.map(({ input }) => input);
const nothing = () => {};

afterEach(() => vi.useRealTimers());

describe("gathering", () => {
  it("does not hold up a lone call", async () => {
    const { started, submit } = open({ maxDelayMs: 10_000 });
    const one = submit(1);
    await turn();
    expect(inputs(started[0])).toEqual([1]);
    started[0]?.finish();
    expect(await one).toBe("1 done");
  });

  it("takes together what comes together, however it is awaited", async () => {
    const { started, submit } = open();
    for (let i = 0; i < 3; i++) {
      void (async () => {
        for (let hops = 0; hops < i * 5; hops++) await null;
        await submit(i);
      })();
    }
    await turn();
    expect(started.map(inputs)).toEqual([[0, 1, 2]]);
  });

  it("waits for a call that is on its way, until it has come", async () => {
    const { queue, started, submit } = open({ maxDelayMs: 10_000 });
    const arrived = queue.expect("encode");
    void submit(1);
    await turn();
    await turn();
    expect(started).toEqual([]);
    void submit(2);
    arrived();
    arrived();
    await turn();
    expect(started.map(inputs)).toEqual([[1, 2]]);
    expect(queue.load).toBe(2);
  });

  it("or until it turns out that it will not", async () => {
    const { queue, started, submit } = open({ maxDelayMs: 10_000 });
    const arrived = queue.expect("encode");
    void submit(1);
    await turn();
    arrived();
    await turn();
    expect(started.map(inputs)).toEqual([[1]]);
  });

  it("but no longer than the delay, and not at all with a full batch", async () => {
    const { queue, started, submit } = open({ maxDelayMs: 30 });
    queue.expect("encode");
    const start = performance.now();
    void submit(1);
    await vi.waitFor(() => expect(started).toHaveLength(1), { interval: 1 });
    expect(performance.now() - start).toBeGreaterThanOrEqual(28);
    started[0]?.finish();
    for (const i of [2, 3, 4]) void submit(i);
    await turn();
    expect(started.map(inputs)).toEqual([[1], [2, 3, 4]]);
  });

  it("waits for nothing that goes to another stage", async () => {
    const { queue, started, submit } = open({ maxDelayMs: 10_000 });
    queue.expect("decode");
    void submit(1);
    await turn();
    expect(started).toHaveLength(1);
  });

  it("gathers while the device works; a second batch lies ready only when it is full or has waited", async () => {
    const { started, running, submit } = open({ maxDelayMs: 40 });
    void submit(1);
    await turn();
    void submit(2);
    void submit(3);
    await turn();
    expect(started).toHaveLength(1);
    void submit(4);
    await turn();
    expect(started.map(inputs)).toEqual([[1], [2, 3, 4]]);
    for (const i of [5, 6, 7]) void submit(i);
    await new Promise((done) => setTimeout(done, 60));
    // Two are with the device already: more waits here, where it can still be stopped.
    expect(running.size).toBe(2);
    started[0]?.finish();
    await turn();
    await turn();
    expect(started.map(inputs)).toEqual([[1], [2, 3, 4], [5, 6, 7]]);
  });

  it("finishes older calls before it begins younger ones", async () => {
    const { started, submit } = open({ maxDelayMs: 10_000 });
    void submit(1);
    await turn();
    void submit(20, "decode", undefined, 2);
    for (const i of [30, 31, 32]) void submit(i, "encode", undefined, 3);
    await turn();
    // The encode batch is full, but the decode item belongs to an older call and goes first when the device is free.
    expect(started.map(inputs)).toEqual([[1]]);
    void submit(10, "encode", undefined, 1);
    await turn();
    // Now the oldest call waits at the encoder, in front of those who came before it.
    expect(started.map(inputs)).toEqual([[1], [10, 30, 31]]);
    started[0]?.finish();
    started[1]?.finish();
    await turn();
    await turn();
    expect(started.map(inputs)).toEqual([[1], [10, 30, 31], [20]]);
  });
});

describe("leaving", () => {
  it("rejects at once what waits, and cancels what runs, which settles when it ends", async () => {
    const { started, submit, queue } = open();
    const first = new AbortController();
    const second = new AbortController();
    const running = submit(1, "encode", first.signal);
    await turn();
    const waiting = submit(2, "encode", second.signal);
    second.abort("enough");
    await expect(waiting).rejects.toBe("enough");
    expect(queue.waiting("encode")).toBe(0);
    const cancel = vi.fn();
    if (started[0]?.items[0]) started[0].items[0].cancel = cancel;
    first.abort("enough too");
    expect(cancel).toHaveBeenCalledTimes(1);
    started[0]?.items[0]?.reject(new Error("ABORTED"));
    await expect(running).rejects.toBe("enough too");
    await expect(submit(3, "encode", AbortSignal.abort("before"))).rejects.toBe("before");
  });

  it("by the queue's own timeout says where and how long", async () => {
    const { submit, started } = open({ queueTimeoutMs: 20, maxDelayMs: 10_000 });
    void submit(1);
    await turn();
    await expect(submit(2)).rejects.toMatchObject({
      code: "TIMEOUT",
      details: { stage: "encode", waitedMs: expect.any(Number) },
    });
    // What runs is not stopped by it.
    started[0]?.finish();
    await turn();
    expect(started).toHaveLength(1);
  });

  it("closing refuses what waits and what comes, and lets run what runs", async () => {
    const { queue, submit, started } = open();
    const running = submit(1);
    await turn();
    const waiting = submit(2);
    queue.close("closed");
    await expect(waiting).rejects.toBe("closed");
    await expect(submit(3)).rejects.toBe("closed");
    started[0]?.finish();
    expect(await running).toBe("1 done");
  });
});

describe("whatever comes in whatever order", () => {
  const step = fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        do: fc.constant("submit" as const),
        stage: fc.constantFrom<Stage>("encode", "decode"),
      }),
    },
    { weight: 5, arbitrary: fc.record({ do: fc.constant("finish" as const), which: fc.nat(1) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("abort" as const), which: fc.nat(20) }) },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant("expect" as const),
        stage: fc.constantFrom<Stage>("encode", "decode"),
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("arrive" as const), which: fc.nat(5) }) },
  );

  it("batches keep their limits and the order, every item settles once, and nothing is left waiting", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60, size: "max" }), async (steps) => {
        const { queue, started, running, submit } = open({ maxDelayMs: 5 });
        const calls: { input: number; controller: AbortController; settled: number }[] = [];
        const expected: (() => void)[] = [];
        for (const it of steps) {
          if (it.do === "submit") {
            const call = { input: calls.length, controller: new AbortController(), settled: 0 };
            calls.push(call);
            const count = () => void call.settled++;
            submit(call.input, it.stage, call.controller.signal).then(count, count);
          } else if (it.do === "finish") [...running][it.which % Math.max(1, running.size)]?.finish();
          else if (it.do === "abort") calls[it.which]?.controller.abort();
          else if (it.do === "expect") expected.push(queue.expect(it.stage));
          else expected[it.which]?.();
          await turn();
          expect(running.size).toBeLessThanOrEqual(2);
        }
        for (const arrived of expected) arrived();
        for (let i = 0; i < 100 && calls.some(({ settled }) => settled === 0); i++) {
          for (const batch of [...running]) batch.finish();
          await turn();
        }
        expect(calls.every(({ settled }) => settled === 1)).toBe(true);
        expect(queue.load).toBe(0);
        for (const batch of started) expect(batch.items.length).toBeLessThanOrEqual(3);
        for (const stage of ["encode", "decode"]) {
          const order = started.filter((it) => it.stage === stage).flatMap((it) => inputs(it) as number[]);
          expect(order).toEqual([...order].sort((a, b) => a - b));
        }
      }),
      { numRuns: 200 },
    );
  });
});

it("tells how busy it is", async () => {
  const { queue, submit, started } = open();
  expect(queue.load).toBe(0);
  void submit(1).catch(nothing);
  await turn();
  void submit(2).catch(nothing);
  const arrived = queue.expect("decode");
  expect([queue.load, queue.running, queue.waiting("encode")]).toEqual([3, 1, 1]);
  arrived();
  started[0]?.finish();
  await turn();
  await turn();
  started[1]?.finish();
  await turn();
  expect(queue.load).toBe(0);
});
