import type {
  NativeFeatures,
  NativeMaskRow,
  NativeMasks,
  NativePointers,
  NativeTracked,
  NativeTracking,
  NativeTrackMemory,
} from "../../lib/native/addon.js";

/** A box of whole pixels `[x1, y1, x2, y2]`; every mask of the fake addon is one. */
export type Rect = readonly [number, number, number, number];

/** What the fake addon "sees": frames carry their number in the first two bytes of their pixels (see `mark`). */
export interface FakeWorld {
  /** Instances of a text on a frame. */
  found: (frame: number, ids: readonly number[]) => readonly { key: string; score: number; rect: Rect }[];
  /** Where the thing of that name is on a frame; null where it is not there. */
  at: (key: string, frame: number) => Rect | null;
  /** The thing at a point. */
  hit: (frame: number, x: number, y: number) => string;
}

export const EMPTY_WORLD: FakeWorld = { found: () => [], at: () => null, hit: () => "nothing" };

/** Handles of the tracker that were made and not disposed, and what was asked. */
export interface TrackingState {
  world: FakeWorld;
  liveMasks: number;
  livePointers: number;
  liveMemories: number;
  /** Every call of the tracker's half: its name, how many items, on which frame; of each tracked item the frames it attends to, and its points; of each concept the labels of its boxes. */
  trackCalls: {
    call: keyof NativeTracking;
    items: number;
    frame: number;
    memories?: number[][];
    points?: number[][];
    labels?: number[][];
  }[];
  /** Bytes of one memory. */
  memoryBytes: number;
}

/** Frame number that a picture carries. */
export function mark(pixels: { readonly data: Uint8Array }): number {
  return (pixels.data[0] ?? 0) + 256 * (pixels.data[1] ?? 0);
}

interface Row {
  readonly key: string;
  readonly rect: Rect | null;
}
type Masks = NativeMasks & { readonly rows: readonly Row[] };
type Pointers = NativePointers & { readonly keys: readonly string[] };
type Memory = NativeTrackMemory & { readonly key: string; readonly frame: number };
type Features = NativeFeatures & { readonly mark: number };
type Texts = { readonly ids: readonly number[] };

