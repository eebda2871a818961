import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import type { FrameResult, VideoPrompt } from "../../lib/index.js";
import { all, clipOf, frameOf, HEIGHT, mover, openVideoWorld, placeOf, WIDTH } from "./video-world.js";

// Prompts given out of the order of time, examples that are added, and a session that is begun anew in the middle.

const plain = { temporalDisambiguation: false } as const;
const line = ({ index, objects }: FrameResult) =>
  `${index}: ${objects.map(({ id, box }) => `${id}[${box.join(",")}]`).join(" ")}`;
const ids = (frame: FrameResult | null | undefined) => frame?.objects.map(({ id }) => id);

describe("a concept that is prompted again on a frame its objects were not followed to", () => {
  const late = mover("b", { at: (frame) => (frame < 12 ? null : [frame % 20, 20, (frame % 20) + 4, 25]) });
  const again: VideoPrompt[] = [
    { frame: 21, text: "thing" },
    { frame: 21, text: "thing", exemplars: [{ box: [1, 20, 5, 25] }] },
  ];

  it.each(again)("is shown there, and computed when a pass comes there: %j", async (prompt) => {
    const { open, state, held } = await openVideoWorld([mover("a"), late]);
    const once = await open(30, plain);
    await once.addPrompt({ text: "thing" });
    const expected = (await all(once.propagate())).map(line);

    const session = await open(30, plain);
    await session.addPrompt({ text: "thing" });
    const before = held();
    const { prompt: number, frame } = await session.addPrompt(prompt);
    expect(number).toBe(0);
    expect(frame?.objects.map(({ id, box, isNew, text }) => ({ id, box, isNew, text }))).toEqual([
      { id: 0, box: placeOf(mover("a"), 21), isNew: false, text: "thing" },
      { id: 1, box: placeOf(late, 21), isNew: true, text: "thing" },
    ]);
    // Nothing of it stays but the frame's features, for the next prompt on it.
    expect(held()).toEqual({ ...before, features: before.features + 1 });
    expect(session.objects.map(({ id }) => id)).toEqual([0]);
    expect(session.frame(21)).toBeNull();
    expect(session.status().framesDone).toBe(1);

    state.trackCalls.length = 0;
    expect((await all(session.propagate())).map(line)).toEqual(expected);
    const attended = state.trackCalls.find(({ call, frame }) => call === "trackObjects" && frame === 21);
    expect(attended?.memories?.[0]).toContain(20);
    expect(session.objects.map(({ id, firstFrame }) => [id, firstFrame])).toEqual([
      [0, 0],
      [1, 12],
    ]);
  });

  it("is taken in where they were followed to the frame before", async () => {
    const { open } = await openVideoWorld([mover("a"), late]);
    const session = await open(30, plain);
    await session.addPrompt({ text: "thing" });
    await all(session.propagate({ maxFrames: 12 }));
    const { frame } = await session.addPrompt({ frame: 12, text: "thing" });
    expect(ids(frame)).toEqual([0, 1]);
    expect(session.objects.map(({ id }) => id)).toEqual([0, 1]);
    expect(session.status().framesDone).toBe(13);
  });

  it("is gone through from the earliest of them", async () => {
    const { open } = await openVideoWorld([mover("a")]);
    const session = await open(30, plain);
    await session.addPrompt({ frame: 21, text: "thing" });
    await session.addPrompt({ frame: 3, text: "thing" });
    const frames = await all(session.propagate());
    expect(frames.map(({ index }) => index)).toEqual(Array.from({ length: 27 }, (_, i) => 3 + i));
    for (const { index, objects } of frames)
      expect(objects.map(({ id, box }) => [id, box])).toEqual([[0, placeOf(mover("a"), index)]]);
  });
});

