import { describe, expect, it, vi } from "vitest";
import type { FrameResult } from "../../lib/index.js";
import { nativeError } from "./fake-addon.js";
import {
  all,
  clipOf,
  frameOf,
  HEIGHT,
  mover,
  openVideoWorld,
  placeOf,
  type Thing,
  WIDTH,
} from "./video-world.js";

/** Ids and boxes of a frame, in one line. */
const line = ({ index, objects }: FrameResult) =>
  `${index}: ${objects.map(({ id, box }) => `${id}[${box.join(",")}]`).join(" ")}`;

const plain = { temporalDisambiguation: false } as const;

describe("tracking by words", () => {
  it("gives every object on every frame, with one id and its mask", async () => {
    const things = [mover("a"), mover("b")];
    const { open } = await openVideoWorld(things);
    const session = await open(40);
    const { prompt, object, frame } = await session.addPrompt({ text: "thing" });
    expect([prompt, object]).toEqual([0, null]);
    expect(frame?.objects.map(({ id, isNew }) => [id, isNew])).toEqual([
      [0, true],
      [1, true],
    ]);
    const frames = await all(session.propagate());
    expect(frames.map(({ index }) => index)).toEqual(clipOf(40).map((_, i) => i));
    for (const { index, time, objects, removedIds } of frames) {
      expect(time).toBeCloseTo(index / 25, 6);
      expect(removedIds).toEqual([]);
      expect(objects.map(({ id }) => id)).toEqual([0, 1]);
      objects.forEach(({ box, mask, text, prompt: number, score, isNew }, i) => {
        expect(box).toEqual(things[i]?.at(index));
        expect([mask.width, mask.height]).toEqual([WIDTH, HEIGHT]);
        expect([text, number, isNew]).toEqual(["thing", 0, index === 0]);
        expect(score).toBeCloseTo(0.9, 6);
      });
    }
    expect(session.status()).toMatchObject({ state: "ready", objects: 2, prompts: 1, framesDone: 40 });
  });

  it("finds what appears late, and numbers it on", async () => {
    const late = mover("b", { at: (frame) => (frame < 12 ? null : [frame % 20, 20, (frame % 20) + 4, 25]) });
    const { open } = await openVideoWorld([mover("a"), late]);
    const session = await open(30);
    await session.addPrompt({ text: "thing" });
    const frames = await all(session.propagate());
    expect(frames[11]?.objects.map(({ id }) => id)).toEqual([0]);
    expect(frames[12]?.objects.map(({ id, isNew }) => [id, isNew])).toEqual([
      [0, false],
      [1, true],
    ]);
  });

  it("takes back what nothing confirms, on frames that were held back too", async () => {
    const ghost = mover("b", { score: (frame) => (frame === 2 ? 0.9 : 0) });
    const { open } = await openVideoWorld([mover("a"), ghost]);
    const session = await open(40);
    await session.addPrompt({ text: "thing" });
    const frames = await all(session.propagate());
    expect(frames.flatMap(({ objects }) => objects.map(({ id }) => id)).filter((id) => id !== 0)).toEqual([]);
    expect(frames.flatMap(({ index, removedIds }) => removedIds.map((id) => [index, id]))).toEqual([[10, 1]]);
    expect(session.objects.map(({ id }) => id)).toEqual([0]);
  });

  it("takes back what nothing confirms backward in time too, what the prompt's own frame showed among it", async () => {
    const ghost = mover("b", { score: (frame) => (frame === 39 ? 0.9 : 0) });
    const { open } = await openVideoWorld([mover("a"), ghost]);
    const session = await open(40);
    const { frame } = await session.addPrompt({ frame: 39, text: "thing" });
    expect(frame?.objects.map(({ id }) => id)).toEqual([0, 1]);
    const frames = await all(session.propagate({ direction: "backward" }));
    expect(frames.flatMap(({ index, removedIds }) => removedIds.map((id) => [index, id]))).toEqual([[31, 1]]);
    expect(session.objects.map(({ id }) => id)).toEqual([0]);
  });

  it("holds frames back for fifteen, and not at all without temporal disambiguation", async () => {
    const { open } = await openVideoWorld([mover("a")]);
    const delayed = await open(40, { framesAhead: 1 });
    await delayed.addPrompt({ text: "thing" });
    const first = delayed.propagate();
    await first.next();
    expect(delayed.status().framesDone).toBe(15);
    await first.return();
    const prompt = await open(40, plain);
    await prompt.addPrompt({ text: "thing" });
    const second = prompt.propagate();
    await second.next();
    expect(prompt.status().framesDone).toBe(1);
    await second.return();
  });

  it("keeps the objects of several texts apart", async () => {
    const { open } = await openVideoWorld([mover("a"), mover("c", { text: "dog" })]);
    const session = await open(20);
    await session.addPrompt({ text: "thing" });
    await session.addPrompt({ text: "dog" });
    const frames = await all(session.propagate());
    expect(frames).toHaveLength(20);
    for (const { objects } of frames) {
      expect(objects.map(({ id, prompt, text }) => [id, prompt, text])).toEqual([
        [0, 0, "thing"],
        [1, 1, "dog"],
      ]);
    }
    expect(session.prompts).toEqual([
      { prompt: 0, text: "thing" },
      { prompt: 1, text: "dog" },
    ]);
  });

  it("goes both ways from the middle, each frame once", async () => {
    const things = [mover("a"), mover("b")];
    const { open } = await openVideoWorld(things);
    const session = await open(40);
    await session.addPrompt({ frame: 20, text: "thing" });
    const frames = await all(session.propagate({ direction: "both", startFrame: 20 }));
    const forward = Array.from({ length: 20 }, (_, i) => 20 + i);
    const backward = Array.from({ length: 20 }, (_, i) => 19 - i);
    expect(frames.map(({ index }) => index)).toEqual([...forward, ...backward]);
    for (const { index, objects } of frames) {
      expect(objects.map(({ id, box }) => [id, box])).toEqual(things.map(({ at }, id) => [id, at(index)]));
    }
  });

  it("goes backward alone, a number of frames, with progress", async () => {
    const { open } = await openVideoWorld([mover("a")]);
    const session = await open(40);
    await session.addPrompt({ frame: 30, text: "thing" });
    const seen: string[] = [];
    const frames = await all(
      session.propagate({
        direction: "backward",
        startFrame: 30,
        maxFrames: 5,
        onProgress: ({ done, total, frame }) => seen.push(`${done}/${total} ${frame}`),
      }),
    );
    expect(frames.map(({ index }) => index)).toEqual([30, 29, 28, 27, 26]);
    expect(seen).toEqual(["1/5 30", "2/5 29", "3/5 28", "4/5 27", "5/5 26"]);
  });
});

