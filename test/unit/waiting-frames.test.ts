import { readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { expect, it } from "vitest";
import { WaitingFrames } from "../../lib/cli/waiting-frames.js";
import type { FrameResultJson } from "../../lib/video/frame-result.js";

const frame = (index: number): FrameResultJson => ({ frame: index, time: index / 25, objects: [] });

it("results that wait come by rising frame, and leave no file", async () => {
  const folders = async () =>
    (await readdir(tmpdir())).filter((name) => name.startsWith("sam3-video-")).length;
  const before = await folders();
  const waiting = new WaitingFrames();
  for (const index of [5, 6, 7, 4, 3])
    await waiting.add({ ...frame(index), note: "ü".repeat(index) } as never);
  expect(await folders()).toBe(before + 1);
  expect(waiting.count).toBe(5);
  const seen: FrameResultJson[] = [];
  for await (const one of waiting.inOrder()) seen.push(one);
  expect(seen).toEqual([3, 4, 5, 6, 7].map((index) => ({ ...frame(index), note: "ü".repeat(index) })));
  await waiting.dispose();
  expect(await folders()).toBe(before);
});

it("none that wait need no file", async () => {
  const waiting = new WaitingFrames();
  expect(await waiting.inOrder().next()).toEqual({ done: true, value: undefined });
  await waiting.dispose();
});
