import { createHash } from "node:crypto";
import { throwIfAborted, until } from "./abort.js";
import { type Manifest, PART_NAMES } from "./bundle/manifest.js";
import { type Bundle, readBundle, readTokenizer, verifyParts } from "./bundle/read-bundle.js";
import { TextTokenizer } from "./bundle/tokenizer.js";
import { FeatureCache } from "./cache/feature-cache.js";
import { toSam3Error } from "./caller.js";
import type { BatchLimits } from "./devices/batch-queue.js";
import { planReplicas, type ReplicaPlan } from "./devices/device-list.js";
import { DeviceMemory } from "./devices/device-memory.js";
import { DevicePool } from "./devices/device-pool.js";
import { Engine } from "./devices/engine.js";
import { type Kept, PictureFeatures } from "./devices/kept-features.js";
import { Replica, type ReplicaContext } from "./devices/replica.js";
import { warmUp } from "./devices/warm-up.js";
import { Sam3Error } from "./errors.js";
import { stderrLogger } from "./logger.js";
import { Meter } from "./metrics/meter.js";
import type { NativeAddon, NativeBundle } from "./native/addon.js";
import { type LoadOptions, readLoadOptions, type Settings } from "./options.js";
import { reporter } from "./progress.js";

/** What is known of a loaded model. */
export interface ModelFacts {
  readonly name: string;
  /** Folder of the bundle. */
  readonly folder: string;
  /** Side in pixels of the square a picture is resized to. */
  readonly resolution: number;
  readonly dtype: "fp32" | "bf16" | "fp16";
  /** Side in pixels of the low-resolution masks that object prompts take and give. */
  readonly maskSize: number;
  /** Whether the part that answers points and boxes was trained. */
  readonly objectPrompts: boolean;
  /** Where it runs, by the names of its replicas: `cpu`, `cuda:0`, or several with commas. */
  readonly device: string;
  /** Names of the devices, each once. */
  readonly deviceName: string;
  /** Bytes that all replicas hold as loading ended; 0 when they are loaded lazily (`sam.stats()` has the current figure). */
  readonly modelBytes: number;
  /** Milliseconds it took to move the parts to the devices. */
  readonly loadMs: number;
  /** Score above which objects are returned where a prompt names no threshold. */
  readonly confidenceThreshold: number;
  /** Tokens of a text the model reads, start and end included. */
  readonly contextLength: number;
  readonly torchVersion: string;
  readonly licence: string;
}

/** Finds libtorch and loads the addon; the only thing `loadEngine` needs from outside. */
export type AddonLoader = (options: {
  readonly libtorch?: string;
  readonly home?: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}) => NativeAddon | Promise<NativeAddon>;

const MB = 2 ** 20;
const DEFAULT_CACHE_MB = 4096;

