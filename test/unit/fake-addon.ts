import {
  ADDON_CONTRACT,
  type NativeAddon,
  type NativeBatch,
  type NativeBatchOptions,
  type NativeBundle,
  type NativeCancelToken,
  type NativeConceptItem,
  type NativeConceptObjects,
  type NativeDevice,
  type NativeError,
  type NativeFeatures,
  type NativeImageItem,
  type NativeMemory,
  type NativeObjectItem,
  type NativeObjectMasks,
  type NativeOutcome,
  type NativePixels,
  type NativeReplica,
  type NativeTextFeatures,
  type NativeTextItem,
  type NativeTracking,
} from "../../lib/native/addon.js";
import { EMPTY_WORLD, fakeTracking, handle, mark, type TrackingState } from "./fake-tracking.js";

export type FakeStage = "encodeImages" | "encodeTexts" | "segmentConcepts" | "segmentObjects";
type FakeCall = FakeStage | keyof NativeTracking | "load" | "close" | "moveFeatures" | "trim";

/** What a fake addon was asked, and what it should do. */
export interface FakeState extends TrackingState {
  devices: NativeDevice[];
  /** Pause before each native call answers, in milliseconds; -1 = as short as can be. */
  delayMs: number;
  /** What a call of that name, or each item of one, fails with; a function is asked each time. */
  failures: Partial<Record<FakeCall, unknown>>;
  /** What is found for one prompt. */
  found: (item: NativeConceptItem) => NativeConceptObjects;
  /** What an object prompt gives. */
  outlined: (item: NativeObjectItem) => NativeObjectMasks;
  /** Bytes of one picture's features. */
  featureBytes: number;
  memory: NativeMemory;
  loaded: NativeBundle[];
  pixels: NativePixels[];
  ids: number[][];
  prompts: NativeConceptItem[];
  objects: NativeObjectItem[];
  /** Every native call with its number of items, in the order they ran. */
  batches: { stage: FakeStage; items: number; atOnce: number; device: string }[];
  /** What the replicas were made with. */
  opened: { device: string; threads: number }[];
  replicas: number;
  closed: number;
  trims: number;
  moves: ("host" | "device")[];
  /** Features that were made and not disposed. */
  liveFeatures: number;
  liveTexts: number;
  cancelled: number;
  /** The most calls one replica ever had waiting or running. */
  deepest: number;
}

/** What a failure asked as a function is told. */
export interface FakeAsked {
  readonly device: string;
  readonly item: unknown;
  readonly atOnce: number | undefined;
}

const PLENTY = 64 * 2 ** 30;

/** A device of the fake addon. */
export function fakeDevice(id: string, changes: Partial<NativeDevice> = {}): NativeDevice {
  const n = id.startsWith("cuda:") ? id.slice(5) : undefined;
  const name = n === undefined ? "Fake CPU" : `Fake GPU ${n}`;
  const uuid = n === undefined ? null : `GPU-00000000-0000-0000-0000-00000000000${n}`;
  return { id, name, uuid, totalBytes: PLENTY, freeBytes: PLENTY, ...changes };
}

/** An error as the addon makes them. */
export function nativeError(code: string, message = `fake ${code}`): NativeError {
  return Object.assign(new Error(message), { code });
}