describe("what was given out", () => {
  // Both are found from frame 20 on, and b is no longer confirmed after frame 40.
  const fading = () => [mover("a"), mover("b", { score: (frame) => (frame > 40 ? 0 : 0.9) })];
  const ids = (frames: readonly FrameResult[]) => frames.map(({ objects }) => objects.map(({ id }) => id));

  it("is not taken back by a later pass over earlier frames", async () => {
    const { open } = await openVideoWorld(fading());
    const session = await open(60);
    await session.addPrompt({ frame: 20, text: "thing" });
    const first = await all(session.propagate());
    expect(ids(first)).toEqual(Array(40).fill([0, 1]));
    const again = await all(session.propagate({ startFrame: 0 }));
    expect(again.flatMap(({ removedIds }) => removedIds)).toEqual([]);
    expect(ids(again)).toEqual(Array(60).fill([0, 1]));
  });

  it("is not taken back by a prompt on an earlier frame", async () => {
    const { open } = await openVideoWorld(fading());
    const session = await open(60);
    await session.addPrompt({ text: "thing" });
    await all(session.propagate());
    const exemplars = [{ box: placeOf(mover("a"), 5) }];
    const { frame } = await session.addPrompt({ frame: 5, text: "thing", exemplars });
    expect(frame?.objects.map(({ id }) => id)).toEqual([0, 1]);
    expect(ids(await all(session.propagate()))).toEqual(Array(60).fill([0, 1]));
  });

  it("is not what a loop that was left had still held back", async () => {
    const ghost = mover("b", { score: (frame) => (frame === 2 ? 0.9 : 0) });
    const { open } = await openVideoWorld([mover("a"), ghost]);
    const session = await open(40, { framesAhead: 1 });
    await session.addPrompt({ text: "thing" });
    const left = session.propagate();
    // Frame 8 is computed where frame 0 is given before the ghost's end; frames 1 to 14 wait.
    await left.next();
    await left.return();
    expect(ids(await all(session.propagate()))).toEqual(Array(40).fill([0]));
  });
});