/** Reads settings and bundle, loads the addon and moves the model to its devices; failing half-way frees everything. */
export async function loadEngine(
  options: LoadOptions,
  env: Readonly<Record<string, string | undefined>>,
  loadAddon: AddonLoader,
): Promise<{ engine: Engine; facts: ModelFacts }> {
  const {
    settings,
    logger = stderrLogger(settings.logLevel),
    signal,
    onProgress,
  } = readLoadOptions(options, env);
  const report = reporter(onProgress, logger);

  // What is quick and likely to be wrong comes first: settings, manifest, libtorch, devices; then the hashes.
  const bundle = await readBundle(settings.model, signal);
  const { manifest } = bundle;
  checkResolution(settings, bundle);
  const addon = await loadAddon({
    ...(settings.libtorch === undefined ? {} : { libtorch: settings.libtorch }),
    ...(settings.home === undefined ? {} : { home: settings.home }),
    env: { ...env, SAM3_LIBTORCH_FROM_PYTHON: settings.libtorchFromPython ? "1" : "0" },
  });
  throwIfAborted(signal);
  const plans = planReplicas(settings.devices, addon.devices(), settings.threads);
  const modelBytes = PART_NAMES.reduce((sum, name) => sum + manifest.parts[name].bytes, 0);
  const tokenizer = new TextTokenizer(await readTokenizer(bundle, signal), manifest.tokenizer);

  const meter = new Meter();
  const limits = batchLimits(settings);
  const { maxQueue } = settings;
  const deviceBytes = settings.deviceMemoryMb === undefined ? undefined : settings.deviceMemoryMb * MB;
  const cache = new FeatureCache<Kept>({
    deviceBytes:
      settings.maxCacheSizeMb === undefined
        ? defaultCacheBytes(plans, modelBytes, deviceBytes)
        : settings.maxCacheSizeMb * MB,
    hostBytes: settings.maxCpuCacheSizeMb * MB,
    ttlMs: settings.cacheTtlSeconds * 1000,
    move: (kept, to, stop) =>
      kept instanceof PictureFeatures ? kept.move(to, stop) : Promise.reject(new Error("texts stay")),
    movable: (kept) => kept instanceof PictureFeatures && kept.movable,
  });
  const verified = once(async () => {
    let done = 0;
    // Lazily, the signal of `Sam3.load` has nothing to say any more.
    const stop = settings.load === "eager" ? signal : undefined;
    const parts = await verifyParts(bundle, PART_NAMES, stop, (part) => {
      done++;
      report({ stage: "verify", part, done, total: PART_NAMES.length });
    });
    return nativeBundle(bundle, parts);
  });
  let partsLoaded = 0;
  const context: ReplicaContext = {
    addon,
    logger,
    meter,
    limits,
    maxQueue,
    bundle: verified,
    modelBytes,
    memory: new DeviceMemory(deviceBytes, (device, bytes) =>
      cache.evict((it) => it.replica.device?.id === device, bytes),
    ),
    onFault: (replica) => cache.drop((kept) => kept.replica === replica),
    warmUp: settings.warmUp ? (replica) => warmUp(replica, manifest, tokenizer) : undefined,
    onPart: (part) => {
      partsLoaded++;
      report({ stage: "load", part, done: partsLoaded, total: PART_NAMES.length * plans.length });
    },
  };
  const pool = new DevicePool(
    plans.map((plan) => new Replica(plan, context)),
    limits.encode.maxBatch,
  );
  const threshold = settings.confidenceThreshold ?? manifest.thresholds.score;
  const engine = new Engine({
    manifest,
    tokenizer,
    logger,
    threshold,
    maxPixels: settings.maxPixels,
    pool,
    cache,
    cacheEnabled: settings.featureCache,
    meter,
    limits,
    maxQueue,
    callTimeoutMs: settings.callTimeoutMs,
    bundleId: idOf(manifest),
    video: settings,
  });
  try {
    if (settings.load === "eager") {
      // The hashes first, however many replicas need them.
      await verified();
      throwIfAborted(signal);
      await until(signal, pool.load());
    }
  } catch (error) {
    await engine
      .close()
      .catch((closing: unknown) => logger.error(`closing failed: ${toSam3Error(closing).message}`));
    throw error;
  }
  return { engine, facts: factsOf({ bundle, addon, pool, threshold }) };
}

/**
 * What the cache may hold where nobody said: 4 GB, or half of what the tightest device leaves beside its models, by what
 * it has free and by the budget. On the CPU there is no error to recover from when memory ends: the system ends the
 * process.
 */
function defaultCacheBytes(
  plans: readonly ReplicaPlan[],
  modelBytes: number,
  deviceBytes = Number.POSITIVE_INFINITY,
): number {
  const left = new Map<string, number>();
  for (const { device } of plans) {
    if (!device) continue;
    const before = left.get(device.id) ?? Math.min(device.freeBytes, deviceBytes);
    left.set(device.id, before - modelBytes);
  }
  return Math.max(
    0,
    Math.min(DEFAULT_CACHE_MB * MB, ...[...left.values()].map((bytes) => Math.floor(bytes / 2))),
  );
}

