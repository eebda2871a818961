import { Readable } from "node:stream";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Replica } from "../../lib/devices/replica.js";
import { Sam3 } from "../../lib/sam3.js";
import { fakeDevice, nativeError } from "./fake-addon.js";
import { openEngine } from "./open-engine.js";
import { all, clipOf, frameOf, mover, openVideoWorld, videoBundle } from "./video-world.js";

afterEach(async () => {
  vi.useRealTimers();
});

const things = [mover("a")];
const codeOf = (settled: PromiseSettledResult<unknown>) =>
  settled.status === "fulfilled" ? "open" : (settled.reason as { code?: string }).code;

describe("the manager", () => {
  it("opens, lists, gives and closes by id", async () => {
    const { sam, open } = await openVideoWorld(things);
    const session = await open(5, { id: "one" });
    expect(sam.video.get("one")).toBe(session);
    expect(sam.video.list()).toMatchObject([{ id: "one", state: "ready", frameCount: 5, replica: "cpu" }]);
    await expect(open(5, { id: "one" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await sam.video.close("one");
    expect(sam.video.list()).toEqual([]);
    expect(session.status().state).toBe("closed");
    expect(() => sam.video.get("one")).toThrow(expect.objectContaining({ code: "SESSION_NOT_FOUND" }));
    await expect(sam.video.close("one")).rejects.toMatchObject({ code: "SESSION_NOT_FOUND" });
    await expect(session.addPrompt({ text: "thing" })).rejects.toMatchObject({ code: "SESSION_CLOSED" });
    await expect(all(session.propagate())).rejects.toMatchObject({ code: "SESSION_CLOSED" });
    await session.close();
  });

  it("lets ten of twenty in that come at once, and the others when there is room", async () => {
    const { sam, open } = await openVideoWorld(things);
    const settled = await Promise.allSettled(Array.from({ length: 20 }, () => open(5)));
    expect(settled.map(codeOf).filter((code) => code === "open")).toHaveLength(10);
    expect(settled.map(codeOf).filter((code) => code === "SESSION_LIMIT")).toHaveLength(10);
    expect(sam.video.list()).toHaveLength(10);
    expect(sam.stats().replicas[0]?.sessions).toBe(10);
    await sam.video.close(sam.video.list()[3]?.id as string);
    await open(5);
    await expect(open(5)).rejects.toMatchObject({ code: "SESSION_LIMIT" });
    await sam.video.closeAll();
    expect(sam.video.list()).toEqual([]);
    await open(5);
  });

  it("reads and holds nothing of the ten that it refuses, while the others are still being opened", async () => {
    const { sam, open } = await openVideoWorld(things);
    const stop = new AbortController();
    // Streams that give nothing: those that are let in wait for them.
    const read = new Set<number>();
    const videos = Array.from({ length: 20 }, (_, i) => new Readable({ read: () => void read.add(i) }));
    const opening = videos.map((video) => sam.video.open(video, { signal: stop.signal }));
    const settled = Promise.allSettled(opening);
    const refused = await Promise.allSettled(opening.slice(10));
    expect(refused.map(codeOf)).toEqual(Array(10).fill("SESSION_LIMIT"));
    await vi.waitFor(() => expect(read.size).toBeGreaterThanOrEqual(10));
    expect([...read].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(sam.stats().replicas[0]?.sessions).toBe(10);
    // The limit comes first, whatever else would be wrong.
    await expect(sam.video.open("/nowhere/clip.mp4")).rejects.toMatchObject({ code: "SESSION_LIMIT" });
    stop.abort(new Error("enough"));
    await settled;
    expect(sam.stats().replicas[0]?.sessions).toBe(0);
    await open(5);
  });

  it("counts no session that could not be opened", async () => {
    const { sam, open } = await openVideoWorld(things, { maxSessions: 1 });
    await expect(sam.video.open("/nowhere/clip.mp4")).rejects.toMatchObject({ code: "VIDEO_NOT_FOUND" });
    await expect(sam.video.open([])).rejects.toMatchObject({
      code: expect.stringMatching(/^(VIDEO|INVALID)/),
    });
    await expect(sam.video.open(clipOf(2), { device: "cuda:7" })).rejects.toMatchObject({
      code: "DEVICE_UNKNOWN",
    });
    const aborted = AbortSignal.abort(new Error("no more"));
    await expect(sam.video.open(clipOf(2), { signal: aborted })).rejects.toThrow("no more");
    await open(5);
    expect(sam.stats().replicas[0]?.sessions).toBe(1);
  });

  it("waits for a model that is being loaded no longer than the signal and the timeout allow", async () => {
    const { sam, open, state } = await openVideoWorld(things, { load: "lazy" }, { delayMs: 300 });
    await expect(open(2, { signal: AbortSignal.timeout(20) })).rejects.toMatchObject({
      name: "TimeoutError",
    });
    await expect(open(2, { timeoutMs: 20 })).rejects.toMatchObject({ code: "TIMEOUT" });
    expect(sam.health().replicas[0]?.state).toBe("loading");
    await vi.waitFor(() => expect(sam.health().replicas[0]?.state).toBe("ready"));
    expect(sam.stats().replicas[0]?.sessions).toBe(0);
    state.delayMs = -1;
    await open(2);
  });

  it("refuses options that cannot be", async () => {
    const { open, sam } = await openVideoWorld(things);
    const refused = (options: object) =>
      expect(open(3, options), JSON.stringify(options)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await refused({ ids: "x" });
    await refused({ id: "" });
    await refused({ rules: { hotstart: 3 } });
    await refused({ rules: { scoreThreshold: 2 } });
    await refused({ rules: { hotstartDelay: 3 } });
    await refused({ maxResultBytes: -1 });
    await refused({ framesAhead: 0 });
    await refused({ temporalDisambiguation: "yes" });
    await refused({ decoder: "vlc" });
    await refused({ ffmpeg: "" });
    await refused({ fps: 0 });
    // Also where there is no video to open with them.
    await expect(sam.video.open(null, { decoder: "vlc" as never })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    expect(sam.video.list()).toEqual([]);
  });

  it("refuses what is no video at once: nothing is pinned, and no frame waited for", async () => {
    const { sam } = await openVideoWorld(things);
    let asked = 0;
    const never = {
      [Symbol.asyncIterator]: () => ({
        next: () => {
          asked++;
          return new Promise<never>(() => {});
        },
      }),
    };
    for (const video of [never, live(), 7, {}, "", "https://example.com/a.mp4"]) {
      const { reason } = (
        await Promise.allSettled([sam.video.open(video as never, { timeoutMs: 2000 })])
      )[0] as PromiseRejectedResult;
      expect(reason).toMatchObject({ code: "INVALID_ARGUMENT" });
    }
    await expect(sam.video.open(never as never)).rejects.toThrow(/pass them to session\.stream/);
    await expect(sam.video.open(never as never, { fps: 0 })).rejects.toThrow(/fps is 0/);
    expect(asked).toBe(0);
    expect(sam.stats().replicas[0]?.sessions).toBe(0);
  });

  it("refuses a bundle that was not trained for video, unless told otherwise", async () => {
    const { engine, facts } = await openEngine();
    await using sam = Sam3.over({ engine, facts });
    await expect(sam.video.open(clipOf(2))).rejects.toMatchObject({ code: "UNSUPPORTED" });
    await using session = await sam.video.open(clipOf(2), { allowUntrained: true });
    expect(session.status().state).toBe("ready");
  });

  it("spreads sessions over replicas, as far as they may go", async () => {
    const devices = ["cpu", "cuda:0", "cuda:1", "cuda:2"].map((id) => fakeDevice(id));
    const names = ["cuda:0", "cuda:1", "cuda:2"] as const;
    const { open } = await openVideoWorld(things, { devices: names }, { devices });
    const places = await Promise.all([1, 2, 3, 4].map(async () => (await open(2)).status().replica));
    expect(places.sort()).toEqual(["cuda:0", "cuda:0", "cuda:1", "cuda:2"]);
    expect((await open(2, { device: "cuda:1" })).status().replica).toBe("cuda:1");
    const some = await openVideoWorld(things, { devices: names, videoDevices: [1, "cuda:2"] }, { devices });
    const fewer = await Promise.all([1, 2, 3, 4].map(async () => (await some.open(2)).status().replica));
    expect(fewer.sort()).toEqual(["cuda:1", "cuda:1", "cuda:2", "cuda:2"]);
  });

  it("counts what a session holds as part of what it was promised", async () => {
    const reserve = vi.spyOn(Replica.prototype, "reserve");
    const { open } = await openVideoWorld(things);
    const session = await open(5);
    const [replica] = reserve.mock.contexts as Replica[];
    reserve.mockRestore();
    if (!replica) throw new Error("nothing was reserved");
    const { reservedBytes } = replica;
    expect(replica.promisedBytes).toBe(reservedBytes);
    await session.addPrompt({ text: "thing" });
    const { deviceBytes } = session.status();
    expect(deviceBytes).toBeGreaterThan(0);
    expect(replica.promisedBytes).toBe(Math.max(0, reservedBytes - deviceBytes));
    await session.close();
    expect([replica.promisedBytes, replica.reservedBytes]).toEqual([0, 0]);
  });

  it("closes what nobody used for an hour, and says what that freed", async () => {
    const { sam, open, lines } = await openVideoWorld(things, { sessionTimeoutSeconds: 3600 });
    const idle = await open(5, { id: "idle" });
    await idle.addPrompt({ text: "thing" });
    const { deviceBytes: promptedBytes } = idle.status();
    expect(promptedBytes).toBeGreaterThan(0);
    // From here on, so that what came before could take its time.
    await sam.video.closeAll();
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "Date"] });
    const old = await open(40, { id: "old" });
    const busy = await open(5, { id: "busy" });
    await old.addPrompt({ text: "thing" });
    await busy.addPrompt({ text: "thing" });
    // A loop that was left without return(): frames that it encoded ahead are held until then.
    await old.propagate().next();
    await new Promise((resolve) => setTimeout(resolve, 20));
    const { deviceBytes } = old.status();
    expect(deviceBytes).toBeGreaterThan(promptedBytes);
    await vi.advanceTimersByTimeAsync(3_500_000);
    await busy.addPrompt({ text: "thing" });
    await vi.advanceTimersByTimeAsync(400_000);
    await vi.waitFor(() => expect(lines.some((line) => line.includes("session old was closed"))).toBe(true));
    expect(sam.video.list().map(({ id }) => id)).toEqual(["busy"]);
    expect(lines.find((line) => line.includes("session old was closed"))).toContain(
      `freed ${deviceBytes} bytes on its device`,
    );
    await expect(old.addPrompt({ text: "thing" })).rejects.toMatchObject({ code: "SESSION_CLOSED" });
    await vi.advanceTimersByTimeAsync(4_000_000);
    await vi.waitFor(() => expect(sam.video.list()).toEqual([]));
    expect(vi.getTimerCount()).toBe(0);
  });

  it("closes its sessions with the Sam3", async () => {
    const { sam, open, held } = await openVideoWorld(things);
    const session = await open(5);
    await session.addPrompt({ text: "thing" });
    await sam.close();
    expect(session.status().state).toBe("closed");
    expect(held()).toEqual({ features: 0, masks: 0, pointers: 0, memories: 0 });
    await expect(open(5)).rejects.toMatchObject({ code: "DISPOSED" });
  });
});

describe("turns", () => {
  it("are taken one by one, in the order of the calls", async () => {
    const { open, state } = await openVideoWorld(things, {}, { delayMs: 2 });
    const session = await open(20);
    const ended: string[] = [];
    await Promise.all(
      ["x", "yy", "zzz"].map(async (text) => {
        const { prompt } = await session.addPrompt({ text });
        ended.push(`${prompt} ${text}`);
      }),
    );
    expect(ended).toEqual(["0 x", "1 yy", "2 zzz"]);
    expect(state.trackCalls.filter(({ call }) => call === "detectConcepts")).toHaveLength(3);
  });

  it("that wait can be called off", async () => {
    const { open } = await openVideoWorld(things, {}, { delayMs: 5 });
    const session = await open(20);
    const stop = new AbortController();
    const first = session.addPrompt({ text: "thing" });
    const second = session.addPrompt({ text: "dog" }, { signal: stop.signal });
    const third = session.addPrompt({ text: "horse" });
    stop.abort(new Error("never mind"));
    await expect(second).rejects.toThrow("never mind");
    expect([(await first).prompt, (await third).prompt]).toEqual([0, 1]);
  });

  it("of two callers: one pass after the other, both whole", async () => {
    const { open } = await openVideoWorld(things);
    const session = await open(25);
    await session.addPrompt({ text: "thing" });
    const [one, two] = await Promise.all([all(session.propagate()), all(session.propagate())]);
    expect(one?.map(({ index }) => index)).toEqual(clipOf(25).map((_, i) => i));
    expect(two?.map(({ index, objects }) => [index, objects[0]?.box])).toEqual(
      one?.map(({ index, objects }) => [index, objects[0]?.box]),
    );
  });

  it("that nobody ends are told to who waits for them", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "Date"] });
    try {
      const { open } = await openVideoWorld(things);
      const session = await open(25, { temporalDisambiguation: false });
      await session.addPrompt({ text: "thing" });
      const left = session.propagate();
      expect((await left.next()).value?.index).toBe(0);
      const waiting = session.propagate().next();
      const refused = expect(waiting).rejects.toMatchObject({ code: "SESSION_BUSY" });
      await vi.advanceTimersByTimeAsync(29_000);
      await vi.advanceTimersByTimeAsync(2_000);
      await refused;
      // The one that stood still is still good, and makes room when it is ended.
      expect((await left.next()).value?.index).toBe(1);
      await left.return();
      expect(await all(session.propagate())).toHaveLength(25);
      expect(vi.getTimerCount()).toBeLessThanOrEqual(1);
    } finally {
      vi.useRealTimers();
    }
  });

  it("let a prompt in between the frames of a pass", async () => {
    const { open } = await openVideoWorld([...things, mover("c", { text: "dog" })]);
    const session = await open(20, { temporalDisambiguation: false });
    await session.addPrompt({ text: "thing" });
    const ids: number[][] = [];
    for await (const { index, objects } of session.propagate()) {
      ids.push(objects.map(({ id }) => id));
      if (index === 9) await session.addPrompt({ frame: 9, text: "dog" });
    }
    expect(ids.slice(0, 10)).toEqual(Array(10).fill([0]));
    expect(ids.slice(11)).toEqual(Array(9).fill([0, 1]));
  });

  it("say so while they last", async () => {
    const { open } = await openVideoWorld(things, {}, { delayMs: 200 });
    const session = await open(5);
    const work = session.addPrompt({ text: "thing" });
    await vi.waitFor(() => expect(session.status().state).toBe("processing"));
    await work;
    expect(session.status().state).toBe("ready");
  });
});