describe("what is known is not computed again", () => {
  it("a second pass asks the model nothing", async () => {
    const { open, state } = await openVideoWorld([mover("a")]);
    const session = await open(30);
    await session.addPrompt({ text: "thing" });
    const first = (await all(session.propagate())).map(line);
    state.trackCalls.length = 0;
    const encoded = state.batches.length;
    expect((await all(session.propagate())).map(line)).toEqual(first);
    expect(state.trackCalls).toEqual([]);
    expect(state.batches.length).toBe(encoded);
  });

  it("a pass that was left goes on where it was", async () => {
    const things = [mover("a")];
    const { open, state } = await openVideoWorld(things);
    const session = await open(30, plain);
    await session.addPrompt({ text: "thing" });
    for await (const { index } of session.propagate()) if (index === 9) break;
    expect(session.status().state).toBe("ready");
    expect(session.status().framesDone).toBe(10);
    state.trackCalls.length = 0;
    const frames = await all(session.propagate());
    expect(frames.map(({ index }) => index)).toEqual(clipOf(30).map((_, i) => i));
    expect(state.trackCalls.filter(({ call }) => call === "trackObjects").map(({ frame }) => frame)).toEqual(
      Array.from({ length: 20 }, (_, i) => 10 + i),
    );
  });

  it("what was dropped for room is computed again, the same", async () => {
    // One appears late, and its detection is not quite where it is tracked.
    const late = mover("c", { at: (frame) => (frame < 12 ? null : [frame % 20, 20, (frame % 20) + 4, 25]) });
    const { open } = await openVideoWorld([mover("a"), mover("b"), late]);
    const session = await open(30, { maxResultBytes: 3000 });
    await session.addPrompt({ text: "thing" });
    const first = (await all(session.propagate())).map(line);
    expect(session.status().hostBytes).toBeLessThanOrEqual(3000);
    expect((await all(session.propagate())).map(line)).toEqual(first);
    expect(session.status().framesDone).toBeGreaterThan(30);
  });

  it("what is computed again attends to nothing that comes later, but to what was prompted", async () => {
    const { open, state } = await openVideoWorld([mover("a")]);
    const session = await open(48, { maxResultBytes: 0, rules: { reconditionEvery: 8 } });
    await session.addPrompt({ frame: 20, text: "thing" });
    const attended = async () => {
      state.trackCalls.length = 0;
      await all(session.propagate({ startFrame: 0 }));
      return state.trackCalls.flatMap(({ call, frame, memories }) =>
        call === "trackObjects" ? [{ frame, memories: memories?.[0] }] : [],
      );
    };
    const first = await attended();
    expect(first.find(({ frame }) => frame === 10)?.memories).toContain(20);
    expect(first.find(({ frame }) => frame === 40)?.memories).toContain(32);
    expect(await attended()).toEqual(first);
  });

  it("a new object leaves the results of the others, and is tracked alone", async () => {
    const things = [mover("a"), mover("c", { text: "dog" })];
    const { open, state } = await openVideoWorld(things);
    const session = await open(30);
    await session.addPrompt({ text: "thing" });
    await all(session.propagate());
    state.trackCalls.length = 0;
    const [x, y] = placeOf(things[1], 5);
    const answer = await session.addPrompt({ frame: 5, points: [{ x: x + 1, y: y + 1, label: "positive" }] });
    expect(answer.object).toBe(1);
    expect(answer.frame?.objects.map(({ id, prompt, text }) => [id, prompt, text])).toEqual([
      [0, 0, "thing"],
      [1, null, "object"],
    ]);
    const frames = await all(session.propagate({ startFrame: 0 }));
    expect(frames).toHaveLength(30);
    for (const { index, objects } of frames) {
      expect(objects.map(({ box }) => box)).toEqual(things.map(({ at }) => at(index)));
    }
    expect(state.trackCalls.some(({ call }) => call === "detectConcepts")).toBe(false);
    // Once for the prompt, and on the 29 other frames.
    expect(state.trackCalls.filter(({ call }) => call === "trackObjects").map(({ items }) => items)).toEqual(
      Array(30).fill(1),
    );
  });

  it("another text is looked for without the first one", async () => {
    const { open, state } = await openVideoWorld([mover("a"), mover("c", { text: "dog" })]);
    const session = await open(20);
    await session.addPrompt({ text: "thing" });
    const first = (await all(session.propagate())).map(line);
    state.trackCalls.length = 0;
    await session.addPrompt({ text: "dog" });
    const frames = await all(session.propagate());
    expect(frames.map(({ objects }) => objects.map(({ id }) => id))).toEqual(frames.map(() => [0, 1]));
    expect(
      frames.map(({ index, objects }) => `${index}: ${objects[0]?.id}[${objects[0]?.box.join(",")}]`),
    ).toEqual(first);
    expect(
      state.trackCalls.filter(({ call }) => call === "detectConcepts").map(({ items }) => items),
    ).toEqual(Array(20).fill(1));
  });

  it("a correction changes its object only, from there on and before", async () => {
    const things = [mover("a"), mover("b"), mover("c", { text: "dog" })];
    const { open } = await openVideoWorld(things);
    const session = await open(30);
    await session.addPrompt({ text: "thing" });
    const before = await all(session.propagate());
    // Object 1 was meant to be the dog.
    const [x, y] = placeOf(things[2], 10);
    const points = [{ x: x + 1, y: y + 1, label: "positive" as const }];
    await session.addPrompt({ frame: 10, object: 1, points });
    const after = await all(session.propagate());
    after.forEach(({ objects }, i) => {
      expect(objects[0]?.box).toEqual(before[i]?.objects[0]?.box);
      if (i >= 10) expect(objects[1]?.box).toEqual(things[2]?.at(i));
    });
    expect(session.objects.map(({ id, prompt }) => [id, prompt])).toEqual([
      [0, 0],
      [1, 0],
    ]);
  });

  it("a correction takes the place of what the detector taught near it", async () => {
    const { open, state } = await openVideoWorld([mover("a")]);
    const attended = async (rules: { correctionReach?: number }) => {
      const session = await open(40, { rules });
      await session.addPrompt({ text: "thing" });
      await all(session.propagate({ maxFrames: 30 }));
      const [x, y] = placeOf(mover("a"), 20);
      const points = [{ x: x + 1, y: y + 1, label: "positive" as const }];
      await session.addPrompt({ frame: 20, object: 0, points });
      state.trackCalls.length = 0;
      await all(session.propagate({ startFrame: 30 }));
      const { memories } =
        state.trackCalls.find(({ call, frame }) => call === "trackObjects" && frame === 30) ?? {};
      return memories?.[0]?.filter((frame) => frame < 24);
    };
    // Born on 0, reconditioned on 16, corrected on 20.
    expect(await attended({})).toEqual([0, 20]);
    expect(await attended({ correctionReach: 3 })).toEqual([0, 16, 20]);
    expect(await attended({ correctionReach: 20 })).toEqual([20]);
  });

  it("an edit of an old frame goes by what the frames before it showed", async () => {
    const { open, state } = await openVideoWorld([mover("a")]);
    const session = await open(60, plain);
    const [x, y] = placeOf(mover("a"), 0);
    const { object } = await session.addPrompt({ points: [{ x: x + 1, y: y + 1, label: "positive" }] });
    await all(session.propagate());
    state.trackCalls.length = 0;
    const [left, top] = placeOf(mover("a"), 20);
    const again = {
      object: object as number,
      points: [{ x: left + 1, y: top + 1, label: "positive" as const }],
    };
    await session.addPrompt({ frame: 20, ...again });
    // Six frames are attended to beside the one that was prompted; they were dropped long ago.
    const remembered = state.trackCalls.filter(({ call }) => call === "rememberObjects");
    expect(remembered.map(({ frame }) => frame)).toEqual([14, 15, 16, 17, 18, 19, 20]);
  });
});

