import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { PART_NAMES } from "../../lib/bundle/manifest.js";
import { nativeBundle } from "../../lib/load-engine.js";
import type {
  NativeAddon,
  NativeBatch,
  NativeBundle,
  NativeFeatures,
  NativePixels,
  NativeReplica,
  NativeTextFeatures,
} from "../../lib/native/addon.js";
import { findAddon, loadAddon } from "../../lib/native/load.js";
import { resolveLibtorch } from "../../lib/native/resolve-libtorch.js";
import { type Ended, runScenario } from "../lifetime/run-scenario.js";

/** Folder made by scripts/export/tiny.py. */
export const FIXTURES = process.env.SAM3_FIXTURES ?? resolve(".cache/fixtures");

/** `cpu`, or what `SAM3_TEST_DEVICE` names. */
export const DEVICE = (process.env.SAM3_TEST_DEVICE ?? "cpu").replace(/^cuda$/, "cuda:0");

/** A tiny bundle with random weights, as the addon wants it: of a seed, or the one whose parts can be made to fail. */
export function tinyBundle(name: number | "faults" = 0): NativeBundle {
  const folder = join(FIXTURES, String(name), "bundle");
  const manifest = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8"));
  const parts = PART_NAMES.map((part) => [part, join(folder, manifest.parts[part].file)]);
  return nativeBundle({ manifest }, Object.fromEntries(parts));
}

/** A picture of repeatable noise. */
export function noise(width: number, height: number, seed = 12345): NativePixels {
  const data = new Uint8Array(width * height * 3);
  let state = seed;
  for (let i = 0; i < data.length; i++) {
    state = (state * 1103515245 + 12345) % 2147483648;
    data[i] = state >>> 16;
  }
  return { data, width, height };
}

export const TEXT = Int32Array.from([1, 5, 6, 2]);

/** What a concept prompt is beside its features: no boxes, no semantic map. */
export const PLAIN = { boxes: new Float32Array(0), labels: new Uint8Array(0), semantic: false } as const;

/** What an object prompt is beside its features and points. */
export const CLICK = {
  mask: null,
  multimask: false,
  maskThreshold: 0,
  maxHoleArea: 0,
  maxSprinkleArea: 0,
} as const;

export const EIGHT = { atOnce: 8 } as const;

/** A replica with a tiny bundle in it. */
export async function openTiny(
  addon: NativeAddon = loadAddon(),
  threads = 2,
  bundle: number | "faults" = 0,
): Promise<NativeReplica> {
  const replica = new addon.Replica({ device: DEVICE, threads });
  await replica.load(tinyBundle(bundle), new addon.CancelToken(), () => {});
  return replica;
}

/** Items of a list call, every one with a token of its own. */
export function withTokens<T extends object>(addon: NativeAddon, items: readonly T[]) {
  return items.map((item) => ({ ...item, token: new addon.CancelToken() }));
}

/** One picture's features. */
export async function encodeOne(
  addon: NativeAddon,
  replica: NativeReplica,
  pixels: NativePixels,
): Promise<NativeFeatures> {
  return only(await replica.encodeImages(withTokens(addon, [{ pixels }]), EIGHT));
}

/** One text's features. */
export async function encodeText(
  addon: NativeAddon,
  replica: NativeReplica,
  ids: Int32Array = TEXT,
): Promise<NativeTextFeatures> {
  return only(await replica.encodeTexts(withTokens(addon, [{ ids }]), EIGHT));
}

/** What all items of a batch came to; the first that failed is thrown. */
export function values<T>({ items }: NativeBatch<T>): T[] {
  return items.map((item) => {
    if ("error" in item) throw item.error;
    return item.value;
  });
}

/** The value of a batch of one. */
export function only<T>(batch: NativeBatch<T>): T {
  if (batch.items.length !== 1) throw new Error(`there are ${batch.items.length} items`);
  return nth(values(batch), 0);
}

/** For each item of a batch the code it failed with, or `ok`. */
export function codes({ items }: NativeBatch<unknown>): string[] {
  return items.map((item) => ("error" in item ? item.error.code : "ok"));
}

/** An item that must be there. */
export function nth<T>(list: readonly T[], index: number): T {
  const item = list[index];
  if (item === undefined) throw new Error(`there are ${list.length} items, none at ${index}`);
  return item;
}

/** The error a promise is rejected with, its code told apart from its message. */
export async function failure(promise: Promise<unknown>): Promise<{ code: string; message: string }> {
  try {
    await promise;
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return { code, message };
  }
  return { code: "none", message: "the promise was fulfilled" };
}

/** The pixels inside run lengths, column by column. */
export function decodeRuns(counts: Uint32Array, size: number): Uint8Array {
  const bits = new Uint8Array(size);
  let at = 0;
  counts.forEach((run, i) => {
    if (i % 2 === 1) bits.fill(1, at, at + run);
    at += run;
  });
  if (at !== size) throw new Error(`the runs sum to ${at}, not ${size}`);
  return bits;
}

/** Runs a scenario of scenario.mjs in a process of its own. */
export function scenario(name: string, flags: readonly string[] = []): Promise<Ended> {
  const files = findAddon();
  const setup = {
    addon: files.addon,
    loader: files.loader,
    libraries: resolveLibtorch().libraries,
    bundle: tinyBundle(),
    device: DEVICE,
  };
  return runScenario(new URL("./scenario.mjs", import.meta.url), name, {
    flags,
    env: { SAM3_TEST_SETUP: JSON.stringify(setup) },
  });
}
