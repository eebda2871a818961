import { afterAll, beforeAll, expect, it } from "vitest";
import { Sam3 } from "../../lib/index.js";
import { drawScene } from "./scene.js";

let sam: Sam3;
beforeAll(async () => {
  sam = await Sam3.load();
});
afterAll(() => sam?.close());

/** Lag of a 5 ms timer in milliseconds while `work` runs, sorted. */
async function lagDuring(work: () => Promise<unknown>): Promise<number[]> {
  const lags: number[] = [];
  let expected = performance.now() + 5;
  const timer = setInterval(() => {
    const now = performance.now();
    lags.push(Math.max(0, now - expected));
    expected = now + 5;
  }, 5);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  return lags.sort((a, b) => a - b);
}

it("stays free while 20 pictures are segmented: a 5 ms timer's lag is under 20 ms at the 99th percentile", async () => {
  const pictures = await Promise.all(Array.from({ length: 20 }, (_, i) => drawScene(i, 640 + 32 * i, 480)));
  await sam.image.segmentConcept(pictures[0] as Buffer, { text: "circle" }); // the first call compiles
  // Other programs on the machine can only add to the lag: the best of three runs is nearest to our own.
  let best = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 3 && best >= 20; run++) {
    const before = performance.eventLoopUtilization();
    const lags = await lagDuring(() =>
      Promise.all(
        pictures.map((picture) => sam.image.segmentConcept(picture, { text: ["circle", "red square"] })),
      ),
    );
    expect(lags.length).toBeGreaterThan(50);
    const { active } = performance.eventLoopUtilization(before);
    const at = (share: number) => lags[Math.min(lags.length - 1, Math.floor(lags.length * share))] as number;
    best = Math.min(best, at(0.99));
    console.log(
      `timer lag over ${lags.length} ticks: median ${at(0.5).toFixed(1)} ms, p99 ${at(0.99).toFixed(1)} ms, worst ${at(1).toFixed(1)} ms; the loop was busy for ${active.toFixed(0)} ms`,
    );
  }
  expect(best).toBeLessThan(20);
});