describe("rules that SAM 3 leaves off", () => {
  const ids = (frames: readonly FrameResult[]) => frames.map(({ objects }) => objects.map(({ id }) => id));

  it("confirmation: an object is shown from the first of three frames in a row that found it", async () => {
    // b is found on every other frame up to 8, then on all: frames 8, 9 and 10 are the first three in a row.
    const shy = mover("b", { score: (frame) => (frame < 8 && frame % 2 === 1 ? 0 : 0.9) });
    const { open, sam } = await openVideoWorld([mover("a"), shy]);
    const expected = Array.from({ length: 30 }, (_, frame) => (frame < 8 ? [0] : [0, 1]));
    const rules = { confirmationFrames: 3 };
    const session = await open(30, { rules });
    await session.addPrompt({ text: "thing" });
    expect(ids(await all(session.propagate()))).toEqual(expected);
    expect(ids(await all(session.propagate()))).toEqual(expected);
    // What is computed a second time, and without hindsight: then it is shown once it is confirmed.
    const small = await open(30, { rules, maxResultBytes: 0 });
    await small.addPrompt({ text: "thing" });
    await all(small.propagate());
    expect(ids(await all(small.propagate()))).toEqual(expected);
    const at = await open(30, { rules, ...plain });
    await at.addPrompt({ text: "thing" });
    expect(ids(await all(at.propagate()))).toEqual(
      Array.from({ length: 30 }, (_, frame) => (frame < 2 ? [] : frame < 10 ? [0] : [0, 1])),
    );
    await sam.close();
  });

  it("confirmation: backward in time, and what the user showed is confirmed", async () => {
    const shy = mover("b", { score: (frame) => (frame > 21 && frame % 2 === 0 ? 0 : 0.9) });
    const { open } = await openVideoWorld([mover("a"), shy]);
    const session = await open(30, { rules: { confirmationFrames: 3 } });
    await session.addPrompt({ frame: 29, text: "thing" });
    const backward = ids(await all(session.propagate({ direction: "backward" })));
    expect(backward).toEqual(Array.from({ length: 30 }, (_, i) => (29 - i > 21 ? [0] : [0, 1])));
    const { open: openOther } = await openVideoWorld([mover("a", { text: "visual" }), mover("b")]);
    const shown = await openOther(10, { rules: { confirmationFrames: 3 } });
    await shown.addPrompt({ exemplars: [{ box: placeOf(mover("a"), 0) }] });
    await shown.addPrompt({ box: placeOf(mover("b"), 0) });
    expect(ids(await all(shown.propagate()))).toEqual(Array(10).fill([0, 1]));
  });

  it("the boundary: what is found with its middle near an edge is no new object", async () => {
    // From the left edge to the right: its middle is over 4 of 40 pixels from frame 2 on.
    const { open } = await openVideoWorld([mover("a")]);
    const session = await open(10, { rules: { boundaryMargin: 0.1 } });
    await session.addPrompt({ text: "thing" });
    const frames = await all(session.propagate());
    expect(ids(frames)).toEqual(Array.from({ length: 10 }, (_, frame) => (frame < 2 ? [] : [0])));
  });
});