describe("stopping", () => {
  it("by the signal in the middle keeps the session usable", async () => {
    const { open, held } = await openVideoWorld(things);
    const session = await open(40, { temporalDisambiguation: false });
    await session.addPrompt({ text: "thing" });
    const stop = new AbortController();
    const seen: number[] = [];
    const work = (async () => {
      for await (const { index } of session.propagate({ signal: stop.signal })) {
        seen.push(index);
        if (index === 12) stop.abort(new Error("enough"));
      }
    })();
    await expect(work).rejects.toThrow("enough");
    expect(seen.at(-1)).toBe(12);
    expect(held()).toMatchObject({ masks: 0, pointers: 0 });
    expect(await all(session.propagate())).toHaveLength(40);
  });

  it("by closing in the middle ends the pass with a code and frees everything", async () => {
    const { open, held } = await openVideoWorld(things, {}, { delayMs: 3 });
    const session = await open(40);
    await session.addPrompt({ text: "thing" });
    const work = all(session.propagate());
    // Heard from here on: it may end before the closing has.
    const ended = expect(work).rejects.toMatchObject({ code: "SESSION_CLOSED" });
    const waiting = session.addPrompt({ text: "dog" }).then(
      () => "done",
      (error: { code?: string }) => error.code,
    );
    await vi.waitFor(() => expect(session.status().framesDone).toBeGreaterThan(3), { interval: 5 });
    await session.close();
    await ended;
    expect(["done", "SESSION_CLOSED"]).toContain(await waiting);
    await vi.waitFor(() => expect(held()).toEqual({ features: 0, masks: 0, pointers: 0, memories: 0 }));
  });

  it("by closing while a pass nobody asks stands still", async () => {
    const { open, held } = await openVideoWorld(things);
    const session = await open(40, { temporalDisambiguation: false });
    await session.addPrompt({ text: "thing" });
    const pass = session.propagate();
    await pass.next();
    await session.close();
    await vi.waitFor(() => expect(held()).toEqual({ features: 0, masks: 0, pointers: 0, memories: 0 }));
    await expect(pass.next()).rejects.toMatchObject({ code: "SESSION_CLOSED" });
  });

  it("after its time", async () => {
    const { open } = await openVideoWorld(things, {}, { delayMs: 50 });
    const session = await open(5);
    await expect(session.addPrompt({ text: "thing" }, { timeoutMs: 20 })).rejects.toMatchObject({
      code: "TIMEOUT",
    });
    expect((await session.addPrompt({ text: "thing" })).prompt).toBe(0);
  });
});

