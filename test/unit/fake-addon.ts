import type {
  NativeAddon,
  NativeBundle,
  NativeConceptObjects,
  NativeConceptPrompt,
  NativeDevice,
  NativeFeatures,
  NativePixels,
  NativeReplica,
  NativeTextFeatures,
} from "../../lib/native/addon.js";

/** What a fake addon was asked, and what it should do. */
export interface FakeState {
  devices: NativeDevice[];
  /** Pause before each native call answers, in milliseconds. */
  delayMs: number;
  /** Thrown by the native call of that name, when set. */
  failures: Partial<Record<"load" | "encodeImage" | "encodeTexts" | "segmentConcepts" | "close", unknown>>;
  /** What is found for one prompt. */
  found: (prompt: NativeConceptPrompt, features: NativeFeatures) => NativeConceptObjects;
  loaded: NativeBundle[];
  pixels: NativePixels[];
  ids: number[][];
  prompts: NativeConceptPrompt[];
  replicas: number;
  closed: number;
  /** Features that were made and not disposed. */
  liveFeatures: number;
  liveTexts: number;
  cancelled: number;
}

/** An addon without a model: it records what it is asked and answers from its state. */
export function fakeAddon(changes: Partial<FakeState> = {}): { addon: NativeAddon; state: FakeState } {
  const state: FakeState = {
    devices: [{ id: "cpu", name: "Fake CPU", totalBytes: 1, freeBytes: 1 }],
    delayMs: 0,
    failures: {},
    found: (_prompt, { width, height }) => ({
      presence: 0.9,
      objects: [
        {
          score: 0.8,
          box: Float64Array.of(0, 0, width, height),
          counts: Uint32Array.of(0, width * height),
          area: width * height,
        },
      ],
    }),
    loaded: [],
    pixels: [],
    ids: [],
    prompts: [],
    replicas: 0,
    closed: 0,
    liveFeatures: 0,
    liveTexts: 0,
    cancelled: 0,
    ...changes,
  };

  class CancelToken {
    cancelled = false;
    cancel(): void {
      this.cancelled = true;
      state.cancelled++;
    }
  }

  const answer = async <T>(
    name: keyof FakeState["failures"],
    token: CancelToken,
    make: () => T,
  ): Promise<T> => {
    await new Promise((resolve) => setTimeout(resolve, state.delayMs));
    if (token.cancelled) throw Object.assign(new Error("aborted"), { code: "ABORTED" });
    if (state.failures[name] !== undefined) throw state.failures[name];
    return make();
  };

  class Replica implements NativeReplica {
    constructor(readonly options: { device: string; threads: number }) {
      state.replicas++;
    }
    load(
      bundle: NativeBundle,
      token: CancelToken,
      onPart: (name: string, done: number, total: number) => void,
    ) {
      state.loaded.push(bundle);
      const names = Object.keys(bundle.parts);
      return answer("load", token, () => {
        for (const [i, name] of names.entries()) onPart(name, i + 1, names.length);
        return { modelBytes: 1000, loadMs: 5 };
      });
    }
    encodeImage(pixels: NativePixels, token: CancelToken) {
      state.pixels.push(pixels);
      return answer("encodeImage", token, () => {
        state.liveFeatures++;
        return { features: handle(pixels, () => state.liveFeatures--), encodeMs: 7, queueMs: 1 };
      });
    }
    encodeTexts(ids: readonly Int32Array[], token: CancelToken) {
      state.ids.push(...ids.map((one) => [...one]));
      return answer("encodeTexts", token, () =>
        ids.map((): NativeTextFeatures => {
          state.liveTexts++;
          return handle({ width: 0, height: 0 }, () => state.liveTexts--);
        }),
      );
    }
    segmentConcepts(features: NativeFeatures, prompts: readonly NativeConceptPrompt[], token: CancelToken) {
      state.prompts.push(...prompts);
      return answer("segmentConcepts", token, () => ({
        prompts: prompts.map((prompt) => state.found(prompt, features)),
        decodeMs: 3,
        queueMs: 1,
      }));
    }
    stats() {
      return { queued: 0, running: false, modelBytes: 1000, featureBytes: 0 };
    }
    async close() {
      state.closed++;
      if (state.failures.close !== undefined) throw state.failures.close;
    }
  }

  const addon = {
    contract: 1,
    torchVersion: "2.13.0",
    devices: () => state.devices,
    Replica,
    CancelToken,
  } as unknown as NativeAddon;
  return { addon, state };
}

function handle(size: { width: number; height: number }, onDispose: () => void): NativeFeatures {
  let disposed = false;
  return {
    width: size.width,
    height: size.height,
    bytes: 4096,
    get disposed() {
      return disposed;
    },
    dispose() {
      if (!disposed) onDispose();
      disposed = true;
    },
  };
}