describe("objects that are shown", () => {
  it("with more points than the model takes lend it the first and the newest", async () => {
    const { open, state } = await openVideoWorld([mover("a")]);
    const session = await open(5);
    const [x, y] = placeOf(mover("a"), 0);
    const points = Array.from({ length: 30 }, (_, i) => ({
      x: x + (i % 6),
      y: y + Math.floor(i / 6),
      label: "positive" as const,
    }));
    await session.addPrompt({ points });
    const half = [...points.slice(0, 8), ...points.slice(22)];
    expect(state.trackCalls.find(({ call }) => call === "trackObjects")?.points).toEqual([
      half.flatMap((point) => [point.x, point.y]),
    ]);
    const free = await open(5, { rules: { maxPoints: 0 } });
    state.trackCalls.length = 0;
    await free.addPrompt({ points });
    expect(state.trackCalls.find(({ call }) => call === "trackObjects")?.points?.[0]).toHaveLength(60);
  });

  it("by a box, by points that add up, by a mask", async () => {
    const things = [mover("a"), mover("b")];
    const { open, state } = await openVideoWorld(things);
    const session = await open(12);
    const asked: number[][] = [];
    state.failures.trackObjects = ({ item }: { item: unknown }) => {
      const { items } = item as { items: { labels: Int32Array }[] };
      asked.push([...(items[0]?.labels ?? [])]);
      return undefined;
    };
    const rect = placeOf(things[0], 0);
    const first = await session.addPrompt({ box: rect });
    const object = first.object as number;
    await session.addPrompt({ object, points: [{ x: 1, y: 10, label: "negative" }] });
    await session.addPrompt({ object, points: [{ x: 2, y: 10, label: "positive" }], replace: true });
    expect(asked).toEqual([[2, 3], [2, 3, 0], [1]]);
    const mask = (await all(session.propagate({ maxFrames: 1 })))[0]?.objects[0]?.mask;
    const second = await session.addPrompt({ frame: 0, mask: mask as never });
    expect(second.frame?.objects.find(({ id }) => id === second.object)?.mask.toRle()).toEqual(mask?.toRle());
    const frames = await all(session.propagate());
    expect(frames.at(-1)?.objects.map(({ id }) => id)).toEqual([object, second.object]);
  });

  it("are removed on all frames", async () => {
    const { open, held } = await openVideoWorld([mover("a"), mover("b")]);
    const session = await open(20);
    await session.addPrompt({ text: "thing" });
    await all(session.propagate());
    await session.removeObject(0);
    const frames = await all(session.propagate());
    expect(frames.map(({ objects }) => objects.map(({ id }) => id))).toEqual(Array(20).fill([1]));
    await session.clearPrompts();
    expect(held()).toMatchObject({ masks: 0, pointers: 0, memories: 0 });
    await session.addPrompt({ text: "thing" });
    expect(session.objects.map(({ id }) => id)).toEqual([2, 3]);
    await session.reset();
    await session.addPrompt({ text: "thing" });
    expect(session.objects.map(({ id }) => id)).toEqual([0, 1]);
  });

  it("are corrected by what was shown and what is remembered, also where their result was dropped", async () => {
    const { open, state } = await openVideoWorld([mover("a")]);
    const session = await open(30, { ...plain, maxResultBytes: 0 });
    await session.addPrompt({ text: "thing" });
    await all(session.propagate());
    expect(session.frame(12)).toBeNull();
    state.trackCalls.length = 0;
    const [x, y] = placeOf(mover("a"), 12);
    const points = [{ x: x + 1, y: y + 1, label: "positive" as const }];
    await session.addPrompt({ frame: 12, object: 0, points });
    expect(state.trackCalls.find(({ call }) => call === "trackObjects")?.memories).toEqual([[0]]);
    // A frame it was never tracked to shows it anew.
    const other = await open(30, plain);
    await other.addPrompt({ text: "thing" });
    state.trackCalls.length = 0;
    await other.addPrompt({ frame: 12, object: 0, points });
    expect(state.trackCalls.find(({ call }) => call === "trackObjects")?.memories).toEqual([[]]);
  });

  it("exemplars without words find on their frame and are tracked on", async () => {
    const things = [mover("a", { text: "visual" })];
    const { open, state } = await openVideoWorld(things);
    const session = await open(30);
    const { frame } = await session.addPrompt({ frame: 3, exemplars: [{ box: [3, 2, 9, 7] }] });
    expect(frame?.objects).toHaveLength(1);
    const frames = await all(session.propagate({ direction: "both" }));
    expect(frames).toHaveLength(30);
    for (const { index, objects } of frames)
      expect(objects.map(({ box }) => box)).toEqual([things[0]?.at(index)]);
    expect(state.trackCalls.filter(({ call }) => call === "detectConcepts").map((it) => it.frame)).toEqual([
      3,
    ]);
  });
});

describe("choosing what is given out", () => {
  it("objects, prompts, and those that are not to be seen", async () => {
    const gone: Thing = mover("b", { at: (frame) => (frame > 5 ? null : [1, 1, 5, 5]) });
    const { open } = await openVideoWorld([mover("a"), gone, mover("c", { text: "dog" })]);
    const session = await open(10, plain);
    await session.addPrompt({ text: "thing" });
    await session.addPrompt({ text: "dog" });
    const ids = async (outputs: object) =>
      (await all(session.propagate({ startFrame: 8, maxFrames: 1, outputs })))[0]?.objects.map(
        ({ id }) => id,
      );
    await all(session.propagate());
    expect(await ids({})).toEqual([0, 2]);
    expect(await ids({ empty: true })).toEqual([0, 1, 2]);
    expect(await ids({ objects: [2] })).toEqual([2]);
    expect(await ids({ prompts: [0], empty: true })).toEqual([0, 1]);
  });
});

describe("live frames", () => {
  async function* camera(frames: number, from = 0) {
    for (let i = from; i < from + frames; i++) yield { image: frameOf(i), time: i * 2 };
  }

  it("are tracked as they come, without delay and without keeping results", async () => {
    const things = [mover("a")];
    const { sam, held } = await openVideoWorld(things);
    const session = await sam.video.open();
    expect(await session.addPrompt({ text: "thing" })).toEqual({ prompt: 0, object: null, frame: null });
    const frames = await all(session.stream(camera(50)));
    expect(frames.map(({ index, time }) => [index, time])).toEqual(
      Array.from({ length: 50 }, (_, i) => [i, i * 2]),
    );
    for (const { index, objects } of frames)
      expect(objects.map(({ box }) => box)).toEqual([things[0]?.at(index)]);
    expect(session.status()).toMatchObject({ framesDone: 50, frameCount: null });
    // The newest frame.
    expect(session.status().hostBytes).toBeLessThan(500);
    // Words' features, the newest frame's, and what the object remembers.
    expect(held()).toMatchObject({ features: 1, masks: 0, pointers: 0 });
    expect(held().memories).toBeLessThanOrEqual(20);
  });

  it("forget what is not seen any more, but nothing that was shown", async () => {
    const gone = (key: string, text: string) =>
      mover(key, { text, at: (frame) => (frame > 4 ? null : [frame, 1, frame + 4, 5]) });
    const { sam, held } = await openVideoWorld([mover("a"), gone("b", "thing")]);
    const session = await sam.video.open(null, { forgetAfterFrames: 10 });
    await session.addPrompt({ text: "thing" });
    await all(session.stream(camera(3)));
    await session.addPrompt({ box: [1, 1, 6, 5] });
    const frames = await all(session.stream(camera(20, 3)));
    expect(frames.flatMap(({ index, removedIds }) => removedIds.map((id) => [index, id]))).toEqual([[14, 1]]);
    expect(session.objects.map(({ id }) => id)).toEqual([0, 2]);
    await session.close();
    expect(held()).toEqual({ features: 0, masks: 0, pointers: 0, memories: 0 });
  });

  it("go on with further frames, and take prompts on the newest one", async () => {
    const things = [mover("a"), mover("c", { text: "dog" })];
    const { sam } = await openVideoWorld(things);
    const session = await sam.video.open();
    await session.addPrompt({ text: "thing" });
    await all(session.stream(camera(10)));
    const [x, y] = placeOf(things[1], 9);
    const { object, frame } = await session.addPrompt({
      points: [{ x: x + 1, y: y + 1, label: "positive" }],
    });
    expect([object, frame?.index]).toEqual([1, 9]);
    const frames = await all(session.stream(camera(5, 10)));
    expect(frames.map(({ index }) => index)).toEqual([10, 11, 12, 13, 14]);
    for (const { index, objects } of frames) {
      expect(objects.map(({ box }) => box)).toEqual(things.map(({ at }) => at(index)));
    }
  });
});