function batchLimits(settings: Settings): Record<"encode" | "decode", BatchLimits> {
  const { maxEncodeBatch, maxDecodeBatch, batchDelayMs, encodeDelayMs, decodeDelayMs, queueTimeoutMs } =
    settings;
  return {
    encode: { maxBatch: maxEncodeBatch, maxDelayMs: encodeDelayMs ?? batchDelayMs, queueTimeoutMs },
    decode: { maxBatch: maxDecodeBatch, maxDelayMs: decodeDelayMs ?? batchDelayMs, queueTimeoutMs },
  };
}

function factsOf(loaded: {
  readonly bundle: Bundle;
  readonly addon: NativeAddon;
  readonly pool: DevicePool;
  readonly threshold: number;
}): ModelFacts {
  const { bundle, addon, pool, threshold } = loaded;
  const { manifest } = bundle;
  // One that had too little memory may be tried again later, but is not where it runs.
  const replicas = pool.replicas.filter(({ usable, reason }) => usable && reason === undefined);
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  return {
    name: manifest.name,
    folder: bundle.folder,
    resolution: manifest.resolution,
    dtype: manifest.dtype,
    maskSize: manifest.maskSize,
    objectPrompts: manifest.tracker.trained,
    device: replicas.map(({ name }) => name).join(", "),
    deviceName: [...new Set(replicas.map(({ device }) => device?.name))].join(", "),
    modelBytes: sum(replicas.map(({ modelBytes }) => modelBytes)),
    loadMs: sum(replicas.map(({ loadMs }) => loadMs)),
    confidenceThreshold: threshold,
    contextLength: manifest.tokenizer.contextLength,
    torchVersion: addon.torchVersion,
    licence: manifest.licence,
  };
}

function checkResolution(settings: Settings, { manifest, folder }: Bundle): void {
  if (settings.resolution === undefined || settings.resolution === manifest.resolution) return;
  throw new Sam3Error(
    "INVALID_SETTING",
    `The resolution asked for is ${settings.resolution} (option resolution or IMAGE_MODEL_RESOLUTION), the bundle at ${folder} has ${manifest.resolution}. A bundle has one: make another with "sam3 export --resolution ${settings.resolution}".`,
  );
}

/** What the addon must know of a bundle whose parts were checked. */
export function nativeBundle(
  { manifest }: Pick<Bundle, "manifest">,
  parts: Readonly<Record<string, string>>,
): NativeBundle {
  return {
    resolution: manifest.resolution,
    featureSize: manifest.featureSize,
    maskSize: manifest.maskSize,
    dtype: manifest.dtype,
    mean: manifest.normalize.mean,
    std: manifest.normalize.std,
    maskThreshold: manifest.thresholds.mask,
    stabilityDelta: manifest.tracker.multimaskStabilityDelta,
    stabilityThreshold: manifest.tracker.multimaskStabilityThreshold,
    memoryMaskScale: manifest.tracker.memoryMaskScale,
    memoryMaskBias: manifest.tracker.memoryMaskBias,
    contextLength: manifest.tokenizer.contextLength,
    padToken: manifest.tokenizer.padToken,
    parts,
  };
}

/** Tells bundles apart by what their parts hold. */
function idOf(manifest: Manifest): string {
  const hash = createHash("sha256");
  for (const name of PART_NAMES) hash.update(manifest.parts[name].sha256);
  return hash.digest("hex").slice(0, 16);
}

/** Does work at most once at a time and keeps its answer; after a failure it is done again. */
function once<T>(work: () => Promise<T>): () => Promise<T> {
  let answer: Promise<T> | undefined;
  return () => {
    answer ??= work().catch((error: unknown) => {
      answer = undefined;
      throw error;
    });
    return answer;
  };
}
