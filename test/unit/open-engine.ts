import type { Call } from "../../lib/call.js";
import type { Engine } from "../../lib/devices/engine.js";
import type { ConceptRequest, ObjectRequest, PictureRequest } from "../../lib/devices/requests.js";
import { loadEngine, type ModelFacts } from "../../lib/load-engine.js";
import type { LoadOptions } from "../../lib/options.js";
import { type FakeState, fakeAddon } from "./fake-addon.js";
import { writeFakeBundle } from "./fake-bundle.js";

let folder: Promise<string> | undefined;

/** A fake bundle, the same for all tests of a file. */
export function fakeBundle(): Promise<string> {
  folder ??= writeFakeBundle();
  return folder;
}

/** A logger that keeps its lines. */
export function quietLogger() {
  const lines: string[] = [];
  const write = (message: string) => void lines.push(message);
  return { lines, logger: { debug: write, info: write, warn: write, error: write } };
}

export interface OpenEngine {
  readonly engine: Engine;
  readonly facts: ModelFacts;
  readonly state: FakeState;
  readonly lines: string[];
  /** Acquires a picture of that content, as a call that brings one. */
  acquire(content: string | undefined, signal?: AbortSignal): ReturnType<Engine["acquire"]>;
}

/** An engine over the fake addon. */
export async function openEngine(
  changes: Partial<FakeState> = {},
  options: LoadOptions = {},
): Promise<OpenEngine> {
  const { addon, state } = fakeAddon(changes);
  const { lines, logger } = quietLogger();
  const loaded = await loadEngine({ model: await fakeBundle(), logger, ...options }, {}, () => addon);
  return {
    ...loaded,
    state,
    lines,
    acquire: async (content, signal) => {
      const call = callOf(loaded.engine, signal);
      const leave = loaded.engine.pictures.enter(call);
      try {
        return await loaded.engine.acquire(picture(content), call);
      } finally {
        leave();
      }
    },
  };
}

/** A call of nobody in particular. */
export function callOf(engine: Engine, signal: AbortSignal = new AbortController().signal): Call {
  return { id: "test", startedAt: performance.now(), signal, logger: engine.logger };
}

/** A request for a picture of 4 × 2 pixels. */
export function picture(content: string | undefined, changes: Partial<PictureRequest> = {}): PictureRequest {
  return {
    key: content,
    pixels: async () => ({ data: new Uint8Array(24), width: 4, height: 2, decodeMs: 3 }),
    ...changes,
  };
}

/** A concept prompt of the given tokens. */
export function concept(...ids: number[]): ConceptRequest {
  return {
    ids: Int32Array.from(ids),
    boxes: new Float32Array(0),
    labels: new Uint8Array(0),
    threshold: 0.5,
    semantic: false,
  };
}

/** A click. */
export const CLICK: ObjectRequest = {
  points: Float32Array.of(1, 1),
  labels: Int32Array.of(1),
  mask: null,
  multimask: false,
  maskThreshold: 0,
  maxHoleArea: 0,
  maxSprinkleArea: 0,
};