describe("a live session", () => {
  async function* camera(frames: number, from = 0, width = WIDTH) {
    for (let i = from; i < from + frames; i++) yield { image: frameOf(i, width), time: i };
  }
  const point = (frame: number) => {
    const [x, y] = placeOf(mover("a"), frame);
    return [{ x: x + 1, y: y + 1, label: "positive" as const }];
  };

  it("corrects an object by what it remembers of it, and shows the whole frame", async () => {
    const { sam, state } = await openVideoWorld([mover("a"), mover("b")]);
    const session = await sam.video.open(null, plain);
    await session.addPrompt({ text: "thing" });
    await all(session.stream(camera(6)));
    state.trackCalls.length = 0;
    const { frame } = await session.addPrompt({ object: 0, points: point(5) });
    expect(state.trackCalls.find(({ call }) => call === "trackObjects")?.memories).toEqual([[0, 1, 2, 3, 4]]);
    expect(frame?.objects.map(({ id }) => id)).toEqual([0, 1]);
    expect(session.frame(5)?.objects.map(({ id }) => id)).toEqual([0, 1]);
    expect(session.frame(4)).toBeNull();
  });

  it("says what it lacks where a prompt needs a frame and none is at hand", async () => {
    const { sam } = await openVideoWorld([mover("a")]);
    const session = await sam.video.open();
    const refused = async (prompt: object, code: string, message: RegExp) =>
      expect(session.addPrompt(prompt)).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message) as string,
      });
    await refused({ points: point(0) }, "INVALID_PROMPT", /No frame has come yet/);
    await refused({ box: [10, 10, 30, 20] }, "INVALID_PROMPT", /No frame has come yet/);
    await refused({ text: "thing", exemplars: [{ box: [1, 1, 9, 9] }] }, "INVALID_PROMPT", /No frame has/);
    await refused({ frame: 3, text: "thing" }, "VIDEO_NOT_SEEKABLE", /leave frame out/);
    expect(session.status()).toMatchObject({ prompts: 0, objects: 0 });
    await all(session.stream(camera(4)));
    await refused({ frame: 2, text: "thing" }, "VIDEO_NOT_SEEKABLE", /only the newest one \(3\)/);
    expect((await session.addPrompt({ frame: 3, text: "thing" })).frame?.index).toBe(3);
  });

  it("begins anew with reset: with frame 0, and frames of another size", async () => {
    const { sam } = await openVideoWorld([mover("a")]);
    const session = await sam.video.open();
    await session.addPrompt({ text: "thing" });
    await all(session.stream(camera(3)));
    await session.reset();
    expect(await session.addPrompt({ text: "thing" })).toEqual({ prompt: 0, object: null, frame: null });
    const frames = await all(session.stream(camera(2, 0, WIDTH + 10)));
    expect(frames.map(({ index, objects }) => [index, objects.map(({ id }) => id)])).toEqual([
      [0, [0]],
      [1, [0]],
    ]);
  });

  it("takes a prompt without a frame for the one that is the newest when its turn comes", async () => {
    const { sam } = await openVideoWorld([mover("a"), mover("c", { text: "dog" })], {}, { delayMs: 20 });
    const session = await sam.video.open();
    await session.addPrompt({ text: "thing" });
    const frames = session.stream(camera(4));
    await frames.next();
    const next = frames.next();
    await vi.waitFor(() => expect(session.status().state).toBe("processing"));
    const { frame } = await session.addPrompt({ text: "dog" });
    await next;
    expect(frame?.index).toBe(1);
    await frames.return();
  });
});

