// The addon that gpu-check.sh has built, straight, without the package around it: for the time of single stages.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

/** Environment of gpu-check.sh: where the addon was built, and the torch it was built with. */
const BUILT = required("SAM3_NODE_PREBUILD");
const LIBTORCH = required("SAM3_LIBTORCH");

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; start scripts/gpu-check.sh instead`);
  return value;
}

/** Opens libtorch, with CUDA where `device` wants it, then the addon. */
export function openAddon(device) {
  const require = createRequire(import.meta.url);
  const release = join(BUILT, "build", "Release");
  const names = ["c10", "torch_cpu", ...(device === "cpu" ? [] : ["c10_cuda", "torch_cuda"])];
  require(join(release, "loader", "loader.node")).open(
    names.map((name) => join(LIBTORCH, "lib", `lib${name}.so`)),
  );
  return require(join(release, "sam3-node.node"));
}

/** The manifest of a bundle, and what the addon must know of it to answer about pictures. */
export function readBundle(folder) {
  const manifest = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8"));
  const parts = {};
  for (const name of [
    "image_encoder",
    "text_encoder",
    "concept_decoder",
    "object_decoder",
    "memory_encoder",
    "memory_attention",
    "tracker_constants",
  ])
    parts[name] = join(folder, manifest.parts[name].file);
  const { resolution, featureSize, maskSize, dtype, normalize, thresholds, tokenizer, tracker } = manifest;
  const bundle = {
    resolution,
    featureSize,
    maskSize,
    dtype,
    mean: normalize.mean,
    std: normalize.std,
    maskThreshold: thresholds.mask,
    contextLength: tokenizer.contextLength,
    padToken: tokenizer.padToken,
    stabilityDelta: tracker.multimaskStabilityDelta,
    stabilityThreshold: tracker.multimaskStabilityThreshold,
    memoryMaskScale: tracker.memoryMaskScale,
    memoryMaskBias: tracker.memoryMaskBias,
    parts,
  };
  return { manifest, bundle };
}