describe("a source that", () => {
  it("breaks at frame 37 gives what came before, and the session stays", async () => {
    const { sam } = await openVideoWorld(things);
    const frames = clipOf(60).map((frame, i) => (i === 37 ? (new Uint8Array([1, 2, 3]) as never) : frame));
    const session = await sam.video.open(frames, { temporalDisambiguation: false });
    await session.addPrompt({ text: "thing" });
    const seen: number[] = [];
    const pass = async () => {
      for await (const { index } of session.propagate()) seen.push(index);
    };
    await expect(pass()).rejects.toMatchObject({ code: "IMAGE_INVALID" });
    expect(seen).toEqual(Array.from({ length: 37 }, (_, i) => i));
    expect(session.status().state).toBe("ready");
    const rest = await all(session.propagate({ startFrame: 38 }));
    expect(rest.map(({ index, objects }) => [index, objects.length])).toEqual(
      Array.from({ length: 22 }, (_, i) => [38 + i, 1]),
    );
  });

  it("breaks live gives what came before, and goes on with another", async () => {
    const { sam } = await openVideoWorld(things);
    const session = await sam.video.open();
    await session.addPrompt({ text: "thing" });
    const seen: number[] = [];
    const broken = async () => {
      for await (const { index } of session.stream(live(37, new Error("cable")))) seen.push(index);
    };
    await expect(broken()).rejects.toThrow("cable");
    expect(seen.length).toBe(37);
    expect((await all(session.stream(live(3)))).map(({ index }) => index)).toEqual([37, 38, 39]);
  });

  it("stalls can be left", async () => {
    const { sam, held } = await openVideoWorld(things);
    const session = await sam.video.open();
    await session.addPrompt({ text: "thing" });
    const stop = new AbortController();
    const seen: number[] = [];
    const stalled = (async () => {
      for await (const { index } of session.stream(live(5, "stall"), { signal: stop.signal })) {
        seen.push(index);
        if (index === 3) setTimeout(() => stop.abort(new Error("too long")), 50);
      }
    })();
    await expect(stalled).rejects.toThrow("too long");
    expect(seen).toEqual([0, 1, 2, 3, 4]);
    expect(session.status().state).toBe("ready");
    await session.close();
    expect(held()).toEqual({ features: 0, masks: 0, pointers: 0, memories: 0 });
  });

  it("changes its size live is refused", async () => {
    const { sam } = await openVideoWorld(things);
    const session = await sam.video.open();
    await session.addPrompt({ text: "thing" });
    await all(session.stream(live(2)));
    async function* wider() {
      yield frameOf(0, 50, 30);
    }
    await expect(all(session.stream(wider()))).rejects.toMatchObject({ code: "FRAME_SIZE" });
  });
});

