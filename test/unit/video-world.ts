import { onTestFinished } from "vitest";
import type { LoadOptions, RawImage, SessionOptions, VideoSession } from "../../lib/index.js";
import { loadEngine } from "../../lib/load-engine.js";
import { Sam3 } from "../../lib/sam3.js";
import { type FakeState, fakeAddon } from "./fake-addon.js";
import { writeFakeBundle } from "./fake-bundle.js";
import type { FakeWorld, Rect } from "./fake-tracking.js";
import { quietLogger } from "./open-engine.js";

export const WIDTH = 40;
export const HEIGHT = 30;

let folder: Promise<string> | undefined;

/** A fake bundle that says it was trained for video, the same for all tests of a file. */
export function videoBundle(): Promise<string> {
  folder ??= writeFakeBundle((manifest) => ({
    ...manifest,
    tracker: { ...manifest.tracker, trained: true, memoryTrained: true },
  }));
  return folder;
}

/** A thing of the world: a box on its way. */
export interface Thing {
  readonly key: string;
  /** What finds it. */
  readonly text: string;
  /** Score of its detection on a frame; 0 = not found there. */
  readonly score: (frame: number) => number;
  /** Where it is; null where it is not there. */
  readonly at: (frame: number) => Rect | null;
}

/** A thing that moves to the right by a pixel each frame, and back. */
export function mover(key: string, changes: Partial<Thing> = {}): Thing {
  const row = 2 + 7 * (key.charCodeAt(0) % 4);
  return {
    key,
    text: "thing",
    score: () => 0.9,
    at: (frame) => {
      const x = frame % 60;
      const left = x < 30 ? x : 60 - x;
      return [left, row, left + 6, row + 5];
    },
    ...changes,
  };
}

/** Where a thing is that must be there. */
export function placeOf(thing: Thing | undefined, frame: number): [number, number, number, number] {
  const rect = thing?.at(frame);
  if (!rect) throw new Error(`nothing is there on frame ${frame}`);
  return [...rect];
}

/** A world of such things. Texts are told apart by their bytes, as the fake tokenizer encodes them. */
function worldOf(things: readonly Thing[]): FakeWorld {
  const byKey = new Map(things.map((thing) => [thing.key, thing]));
  return {
    found: (frame, ids) =>
      things.flatMap(({ key, text, score, at }) => {
        const rect = at(frame);
        // Start and end, and one token for each character.
        const isAsked = ids.length === text.length + 2;
        return rect && isAsked && score(frame) > 0 ? [{ key, score: score(frame), rect }] : [];
      }),
    at: (key, frame) => byKey.get(key)?.at(frame) ?? null,
    hit: (frame, x, y) => {
      const hit = things.find(({ at }) => {
        const rect = at(frame);
        return rect && x >= rect[0] && x < rect[2] && y >= rect[1] && y < rect[3];
      });
      return hit?.key ?? "nothing";
    },
  };
}

/** A frame that carries its number. */
export function frameOf(index: number, width = WIDTH, height = HEIGHT): RawImage {
  const data = new Uint8Array(width * height * 3);
  data[0] = index % 256;
  data[1] = Math.floor(index / 256);
  return { data, width, height, channels: 3 };
}

/** A clip of frames that carry their numbers. */
export function clipOf(frames: number): RawImage[] {
  return Array.from({ length: frames }, (_, index) => frameOf(index));
}

export interface OpenVideo {
  readonly sam: Sam3;
  readonly state: FakeState;
  readonly lines: string[];
  /** A session over a clip of that many frames. */
  open(frames: number, options?: SessionOptions): Promise<VideoSession>;
  /** What is held and not disposed, beside features of texts. */
  held(): { features: number; masks: number; pointers: number; memories: number };
}

/** A Sam3 over the fake addon and a world, closed when the test is done. */
export async function openVideoWorld(
  things: readonly Thing[],
  options: LoadOptions = {},
  changes: Partial<FakeState> = {},
): Promise<OpenVideo> {
  const { addon, state } = fakeAddon({ world: worldOf(things), delayMs: -1, ...changes });
  const { lines, logger } = quietLogger();
  const loaded = await loadEngine({ model: await videoBundle(), logger, ...options }, {}, () => addon);
  const sam = Sam3.over(loaded);
  onTestFinished(() => sam.close());
  return {
    sam,
    state,
    lines,
    open: (frames, session) => sam.video.open(clipOf(frames), session),
    held: () => ({
      features: state.liveFeatures,
      masks: state.liveMasks,
      pointers: state.livePointers,
      memories: state.liveMemories,
    }),
  };
}

/** Everything an iteration gives. */
export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const out: T[] = [];
  for await (const item of items) out.push(item);
  return out;
}
