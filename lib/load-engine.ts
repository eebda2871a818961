import { abortable, throwIfAborted } from "./abort.js";
import type { PartName } from "./bundle/manifest.js";
import { type Bundle, readBundle, readTokenizer, verifyParts } from "./bundle/read-bundle.js";
import { TextTokenizer } from "./bundle/tokenizer.js";
import { toSam3Error } from "./caller.js";
import { Sam3Error } from "./errors.js";
import { ImageEngine } from "./image/image-engine.js";
import { stderrLogger } from "./logger.js";
import type { NativeAddon, NativeBundle, NativeDevice } from "./native/addon.js";
import { type LoadOptions, type LoadProgress, readLoadOptions, type Settings } from "./options.js";

/** What is known of a loaded model. */
export interface ModelFacts {
  readonly name: string;
  /** Folder of the bundle. */
  readonly folder: string;
  /** Side in pixels of the square a picture is resized to. */
  readonly resolution: number;
  readonly dtype: "fp32" | "bf16" | "fp16";
  /** Where it runs: `cpu`, `cuda:0`, … */
  readonly device: string;
  readonly deviceName: string;
  /** Bytes the model holds on the device. */
  readonly modelBytes: number;
  /** Milliseconds it took to move the parts to the device. */
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

/** The parts a picture needs; the tracker's stay on the disk. */
const IMAGE_PARTS: readonly PartName[] = ["image_encoder", "text_encoder", "concept_decoder"];

/** Reads settings and bundle, loads the addon and moves the model to its device; failing half-way frees everything. */
export async function loadEngine(
  options: LoadOptions,
  env: Readonly<Record<string, string | undefined>>,
  loadAddon: AddonLoader,
): Promise<{ engine: ImageEngine; facts: ModelFacts }> {
  const {
    settings,
    logger = stderrLogger(settings.logLevel),
    signal,
    onProgress,
  } = readLoadOptions(options, env);
  const report = (progress: LoadProgress) => {
    // A caller's mistake in a callback must not stop the loading, nor the process when it comes from the addon.
    try {
      onProgress?.(progress);
    } catch (error) {
      logger.error(`onProgress threw: ${error instanceof Error ? error.message : String(error)}`);
    }
  };

  // What is quick and likely to be wrong comes first: settings, manifest, libtorch, device; then the hashes.
  const bundle = await readBundle(settings.model, signal);
  const { manifest } = bundle;
  checkResolution(settings, bundle);
  const addon = await loadAddon({
    ...(settings.libtorch === undefined ? {} : { libtorch: settings.libtorch }),
    ...(settings.home === undefined ? {} : { home: settings.home }),
    env: { ...env, SAM3_LIBTORCH_FROM_PYTHON: settings.libtorchFromPython ? "1" : "0" },
  });
  throwIfAborted(signal);
  const device = chooseDevice(settings.devices, addon.devices());
  const tokenizer = new TextTokenizer(await readTokenizer(bundle, signal), manifest.tokenizer);
  let verified = 0;
  const parts = await verifyParts(bundle, IMAGE_PARTS, signal, (part) => {
    verified++;
    report({ stage: "verify", part, done: verified, total: IMAGE_PARTS.length });
  });
  throwIfAborted(signal);

  const replica = new addon.Replica({ device: device.id, threads: settings.threads });
  try {
    const token = new addon.CancelToken();
    const loaded = await abortable(signal, token, () =>
      replica.load(nativeBundle(bundle, parts), token, (part, done, total) =>
        report({ stage: "load", part, done, total }),
      ),
    );
    const threshold = settings.confidenceThreshold ?? manifest.thresholds.score;
    const engine = new ImageEngine({
      addon,
      replica,
      manifest,
      tokenizer,
      logger,
      threshold,
      maxPixels: settings.maxPixels,
    });
    logger.info(
      `loaded ${manifest.name} on ${device.id} (${device.name}) in ${Math.round(loaded.loadMs)} ms`,
    );
    return {
      engine,
      facts: {
        name: manifest.name,
        folder: bundle.folder,
        resolution: manifest.resolution,
        dtype: manifest.dtype,
        device: device.id,
        deviceName: device.name,
        modelBytes: loaded.modelBytes,
        loadMs: loaded.loadMs,
        confidenceThreshold: threshold,
        contextLength: manifest.tokenizer.contextLength,
        torchVersion: addon.torchVersion,
        licence: manifest.licence,
      },
    };
  } catch (error) {
    await replica
      .close()
      .catch((closing: unknown) => logger.error(`closing failed: ${toSam3Error(closing).message}`));
    throw error;
  }
}

/**
 * The device a choice stands for: `auto` is the first CUDA device, else the CPU.
 *
 * @throws {Sam3Error} `DEVICE_UNKNOWN` naming the devices there are
 */
function chooseDevice(choice: string, devices: readonly NativeDevice[]): NativeDevice {
  const first = (test: (id: string) => boolean) => devices.find(({ id }) => test(id));
  const isCuda = (id: string) => id.startsWith("cuda:");
  const found =
    choice === "auto"
      ? (first(isCuda) ?? first((id) => id === "cpu"))
      : first(choice === "cuda" ? isCuda : (id) => id === choice);
  if (found) return found;
  const list = devices.map(({ id, name }) => `${id} (${name})`).join(", ");
  throw new Sam3Error("DEVICE_UNKNOWN", `There is no device "${choice}" here. Available: ${list || "none"}.`);
}

function checkResolution(settings: Settings, { manifest, folder }: Bundle): void {
  if (settings.resolution === undefined || settings.resolution === manifest.resolution) return;
  throw new Sam3Error(
    "INVALID_SETTING",
    `The resolution asked for is ${settings.resolution} (option resolution or IMAGE_MODEL_RESOLUTION), the bundle at ${folder} has ${manifest.resolution}. A bundle has one: make another with "sam3 export --resolution ${settings.resolution}".`,
  );
}

function nativeBundle({ manifest }: Bundle, parts: Readonly<Record<string, string>>): NativeBundle {
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
    parts,
  };
}