describe("what an example finds anew is followed on every frame", () => {
  /** Found where an example is on the frame, and nowhere else; tracked from there. */
  const hidden = (frame: number) => mover("d", { score: (at) => (at === frame ? 0.9 : 0) });
  const entrant = mover("b", { at: (frame) => (frame < 12 ? null : [frame % 20, 20, (frame % 20) + 4, 25]) });
  const example = (frame: number): VideoPrompt => ({
    frame,
    text: "thing",
    exemplars: [{ box: placeOf(mover("d"), frame) }],
  });
  const framesOf = (frames: readonly FrameResult[], id: number) =>
    frames.filter((frame) => ids(frame)?.includes(id)).map(({ index }) => index);
  const upTo = (count: number, from = 0) => Array.from({ length: count - from }, (_, i) => from + i);

  /** A session that went over its clip while the hidden one could not be found. */
  async function gone(maxFrames: number | undefined, from: number, at: number) {
    let shown = false;
    const thing = hidden(at);
    const { open } = await openVideoWorld([
      mover("a"),
      entrant,
      { ...thing, score: (frame) => (shown ? thing.score(frame) : 0) },
    ]);
    const session = await open(20, plain);
    await session.addPrompt({ frame: from, text: "thing" });
    await all(session.propagate({ maxFrames, startFrame: from }));
    shown = true;
    return session;
  }

  it("where everything was known, though another object came later", async () => {
    const session = await gone(undefined, 0, 5);
    const { frame } = await session.addPrompt(example(5));
    expect(ids(frame)).toEqual([0, 2]);
    expect(session.objects.map(({ id }) => id)).toEqual([0, 1, 2]);
    expect(framesOf(await all(session.propagate()), 2)).toEqual(upTo(20));
  });

  it("where the frames ahead were known, and the frame itself was not", async () => {
    const session = await gone(10, 10, 5);
    await session.addPrompt(example(5));
    expect(framesOf(await all(session.propagate()), 2)).toEqual(upTo(20, 5));
  });

  it("and looking does not add to what objects remember", async () => {
    const { open, held } = await openVideoWorld([mover("a"), entrant]);
    const session = await open(120, plain);
    await session.addPrompt({ text: "thing" });
    await all(session.propagate({ maxFrames: 14 }));
    const { memories } = held();
    for (let frame = 30; frame < 110; frame += 8) await session.addPrompt(example(frame));
    expect(held().memories).toBe(memories);
  });
});

describe("examples", () => {
  const box = [1, 2, 9, 9] as const;
  const negative = { box: [20, 2, 28, 9] as const, label: "negative" as const };

  /** A session, and the labels of the boxes that it asked with, call by call. */
  async function asking(text: string) {
    const { open, state } = await openVideoWorld([mover("a", { text })]);
    const asked = () => state.trackCalls.flatMap(({ labels }) => labels ?? []);
    return { session: await open(10, plain), asked };
  }

  it("of a text add up on their frame, until they are replaced", async () => {
    const { session, asked } = await asking("thing");
    await session.addPrompt({ text: "thing" });
    await session.addPrompt({ text: "thing", exemplars: [{ box }] });
    await session.addPrompt({ prompt: 0, exemplars: [negative] });
    await session.addPrompt({ text: "thing" });
    await session.addPrompt({ text: "thing", exemplars: [negative], replace: true });
    await session.addPrompt({ prompt: 0 });
    await session.addPrompt({ prompt: 0, replace: true });
    // The fourth and the sixth changed nothing, so nothing was asked.
    expect(asked()).toEqual([[], [1], [1, 0], [0], []]);
    expect(session.prompts).toEqual([{ prompt: 0, text: "thing" }]);
    expect(session.objects.map(({ id }) => id)).toEqual([0]);
  });

  it("without a text add to the concept whose number is given, and make a new one without", async () => {
    const { session, asked } = await asking("visual");
    const { prompt } = await session.addPrompt({ exemplars: [{ box }] });
    await session.addPrompt({ prompt: prompt as number, exemplars: [negative] });
    expect(asked()).toEqual([[1], [1, 0]]);
    expect(session.prompts).toHaveLength(1);
    const other = await session.addPrompt({ exemplars: [{ box }] });
    expect(other.prompt).toBe(1);
    expect(asked().at(-1)).toEqual([1]);
  });

  it("that cannot be are told by code, and change nothing", async () => {
    const { session, asked } = await asking("thing");
    await session.addPrompt({ text: "thing", exemplars: Array(200).fill({ box }) });
    const refused = async (prompt: object, message: RegExp) =>
      expect(session.addPrompt(prompt)).rejects.toMatchObject({
        code: "INVALID_PROMPT",
        message: expect.stringMatching(message) as string,
      });
    await refused({ prompt: 7, exemplars: [{ box }] }, /no concept 7/);
    await refused({ prompt: -1, exemplars: [{ box }] }, /number of a concept/);
    await refused({ prompt: 0, text: "thing" }, /not both/);
    await refused({ replace: true }, /empty/);
    await refused({ prompt: 0, object: 0, box }, /not both/);
    await refused({ text: "thing", replace: "yes" }, /replace is/);
    await refused({ text: "thing", exemplars: Array(57).fill({ box }) }, /257 exemplars/);
    await session.addPrompt({ text: "thing", exemplars: Array(56).fill({ box }) });
    expect(asked().map(({ length }) => length)).toEqual([200, 256]);
  });
});