/** An addon without a model: it records what it is asked and answers from its state. A replica does one thing at a time. */
export function fakeAddon(changes: Partial<FakeState> = {}): { addon: NativeAddon; state: FakeState } {
  const state: FakeState = {
    devices: [fakeDevice("cpu")],
    delayMs: 0,
    failures: {},
    found: ({ features: { width, height }, semantic }) => ({
      presence: 0.9,
      objects: [
        {
          score: 0.8,
          box: Float64Array.of(0, 0, width, height),
          counts: Uint32Array.of(0, width * height),
          area: width * height,
        },
      ],
      semantic: semantic ? { counts: Uint32Array.of(0, width * height), area: width * height } : null,
    }),
    outlined: ({ features: { width, height }, multimask }) => ({
      masks: Array.from({ length: multimask ? 3 : 1 }, (_, i) => ({
        quality: 0.9 - i * 0.1,
        counts: Uint32Array.of(0, width * height),
        area: width * height,
        lowRes: new Float32Array(48 * 48).fill(1),
      })),
      objectScore: 5,
    }),
    featureBytes: 4096,
    memory: {
      totalBytes: PLENTY,
      freeBytes: PLENTY,
      allocatedBytes: 1000,
      peakBytes: null,
      modelBytes: 1000,
      featureBytes: 0,
    },
    loaded: [],
    pixels: [],
    ids: [],
    prompts: [],
    objects: [],
    batches: [],
    opened: [],
    replicas: 0,
    closed: 0,
    trims: 0,
    moves: [],
    liveFeatures: 0,
    liveTexts: 0,
    cancelled: 0,
    deepest: 0,
    world: EMPTY_WORLD,
    liveMasks: 0,
    livePointers: 0,
    liveMemories: 0,
    trackCalls: [],
    memoryBytes: 1000,
    ...changes,
  };

  class CancelToken {
    cancelled = false;
    cancel(): void {
      this.cancelled = true;
      state.cancelled++;
    }
  }
  const isCancelled = (token: NativeCancelToken) => (token as CancelToken).cancelled;

  const failureOf = (name: FakeCall, asked: FakeAsked): unknown => {
    const failure = state.failures[name];
    return typeof failure === "function" ? (failure as (asked: FakeAsked) => unknown)(asked) : failure;
  };

  class Replica implements Omit<NativeReplica, keyof NativeTracking> {
    readonly device: string;
    #line: Promise<unknown> = Promise.resolve();
    #depth = 0;
    #closed = false;

    constructor(options: { device: string; threads: number }) {
      state.replicas++;
      state.opened.push({ device: options.device, threads: options.threads });
      this.device = options.device;
      const tracking = fakeTracking(state, (call, request, work) =>
        this.#inLine(() => {
          this.#throwFor(call, request);
          const token = (request as { token?: NativeCancelToken }).token;
          if (token && isCancelled(token)) throw nativeError("ABORTED", "aborted");
          return work();
        }),
      );
      Object.assign(this, tracking);
    }

    load(
      bundle: NativeBundle,
      token: NativeCancelToken,
      onPart: (name: string, done: number, total: number) => void,
    ) {
      state.loaded.push(bundle);
      const names = Object.keys(bundle.parts);
      return this.#inLine(() => {
        this.#throwFor("load", bundle);
        if (isCancelled(token)) throw nativeError("ABORTED");
        for (const [i, name] of names.entries()) onPart(name, i + 1, names.length);
        return { modelBytes: 1000, loadMs: 5 };
      });
    }

    encodeImages(items: readonly NativeImageItem[], options: NativeBatchOptions) {
      state.pixels.push(...items.map(({ pixels }) => pixels));
      return this.#batch("encodeImages", items, options, ({ pixels }) =>
        features({ ...pixels, mark: mark(pixels) }, "device"),
      );
    }

    encodeTexts(items: readonly NativeTextItem[], options: NativeBatchOptions) {
      state.ids.push(...items.map(({ ids }) => [...ids]));
      return this.#batch("encodeTexts", items, options, ({ ids }): NativeTextFeatures => {
        state.liveTexts++;
        return handle({ bytes: 64, ids: [...ids] }, () => state.liveTexts--);
      });
    }

    segmentConcepts(items: readonly NativeConceptItem[], options: NativeBatchOptions) {
      state.prompts.push(...items);
      return this.#batch("segmentConcepts", items, options, (item) => {
        checkUsable(item.features);
        if (item.text.disposed) throw nativeError("DISPOSED", "the text was disposed");
        return state.found(item);
      });
    }

    segmentObjects(items: readonly NativeObjectItem[], options: NativeBatchOptions) {
      state.objects.push(...items);
      return this.#batch("segmentObjects", items, options, (item) => {
        checkUsable(item.features);
        return state.outlined(item);
      });
    }

    moveFeatures(from: NativeFeatures, to: "host" | "device", token: NativeCancelToken) {
      return this.#inLine(() => {
        this.#throwFor("moveFeatures", from);
        if (isCancelled(token)) throw nativeError("ABORTED");
        if (from.disposed) throw nativeError("DISPOSED");
        state.moves.push(to);
        return features(from, to);
      });
    }

    trim() {
      return this.#inLine(() => {
        this.#throwFor("trim", undefined);
        state.trims++;
      });
    }

    memory() {
      return state.memory;
    }

    stats() {
      return {
        queued: Math.max(0, this.#depth - 1),
        running: this.#depth > 0,
        modelBytes: 1000,
        featureBytes: 0,
      };
    }

    async close() {
      state.closed++;
      this.#closed = true;
      const failure = failureOf("close", { device: this.device, item: undefined, atOnce: undefined });
      if (failure !== undefined) throw failure;
    }

    #throwFor(name: FakeCall, item: unknown): void {
      const failure = failureOf(name, { device: this.device, item, atOnce: undefined });
      if (failure !== undefined) throw failure;
    }

    #batch<I extends { readonly token: NativeCancelToken }, T>(
      stage: FakeStage,
      items: readonly I[],
      { atOnce }: NativeBatchOptions,
      make: (item: I) => T,
    ): Promise<NativeBatch<T>> {
      return this.#inLine(() => {
        state.batches.push({ stage, items: items.length, atOnce, device: this.device });
        const outcomes = items.map((item): NativeOutcome<T> => {
          if (isCancelled(item.token)) return { error: nativeError("ABORTED", "aborted") };
          const failure = failureOf(stage, { device: this.device, item, atOnce });
          if (failure !== undefined) return { error: failure as NativeError };
          try {
            return { value: make(item) };
          } catch (error) {
            return { error: error as NativeError };
          }
        });
        return { items: outcomes, workMs: 7, queueMs: 1 };
      });
    }

    #inLine<T>(work: () => T): Promise<T> {
      this.#depth++;
      state.deepest = Math.max(state.deepest, this.#depth);
      const turn = this.#line.then(async () => {
        if (this.#closed) throw nativeError("DISPOSED", "the replica was closed");
        await new Promise<void>((resolve) => {
          if (state.delayMs < 0) setImmediate(resolve);
          else setTimeout(resolve, state.delayMs);
        });
        return work();
      });
      const over = () => {
        this.#depth--;
      };
      this.#line = turn.then(over, over);
      return turn;
    }
  }

  function features(
    from: { width: number; height: number; mark?: number },
    tier: "device" | "host",
  ): NativeFeatures {
    state.liveFeatures++;
    const { width, height, mark } = from;
    return handle({ width, height, mark, bytes: state.featureBytes, tier }, () => state.liveFeatures--);
  }

  const addon: NativeAddon = {
    contract: ADDON_CONTRACT,
    torchVersion: "2.13.0",
    devices: () => state.devices,
    // The tracker's half comes from fakeTracking, by the constructor.
    Replica: Replica as unknown as NativeAddon["Replica"],
    CancelToken,
  };
  return { addon, state };
}

function checkUsable(features: NativeFeatures): void {
  if (features.disposed) throw nativeError("DISPOSED", "the features were disposed");
  if (features.tier === "host") throw nativeError("INVALID_ARGUMENT", "the features are on the host");
}