describe("memory without end", () => {
  it("holds no more handles after 5,000 frames than after 500", async () => {
    const things = ["a", "b", "c", "d", "e"].map((key, i) =>
      mover(key, { at: (frame) => [(frame + i) % 30, i * 6, ((frame + i) % 30) + 4, i * 6 + 4] }),
    );
    const { sam, held } = await openVideoWorld(things);
    const session = await sam.video.open();
    await session.addPrompt({ text: "thing" });
    const counts: Record<number, object> = {};
    async function* camera() {
      for (let i = 0; i < 5000; i++) yield frameOf(i);
    }
    for await (const { index, objects } of session.stream(camera())) {
      if (objects.length !== 5) throw new Error(`${objects.length} objects on frame ${index}`);
      if (index === 499 || index === 4899)
        counts[index] = { ...held(), status: session.status().deviceBytes };
    }
    expect(counts[4899]).toEqual(counts[499]);
  }, 180_000);

  it("keeps a clip's results within their bytes, and what objects remember bounded", async () => {
    const { open, held } = await openVideoWorld([mover("a"), mover("b")]);
    const session = await open(300, { maxResultBytes: 20_000 });
    await session.addPrompt({ text: "thing" });
    let frames = 0;
    for await (const _ of session.propagate()) {
      expect(held().memories).toBeLessThanOrEqual(2 * (16 + 4 + 1) + 2);
      frames++;
    }
    expect(frames).toBe(300);
    expect(session.status().hostBytes).toBeLessThanOrEqual(20_000);
  });

  it("reports what it holds, and frees all of it", async () => {
    const { open, state, held } = await openVideoWorld([mover("a")]);
    const session = await open(40);
    await session.addPrompt({ text: "thing" });
    await all(session.propagate());
    const { deviceBytes } = session.status();
    const { features, memories } = held();
    expect(deviceBytes).toBe(features * state.featureBytes + memories * state.memoryBytes + 64);
    await session.close();
    expect(held()).toEqual({ features: 0, masks: 0, pointers: 0, memories: 0 });
    expect(state.liveTexts).toBe(0);
  });

  it("counts what was encoded ahead, in a clip and live", async () => {
    const { open, sam, state, held } = await openVideoWorld([mover("a")]);
    const live = await sam.video.open(null, { framesAhead: 3 });
    const clip = await open(40, { ...plain, framesAhead: 3 });
    async function* camera() {
      for (let i = 0; i < 40; i++) yield frameOf(i);
    }
    for (const session of [live, clip]) {
      await session.addPrompt({ text: "thing" });
      const before = held();
      const frames = session === live ? session.stream(camera()) : session.propagate();
      for (let i = 0; i < 5; i++) await frames.next();
      // Until what is ahead was encoded.
      const ahead = 3;
      await expect.poll(() => held().features).toBe(before.features + ahead + (session === live ? 1 : 0));
      const { features, memories } = held();
      const bytes = features * state.featureBytes + memories * state.memoryBytes;
      const others = session === live ? 0 : live.status().deviceBytes;
      expect(session.status().deviceBytes).toBe(bytes + (session === live ? 64 : 128) - others);
      await frames.return();
    }
  });

  it("moves what is over the device's budget to main memory, and back when it is needed", async () => {
    const gpu = { id: "cuda:0", name: "g", uuid: null, totalBytes: 2 ** 36, freeBytes: 2 ** 36 };
    const cpu = { id: "cpu", name: "c", uuid: null, totalBytes: 2 ** 36, freeBytes: 2 ** 36 };
    const things = [mover("a"), mover("b")];
    const { open, state } = await openVideoWorld(things, { devices: "cuda" }, { devices: [cpu, gpu] });
    const session = await open(40, { maxMemoryBytes: 10_000 });
    await session.addPrompt({ text: "thing" });
    const frames = await all(session.propagate());
    expect(frames).toHaveLength(40);
    for (const { index, objects } of frames)
      expect(objects.map(({ box }) => box)).toEqual(things.map(({ at }) => at(index)));
    expect(state.trackCalls.some(({ call }) => call === "moveMemories")).toBe(true);
    expect(session.status().deviceBytes).toBeLessThanOrEqual(10_000 + state.featureBytes + 64);
  });
});

describe("what goes wrong", () => {
  it("hurts one operation, and leaves the session as it was", async () => {
    const things = [mover("a")];
    const { open, state, held } = await openVideoWorld(things);
    const session = await open(40, plain);
    await session.addPrompt({ text: "thing" });
    for (const call of [
      "detectConcepts",
      "trackObjects",
      "rememberObjects",
      "readMasks",
      "compareMasks",
    ] as const) {
      for await (const { index } of session.propagate()) if (index >= 10) break;
      const before = { ...held(), status: { ...session.status(), lastUsedAt: 0 } };
      state.failures[call] = nativeError("MODEL_FAILED", `${call} broke`);
      await expect(all(session.propagate())).rejects.toMatchObject({ code: "MODEL_FAILED" });
      delete state.failures[call];
      expect({ ...held(), status: { ...session.status(), lastUsedAt: 0 } }).toEqual(before);
    }
    const frames = await all(session.propagate());
    expect(frames.length).toBeGreaterThan(5);
    for (const { index, objects } of frames)
      expect(objects.map(({ box }) => box)).toEqual([things[0]?.at(index)]);
  });

  it("a prompt that fails is not there", async () => {
    const { open, state } = await openVideoWorld([mover("a")]);
    const session = await open(10);
    state.failures.detectConcepts = nativeError("MODEL_FAILED");
    await expect(session.addPrompt({ text: "thing" })).rejects.toMatchObject({ code: "MODEL_FAILED" });
    delete state.failures.detectConcepts;
    state.failures.trackObjects = nativeError("MODEL_FAILED");
    await expect(session.addPrompt({ box: [1, 1, 5, 5] })).rejects.toMatchObject({ code: "MODEL_FAILED" });
    delete state.failures.trackObjects;
    expect([session.prompts, session.objects]).toEqual([[], []]);
    await expect(all(session.propagate())).rejects.toMatchObject({ code: "INVALID_PROMPT" });
  });

  it("a device that fails ends the session", async () => {
    const { open, state } = await openVideoWorld([mover("a")]);
    const session = await open(10);
    await session.addPrompt({ text: "thing" });
    state.failures.trackObjects = nativeError("DEVICE_FAULT", "gone");
    await expect(all(session.propagate())).rejects.toMatchObject({ code: "DEVICE_FAULT" });
    expect(session.status()).toMatchObject({ state: "error", reason: expect.stringContaining("gone") });
    await expect(session.addPrompt({ text: "dog" })).rejects.toMatchObject({ code: "DEVICE_FAULT" });
    await session.close();
    expect(session.status().state).toBe("closed");
  });

  it("too little memory is answered by freeing what can be spared, once", async () => {
    const { open, state } = await openVideoWorld([mover("a")]);
    const session = await open(10);
    await session.addPrompt({ text: "thing" });
    let failures = 1;
    state.failures.trackObjects = () => (failures-- > 0 ? nativeError("OUT_OF_MEMORY") : undefined);
    expect(await all(session.propagate())).toHaveLength(10);
    expect(state.trims).toBe(1);
    state.failures.trackObjects = nativeError("OUT_OF_MEMORY");
    await session.addPrompt({ text: "dog" });
    await session.reset();
    await session.addPrompt({ text: "thing" });
    await expect(all(session.propagate())).rejects.toMatchObject({ code: "OUT_OF_MEMORY" });
  });
});