describe("a session that is reset while it is gone through", () => {
  it("ends the pass, and gives nothing of before under ids of after", async () => {
    const { open } = await openVideoWorld([mover("a"), mover("c", { text: "dog" })]);
    const session = await open(40);
    await session.addPrompt({ text: "thing" });
    const frames = session.propagate({ direction: "both" });
    expect(ids((await frames.next()).value as FrameResult)).toEqual([0]);
    await session.reset();
    const { frame } = await session.addPrompt({ text: "dog" });
    expect(ids(frame)).toEqual([0]);
    expect(await frames.next()).toEqual({ done: true, value: undefined });
    const after = await all(session.propagate());
    expect(after).toHaveLength(40);
    for (const { index, objects } of after)
      expect(objects.map(({ text, box }) => [text, box])).toEqual([["dog", placeOf(mover("c"), index)]]);
  });

  it("goes on with live frames, in their size", async () => {
    const { sam } = await openVideoWorld([mover("a")], {}, { delayMs: 10 });
    const session = await sam.video.open();
    await session.addPrompt({ text: "thing" });
    async function* camera() {
      for (let i = 0; ; i++) yield { image: frameOf(i), time: i };
    }
    const frames = session.stream(camera());
    await frames.next();
    // One is under way, and belongs to what is forgotten.
    const underWay = frames.next();
    await vi.waitFor(() => expect(session.status().state).toBe("processing"), { interval: 1 });
    await Promise.all([session.reset(), session.addPrompt({ text: "thing" })]);
    expect(((await underWay).value as FrameResult).image).toEqual({ width: WIDTH, height: HEIGHT });
    const value = (await frames.next()).value as FrameResult;
    expect(value.objects.map(({ id, box }) => [id, box])).toEqual([[0, placeOf(mover("a"), value.index)]]);
    expect(value.image).toEqual({ width: WIDTH, height: HEIGHT });
    await frames.return();
  });
});

it("an answer is what was known when its turn came, whatever comes behind it", async () => {
  const { open } = await openVideoWorld([mover("a")]);
  const session = await open(10, plain);
  const [{ frame }] = await Promise.all([session.addPrompt({ text: "thing" }), session.reset()]);
  expect(ids(frame)).toEqual([0]);
});

it("what was taken back is told by the pass that gives its frame, whichever found it, after a restart too", async () => {
  const ghost = mover("b", { score: (frame) => (frame === 2 ? 0.9 : 0) });
  const { sam, open } = await openVideoWorld([mover("a"), ghost]);
  const session = await open(40, { framesAhead: 1 });
  await session.addPrompt({ text: "thing" });
  const left = session.propagate();
  // Frame 10, where the ghost is given up, is computed and waits.
  await left.next();
  await left.return();
  expect(session.status().framesDone).toBeGreaterThan(10);
  const folder = await mkdtemp(join(tmpdir(), "sam3-edits-"));
  await session.save(join(folder, "clip.session"));
  await using restored = await sam.video.restore(join(folder, "clip.session"), clipOf(40));
  await rm(folder, { recursive: true });
  for (const one of [session, restored]) {
    const frames = await all(one.propagate());
    expect(frames.flatMap(({ index, removedIds }) => removedIds.map((id) => [index, id]))).toEqual([[10, 1]]);
  }
});

it("closing ends a stream that waits for its first frame", async () => {
  const { sam } = await openVideoWorld([mover("a")]);
  const session = await sam.video.open();
  async function* silent() {
    await new Promise(() => {});
  }
  const waiting = session.stream(silent() as AsyncIterable<never>).next();
  const ended = expect(waiting).rejects.toMatchObject({ code: "SESSION_CLOSED" });
  await new Promise((resolve) => setTimeout(resolve, 20));
  await session.close();
  await ended;
});
