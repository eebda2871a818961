import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { NativeAddon, NativeBundle, NativePixels, NativeReplica } from "../../lib/native/addon.js";
import { findAddon, loadAddon } from "../../lib/native/load.js";
import { resolveLibtorch } from "../../lib/native/resolve-libtorch.js";

/** Folder made by scripts/export/tiny.py. */
const FIXTURES = process.env.SAM3_FIXTURES ?? resolve(".cache/fixtures");

/** A tiny bundle with random weights, as the addon wants it. */
export function tinyBundle(seed = 0): NativeBundle {
  const folder = join(FIXTURES, String(seed), "bundle");
  const manifest = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8"));
  const parts = ["image_encoder", "text_encoder", "concept_decoder"];
  return {
    resolution: manifest.resolution,
    featureSize: manifest.featureSize,
    maskSize: manifest.maskSize,
    dtype: manifest.dtype,
    mean: manifest.normalize.mean,
    std: manifest.normalize.std,
    maskThreshold: manifest.thresholds.mask,
    contextLength: manifest.tokenizer.contextLength,
    padToken: manifest.tokenizer.padToken,
    parts: Object.fromEntries(parts.map((name) => [name, join(folder, manifest.parts[name].file)])),
  };
}

/** A picture of repeatable noise. */
export function noise(width: number, height: number): NativePixels {
  const data = new Uint8Array(width * height * 3);
  let state = 12345;
  for (let i = 0; i < data.length; i++) {
    state = (state * 1103515245 + 12345) % 2147483648;
    data[i] = state >>> 16;
  }
  return { data, width, height };
}

export const TEXT = Int32Array.from([1, 5, 6, 2]);

/** A prompt's boxes: none. */
export const NO_BOXES = { boxes: new Float32Array(0), labels: new Uint8Array(0) } as const;

/** A replica on the CPU with the tiny bundle in it. */
export async function openTiny(addon: NativeAddon = loadAddon(), threads = 2): Promise<NativeReplica> {
  const replica = new addon.Replica({ device: "cpu", threads });
  await replica.load(tinyBundle(), new addon.CancelToken(), () => {});
  return replica;
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

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly output: string;
}

/** Runs scenario.mjs in a process of its own. */
export async function scenario(name: string, flags: readonly string[] = []): Promise<Ended> {
  const files = findAddon();
  const setup = {
    addon: files.addon,
    loader: files.loader,
    libraries: resolveLibtorch().libraries,
    bundle: tinyBundle(),
  };
  const script = fileURLToPath(new URL("./scenario.mjs", import.meta.url));
  const child = spawn(process.execPath, [...flags, script, name], {
    env: { ...process.env, SAM3_TEST_SETUP: JSON.stringify(setup) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (chunk: string) => {
      output += chunk;
    });
  }
  return new Promise((done) => child.once("close", (code, signal) => done({ code, signal, output })));
}