it("a device's failure in one session is told to the others of that device only", async () => {
  const devices = ["cpu", "cuda:0", "cuda:1"].map((id) => fakeDevice(id));
  const it = await openVideoWorld(things, { devices: ["cuda:0", "cuda:1"] }, { devices });
  const { open, state } = it;
  const [one, two, other] = [
    await open(5, { device: "cuda:0" }),
    await open(5, { device: "cuda:0" }),
    await open(5, { device: "cuda:1" }),
  ];
  state.failures.detectConcepts = ({ device }: { device: string }) =>
    device === "cuda:0" ? nativeError("DEVICE_FAULT", "gone") : undefined;
  await expect(one.addPrompt({ text: "thing" })).rejects.toMatchObject({ code: "DEVICE_FAULT" });
  await expect(two.addPrompt({ text: "thing" })).rejects.toMatchObject({ code: "DEVICE_FAULT" });
  expect(two.status().state).toBe("error");
  expect((await other.addPrompt({ text: "thing" })).frame?.objects).toHaveLength(1);
  expect(await videoBundle()).toBeTruthy();
});

async function* live(frames = 3, then?: Error | "stall") {
  for (let i = 0; i < frames; i++) yield frameOf(i);
  if (then === "stall") await new Promise(() => {});
  if (then instanceof Error) throw then;
}