/** The tracker's half of the fake addon: it tracks boxes of its world, and remembers whose they are. */
export function fakeTracking(
  state: TrackingState,
  ask: <T>(call: keyof NativeTracking, request: unknown, work: () => T) => Promise<T>,
): NativeTracking {
  const masksOf = (rows: readonly Row[]): Masks => {
    state.liveMasks++;
    return handle({ rows, count: rows.length, bytes: 100 * rows.length }, () => state.liveMasks--);
  };
  const pointersOf = (keys: readonly string[]): Pointers => {
    state.livePointers++;
    return handle({ keys, count: keys.length, bytes: 10 * keys.length }, () => state.livePointers--);
  };
  const memoryOf = (key: string, frame: number, tier: "device" | "host"): Memory => {
    state.liveMemories++;
    return handle({ key, frame, tier, bytes: state.memoryBytes }, () => state.liveMemories--);
  };
  const trackedOf = (rows: readonly Row[]): NativeTracked => ({
    masks: masksOf(rows),
    cleaned: masksOf(rows),
    pointers: pointersOf(rows.map(({ key }) => key)),
    objectScores: Float32Array.from(rows, ({ rect }) => (rect ? 6 : -6)),
    quality: new Float32Array(rows.length).fill(0.9),
  });
  const rowOf = ({ masks, row, hidden }: NativeMaskRow): Row => {
    const { rows, disposed } = masks as Masks;
    if (disposed) throw new Error("the masks were disposed");
    const found = rows[row];
    if (!found) throw new Error(`no row ${row}`);
    return hidden ? { ...found, rect: null } : found;
  };
  const frameOf = (features: NativeFeatures): number => {
    if (features.disposed) throw new Error("the features were disposed");
    return (features as Features).mark;
  };
  const run = <T>(
    call: keyof NativeTracking,
    items: number,
    frame: number,
    request: unknown,
    work: () => T,
    facts: { memories?: number[][]; points?: number[][]; labels?: number[][] } = {},
  ) => {
    state.trackCalls.push({ call, items, frame, ...facts });
    return ask(call, request, work);
  };

  return {
    detectConcepts: (request) => {
      const work = () => {
        const frame = frameOf(request.features);
        for (const { boxes, labels } of request.prompts) {
          if (boxes.length !== 4 * labels.length) throw new Error("boxes and labels do not fit");
        }
        const found = request.prompts.flatMap(({ text }, prompt) =>
          state.world
            .found(frame, (text as unknown as Texts).ids)
            .filter(({ score }) => score > request.threshold)
            .map((it) => ({ ...it, prompt })),
        );
        return {
          scores: Float32Array.from(found, ({ score }) => score),
          boxes: Float64Array.from(found.flatMap(({ rect }) => [...rect])),
          prompts: Int32Array.from(found, ({ prompt }) => prompt),
          presence: new Float32Array(request.prompts.length).fill(1),
          masks: masksOf(found.map(({ key, rect }) => ({ key, rect }))),
        };
      };
      const labels = request.prompts.map((prompt) => [...prompt.labels]);
      return run(
        "detectConcepts",
        request.prompts.length,
        (request.features as Features).mark,
        request,
        work,
        {
          labels,
        },
      );
    },
    trackObjects: (request) => {
      const { items, features } = request;
      const memories = items.map((item) => item.memories.map((memory) => (memory as Memory).frame));
      const work = () => {
        const frame = frameOf(features);
        return trackedOf(
          items.map(({ memories, pointers, points }) => {
            for (const memory of [...memories, ...pointers]) {
              if (memory.disposed) throw new Error("a memory was disposed");
              if (memory.tier === "host") throw new Error("a memory is on the host");
            }
            const key =
              points.length > 0
                ? state.world.hit(frame, points[0] as number, points[1] as number)
                : ((memories.at(-1) as Memory | undefined)?.key ?? "nothing");
            return { key, rect: state.world.at(key, frame) };
          }),
        );
      };
      const points = items.map((item) => [...item.points]);
      return run("trackObjects", items.length, (features as Features).mark, request, work, {
        memories,
        points,
      });
    },
    seedObjects: (request) =>
      run("seedObjects", request.items.length, (request.features as Features).mark, request, () => {
        const frame = frameOf(request.features);
        return trackedOf(
          request.items.map((item) => {
            if ("masks" in item) return rowOf(item);
            const rect = rectOf(item.counts, request.features.height);
            const middle = rect && [(rect[0] + rect[2]) / 2, (rect[1] + rect[3]) / 2];
            return { key: middle ? state.world.hit(frame, middle[0] ?? 0, middle[1] ?? 0) : "nothing", rect };
          }),
        );
      }),
    rememberObjects: (request) =>
      run("rememberObjects", request.rows.length, (request.features as Features).mark, request, () => {
        const frame = frameOf(request.features);
        return request.rows.map((row) => {
          if (row.pointers.disposed) throw new Error("the pointers were disposed");
          return memoryOf((row.masks as Masks).rows[row.row]?.key ?? "nothing", frame, "device");
        });
      }),
    compareMasks: (request) =>
      run("compareMasks", request.a.length, -1, request, () => {
        const a = request.a.map(rowOf);
        const b = request.b.map(rowOf);
        return {
          iou: Float32Array.from(a.flatMap((one) => b.map((other) => iouOf(one.rect, other.rect)))),
          areasA: Uint32Array.from(a, ({ rect }) => areaOf(rect)),
          areasB: Uint32Array.from(b, ({ rect }) => areaOf(rect)),
        };
      }),
    cleanMasks: (request) =>
      run("cleanMasks", request.rows.length, -1, request, () => masksOf(request.rows.map(rowOf))),
    readMasks: (request) =>
      run("readMasks", request.rows.length, -1, request, () =>
        request.rows.map((row) => {
          const { rect } = rowOf(row);
          return {
            counts: countsOf(rect, request.width, request.height),
            area: areaOf(rect),
            box: Float64Array.from(rect ?? [0, 0, 0, 0]),
          };
        }),
      ),
    moveMemories: (memories, to, token) =>
      run("moveMemories", memories.length, -1, { memories, to, token }, () =>
        memories.map((memory) => memoryOf((memory as Memory).key, (memory as Memory).frame, to)),
      ),
    saveMemories: (memories, token) =>
      run("saveMemories", memories.length, -1, { memories, token }, () =>
        memories.map((memory) => {
          const { key, frame } = memory as Memory;
          return Buffer.from(JSON.stringify({ key, frame }));
        }),
      ),
    restoreMemories: (blocks, token) =>
      run("restoreMemories", blocks.length, -1, { blocks, token }, () =>
        blocks.map((block) => {
          const { key, frame } = JSON.parse(Buffer.from(block).toString()) as { key: string; frame: number };
          return memoryOf(key, frame, "device");
        }),
      ),
  };
}

function areaOf(rect: Rect | null): number {
  return rect ? (rect[2] - rect[0]) * (rect[3] - rect[1]) : 0;
}

function iouOf(a: Rect | null, b: Rect | null): number {
  if (!a || !b) return 0;
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  const both = width > 0 && height > 0 ? width * height : 0;
  return both / (areaOf(a) + areaOf(b) - both);
}

/** COCO run lengths of a box. */
function countsOf(rect: Rect | null, width: number, height: number): Uint32Array {
  if (!rect) return Uint32Array.of(width * height);
  const counts: number[] = [];
  let at = 0;
  for (let x = rect[0]; x < rect[2]; x++) {
    counts.push(x * height + rect[1] - at, rect[3] - rect[1]);
    at = x * height + rect[3];
  }
  counts.push(width * height - at);
  return Uint32Array.from(counts);
}

function rectOf(counts: Uint32Array, height: number): Rect | null {
  let at = 0;
  let rect: [number, number, number, number] | null = null;
  counts.forEach((run, i) => {
    if (i % 2 === 1 && run > 0) {
      const [x, y] = [Math.floor(at / height), at % height];
      rect = rect ? [rect[0], rect[1], x + 1, rect[3]] : [x, y, x + 1, y + run];
    }
    at += run;
  });
  return rect;
}

export function handle<T extends object>(
  facts: T,
  onDispose: () => void,
): T & { disposed: boolean; dispose(): void } {
  let disposed = false;
  return Object.defineProperties({ ...facts } as never, {
    disposed: { get: () => disposed },
    dispose: {
      value: () => {
        if (!disposed) onDispose();
        disposed = true;
      },
    },
  });
}