describe("bad input", () => {
  it("is told by code, and changes nothing", async () => {
    const { open } = await openVideoWorld([mover("a")]);
    const session = await open(10);
    const refused = async (prompt: unknown, code: string) =>
      expect(session.addPrompt(prompt as never), JSON.stringify(prompt)).rejects.toMatchObject({ code });
    await refused({}, "INVALID_PROMPT");
    await refused("dog", "INVALID_PROMPT");
    await refused(null, "INVALID_PROMPT");
    await refused({ text: " " }, "INVALID_PROMPT");
    await refused({ text: ["a", "b"] }, "INVALID_PROMPT");
    await refused({ text: "a", points: [] }, "INVALID_PROMPT");
    await refused({ object: 3 }, "INVALID_PROMPT");
    await refused({ txt: "a" }, "INVALID_ARGUMENT");
    await refused({ frame: 10, text: "a" }, "FRAME_OUT_OF_RANGE");
    await refused({ frame: -1, text: "a" }, "FRAME_OUT_OF_RANGE");
    await refused({ frame: 1.5, text: "a" }, "INVALID_ARGUMENT");
    await refused({ object: 3, points: [{ x: 1, y: 1, label: "positive" }] }, "OBJECT_NOT_FOUND");
    await refused({ object: "3", points: [{ x: 1, y: 1, label: "positive" }] }, "INVALID_PROMPT");
    await refused({ points: [{ x: 99, y: 1, label: "positive" }] }, "INVALID_POINT");
    await refused({ points: [] }, "INVALID_PROMPT");
    await refused({ box: [5, 5, 5, 9] }, "INVALID_BOX");
    await refused({ mask: { size: [3, 3], counts: [9] } }, "INVALID_MASK");
    await refused({ mask: { size: [HEIGHT, WIDTH], counts: [HEIGHT * WIDTH] } }, "INVALID_MASK");
    await refused({ mask: "no" }, "INVALID_MASK");
    await expect(session.removeObject(7)).rejects.toMatchObject({ code: "OBJECT_NOT_FOUND" });
    await expect(all(session.propagate({ startFrame: 10 }))).rejects.toMatchObject({
      code: "FRAME_OUT_OF_RANGE",
    });
    await expect(all(session.propagate({ direction: "up" as never }))).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await expect(all(session.propagate({ maxFrames: 0 }))).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await expect(all(session.stream([] as never))).rejects.toMatchObject({ code: "UNSUPPORTED" });
    expect(() => session.frame(10)).toThrow(expect.objectContaining({ code: "FRAME_OUT_OF_RANGE" }));
    expect(session.status()).toMatchObject({ state: "ready", objects: 0, prompts: 0, framesDone: 0 });
  });
});

it("prints one line in a REPL", async () => {
  const { inspect } = await import("node:util");
  const { open, sam } = await openVideoWorld([mover("a")]);
  const session = await open(3, { id: "clip" });
  const { frame } = await session.addPrompt({ text: "thing" });
  expect(inspect(session)).toBe("VideoSession { clip, ready, 1 object, 1 of 3 frames done, on cpu }");
  expect(inspect(frame)).toBe("FrameResult { 0 at 0.000 s, 1 object: #0 thing 0.90 }");
  expect(inspect(frame?.objects[0])).toBe("VideoObject { #0 thing 0.90, box [0, 9, 6, 14], 30 px, new }");
  expect(inspect(sam.video)).toBe("VideoSessionManager { 1 of 10 sessions open }");
  expect(JSON.parse(JSON.stringify(frame))).toEqual({
    frame: 0,
    time: 0,
    objects: [
      {
        id: 0,
        prompt: 0,
        text: "thing",
        score: expect.closeTo(0.9, 6),
        box: [0, 9, 6, 14],
        mask: expect.anything(),
      },
    ],
  });
});
