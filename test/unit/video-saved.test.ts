import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { FrameResult, VideoSession } from "../../lib/index.js";
import { fakeDevice, nativeError } from "./fake-addon.js";
import { all, clipOf, frameOf, mover, openVideoWorld, placeOf } from "./video-world.js";

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sam3-saved-"));
  file = join(folder, "clip.session");
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const late = mover("b", { at: (frame) => (frame < 25 ? null : [frame % 20, 20, (frame % 20) + 4, 25]) });
const things = [mover("a"), late, mover("c", { text: "dog" })];
const seen = (frames: readonly FrameResult[]) => frames.map((frame) => JSON.stringify(frame));

/** Prompts of every kind, and half of the clip. */
async function half(session: VideoSession): Promise<void> {
  await session.addPrompt({ text: "thing", exemplars: [{ box: [0, 9, 6, 14] }] });
  const [x1, y1, x2, y2] = placeOf(things[2], 4);
  const { object } = await session.addPrompt({ frame: 4, box: [x1, y1, x2, y2] });
  await session.addPrompt({
    frame: 4,
    object: object as number,
    points: [{ x: x1 + 1, y: y1 + 1, label: "positive" }],
  });
  for await (const { index } of session.propagate({ startFrame: 0 })) if (index === 8) break;
}

