import { describe, expect, it } from "vitest";
import type { VideoSession } from "../../lib/index.js";
import { all, mover, openVideoWorld, placeOf, type Thing } from "./video-world.js";

const FRAMES = 20;
const [FIRST, SECOND] = [mover("c", { text: "dog" }), mover("d", { text: "dog" })];
const LATE = 7;
/** One is there from the first frame on, the other is found late. */
const FOUND = [mover("a"), mover("b", { score: (frame) => (frame < LATE ? 0 : 0.9) })];

async function click(session: VideoSession, thing: Thing, frame: number): Promise<void> {
  const [x, y] = placeOf(thing, frame);
  await session.addPrompt({ frame, points: [{ x: x + 1, y: y + 1, label: "positive" }] });
}

/** A clip with two clicked objects, of frames 0 and 2, and two found by words, of frames 0 and `LATE`. */
async function world() {
  const { open, state } = await openVideoWorld([FIRST, SECOND, ...FOUND]);
  const session = await open(FRAMES);
  await click(session, FIRST, 0);
  await click(session, SECOND, 2);
  await session.addPrompt({ text: "thing" });
  /** What was asked of the tracker for each frame since the last time. */
  const asked = (call: "trackObjects" | "rememberObjects") => {
    const calls = state.trackCalls.filter((it) => it.call === call);
    return Array.from({ length: FRAMES }, (_, frame) => calls.filter((it) => it.frame === frame));
  };
  const forget = () => {
    state.trackCalls.length = 0;
  };
  forget();
  return { session, asked, forget };
}

describe("all objects of a frame", () => {
  it("are tracked as one batch, whatever frames they were born on", async () => {
    const { session, asked } = await world();
    const frames = await all(session.propagate());
    expect(frames.at(-1)?.objects).toHaveLength(4);
    const batches = asked("trackObjects").map((calls) => calls.map(({ items }) => items));
    // What a prompt made is looked for on every frame but the one it was shown on, where it is known; what words find,
    // from the frame after its birth on.
    const expected = frames.map(({ index }) => {
      const clicked = index === 0 || index === 2 ? 1 : 2;
      const found = index === 0 ? 0 : index <= LATE ? 1 : 2;
      return [clicked + found];
    });
    expect(batches).toEqual(expected);
    // Each of them by what it remembers itself: of the frame it was born on first of all.
    for (const [call] of asked("trackObjects").slice(LATE + 1)) {
      const births = call?.memories?.map(([first]) => first as number).sort((x, y) => x - y);
      expect(births).toEqual([0, 0, 2, LATE]);
    }
  });

  it("are remembered at once too: those found by words, which give way to each other, and those clicked", async () => {
    const { session, asked } = await world();
    await all(session.propagate());
    const batches = asked("rememberObjects").map((calls) => calls.map(({ items }) => items).sort());
    for (const sizes of batches.slice(LATE + 1)) expect(sizes).toEqual([2, 2]);
    expect(batches.slice(3, LATE)).toEqual(Array(LATE - 3).fill([1, 2]));
  });

  it("are one batch backward as well", async () => {
    const { session, asked, forget } = await world();
    await all(session.propagate({ startFrame: 10 }));
    forget();
    await all(session.propagate({ startFrame: 9, direction: "backward" }));
    const sizes = asked("trackObjects").map((calls) => calls.map(({ items }) => items));
    // On frames 0 and 2 what was shown there is known, on frame 0 what the words found too.
    expect(sizes.slice(0, 10)).toEqual([[1], [4], [3], ...Array(7).fill([4])]);
  });
});