describe("a saved session", () => {
  it("goes on after a restart with what it would have gone on with", async () => {
    const first = await openVideoWorld(things);
    const session = await first.open(60);
    await half(session);
    const bytes = await session.save(file);
    expect(bytes).toBe((await readFile(file)).length);
    const status = session.status();
    const expected = seen(await all(session.propagate({ startFrame: 0 })));
    await first.sam.close();

    const devices = ["cpu", "cuda:0"].map((id) => fakeDevice(id));
    const second = await openVideoWorld(things, { devices: "cuda:0" }, { devices });
    const restored = await second.sam.video.restore(file, clipOf(60), { id: "again" });
    const { objects, prompts, framesDone, frameCount } = restored.status();
    expect({ objects, prompts, framesDone, frameCount }).toEqual({
      objects: status.objects,
      prompts: status.prompts,
      framesDone: status.framesDone,
      frameCount: 60,
    });
    expect(restored.status()).toMatchObject({ id: "again", replica: "cuda:0" });
    expect(seen(await all(restored.propagate({ startFrame: 0 })))).toEqual(expected);
    // What had been computed was not computed again.
    const tracked = second.state.trackCalls
      .filter(({ call }) => call === "trackObjects")
      .map(({ frame }) => frame);
    expect(Math.min(...tracked)).toBe(status.framesDone - 3);
    const { object } = await restored.addPrompt({ frame: 40, box: [1, 1, 9, 9] });
    expect(object).toBe(3);
  });

  it("that was only prompted goes backward as it would have", async () => {
    const ghost = mover("b", { score: (frame) => (frame === 39 ? 0.9 : 0) });
    const { sam, open } = await openVideoWorld([mover("a"), ghost]);
    const session = await open(40);
    await session.addPrompt({ frame: 39, text: "thing" });
    await session.save(file);
    const expected = await all(session.propagate({ direction: "backward" }));
    expect(expected.flatMap(({ removedIds }) => removedIds)).toEqual([1]);
    await using restored = await sam.video.restore(file, clipOf(40));
    expect(seen(await all(restored.propagate({ direction: "backward" })))).toEqual(seen(expected));
  });

  it("takes the place of an older one, as a whole", async () => {
    const { open, state } = await openVideoWorld(things);
    const session = await open(20);
    await session.addPrompt({ text: "thing" });
    await session.save(file);
    const before = await readFile(file);
    state.failures.saveMemories = nativeError("MODEL_FAILED");
    await expect(session.save(file)).rejects.toMatchObject({ code: "MODEL_FAILED" });
    expect(await readFile(file)).toEqual(before);
    delete state.failures.saveMemories;
    await expect(session.save(join(folder, "nowhere", "x"))).rejects.toMatchObject({ code: "OUTPUT_FAILED" });
    await expect(session.save("")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await session.addPrompt({ text: "dog" });
    await session.save(file);
    expect(await readFile(file)).not.toEqual(before);
    expect(await readdir(folder)).toEqual(["clip.session"]);
  });

  it("of live frames goes on with further frames", async () => {
    const { sam } = await openVideoWorld(things);
    const session = await sam.video.open();
    await session.addPrompt({ text: "thing" });
    async function* camera(from: number, to: number) {
      for (let i = from; i < to; i++) yield { image: frameOf(i), time: i };
    }
    await all(session.stream(camera(0, 20)));
    await session.save(file);
    const expected = seen(await all(session.stream(camera(20, 40))));
    const restored = await sam.video.restore(file);
    expect(seen(await all(restored.stream(camera(20, 40))))).toEqual(expected);
    await expect(sam.video.restore(file, clipOf(3))).rejects.toMatchObject({ code: "SESSION_INVALID" });
  });

  it("of live frames forgets what is hidden when it would have, and takes words before its next frame", async () => {
    // b is not to be seen from frame 6 on.
    const gone = mover("b", { at: (frame) => (frame > 5 ? null : [frame, 20, frame + 4, 25]) });
    const { sam } = await openVideoWorld([mover("a"), gone]);
    const options = { forgetAfterFrames: 10 };
    const session = await sam.video.open(null, options);
    await session.addPrompt({ text: "thing" });
    async function* camera(from: number, to: number) {
      for (let i = from; i < to; i++) yield { image: frameOf(i), time: i };
    }
    await all(session.stream(camera(0, 12)));
    await session.save(file);
    const expected = await all(session.stream(camera(12, 20)));
    expect(expected.flatMap(({ index, removedIds }) => removedIds.map((id) => [index, id]))).toEqual([
      [15, 1],
    ]);
    const restored = await sam.video.restore(file, null, options);
    expect(restored.frame(11)?.objects.map(({ id }) => id)).toEqual([0]);
    await expect(restored.addPrompt({ box: [1, 1, 9, 9] })).rejects.toMatchObject({ code: "INVALID_PROMPT" });
    expect((await restored.addPrompt({ text: "nothing like it" })).frame).toBeNull();
    expect(seen(await all(restored.stream(camera(12, 20))))).toEqual(seen(expected));
  });

  it("that is damaged, cut off, foreign or none is refused, and holds nothing", async () => {
    const { sam, open, held } = await openVideoWorld(things, { maxSessions: 2 });
    const session = await open(20);
    await session.addPrompt({ text: "thing" });
    await session.save(file);
    await session.close();
    const whole = await readFile(file);
    const refused = async (bytes: Buffer, says: RegExp) => {
      const path = join(folder, "bad");
      await writeFile(path, bytes);
      await expect(sam.video.restore(path, clipOf(20))).rejects.toMatchObject({
        code: "SESSION_INVALID",
        message: expect.stringMatching(says),
      });
    };
    await refused(Buffer.alloc(0), /no saved session/);
    await refused(Buffer.from("something else, and long enough to be looked at twice"), /no saved session/);
    for (const share of [0.1, 0.5, 0.99])
      await refused(whole.subarray(0, Math.floor(whole.length * share)), /cut off|no saved/);
    for (const at of [20, 200, whole.length - 40, whole.length - 1]) {
      const spoiled = Buffer.from(whole);
      spoiled[at] = (spoiled[at] as number) ^ 1;
      await refused(spoiled, /damaged/);
    }
    const newer = Buffer.from(whole);
    newer.writeUInt32LE(9, 8);
    await refused(newer, /version 9/);
    await expect(sam.video.restore(join(folder, "none"), clipOf(20))).rejects.toMatchObject({
      code: "SESSION_NOT_FOUND",
    });
    await expect(sam.video.restore(file, clipOf(19))).rejects.toMatchObject({
      code: "SESSION_INVALID",
      message: expect.stringContaining("20 frames"),
    });
    await expect(sam.video.restore(file)).rejects.toMatchObject({ code: "SESSION_INVALID" });
    await expect(sam.video.restore(file, clipOf(20), { rules: {} } as never)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    expect(sam.video.list()).toEqual([]);
    expect(held()).toEqual({ features: 0, masks: 0, pointers: 0, memories: 0 });
    expect((await sam.video.restore(file, clipOf(20))).status().objects).toBe(1);
  });

  it("of another model is refused", async () => {
    const { sam, open } = await openVideoWorld(things);
    const session = await open(20);
    await session.addPrompt({ text: "thing" });
    await session.save(file);
    const { header, blocks } = await import("../../lib/video/saved-session.js").then((it) =>
      it.readSavedSession(file, new AbortController().signal),
    );
    const { writeSavedSession } = await import("../../lib/video/saved-session.js");
    await writeSavedSession(file, { header: { ...header, bundle: { id: "0123", name: "other" } }, blocks });
    await expect(sam.video.restore(file, clipOf(20))).rejects.toMatchObject({
      code: "SESSION_INVALID",
      message: expect.stringContaining("other"),
    });
  });
});
