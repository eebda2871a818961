import { z } from "zod";

/** Newest bundle format this version reads. */
export const BUNDLE_FORMAT = 1;

/** Every part a bundle holds; see `docs/bundle.md` for inputs and outputs. */
export const PART_NAMES = [
  "image_encoder",
  "text_encoder",
  "concept_decoder",
  "object_decoder",
  "memory_encoder",
  "memory_attention",
  "tracker_constants",
] as const;

export type PartName = (typeof PART_NAMES)[number];

// A plain name: a manifest must not be able to point outside its own folder.
const fileName = z
  .string()
  .regex(/^[A-Za-z0-9_][A-Za-z0-9._-]*$/, "must be a plain file name inside the bundle");
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, "must be 64 lower-case hex digits");
const file = z.object({ file: fileName, sha256, bytes: z.int().positive() });
const positive = z.int().positive();
const rgb = z.tuple([z.number(), z.number(), z.number()]);

/** Content of a bundle's `manifest.json`. */
export const manifestSchema = z.object({
  format: z.literal(BUNDLE_FORMAT),
  name: z.string().min(1).max(200),
  resolution: positive.max(8192),
  patchSize: positive.max(256),
  featureSize: positive.max(1024),
  maskSize: positive.max(4096),
  width: positive,
  queries: positive,
  dtype: z.enum(["fp32", "bf16", "fp16"]),
  keptInFp32: z.array(z.string()),
  torch: z.string(),
  parts: z.record(z.enum(PART_NAMES), file),
  tokenizer: file.extend({
    contextLength: positive.max(1024),
    startToken: z.int().nonnegative(),
    endToken: z.int().nonnegative(),
    padToken: z.int().nonnegative(),
    fallbackText: z.string().min(1),
  }),
  normalize: z.object({ mean: rgb, std: rgb }),
  thresholds: z.object({ score: z.number().min(0).max(1), mask: z.number() }),
  tracker: z.object({
    trained: z.boolean(),
    // A bundle that does not say was exported before there was video, when mini's memory was untrained.
    memoryTrained: z.boolean().default(false),
    width: positive,
    memoryChannels: positive,
    memories: positive,
    maxConditioningFrames: positive,
    maxObjectPointers: positive,
    memoryMaskScale: z.number(),
    memoryMaskBias: z.number(),
    multimaskStabilityDelta: z.number(),
    multimaskStabilityThreshold: z.number(),
  }),
  source: z.object({ layout: z.enum(["official", "transformers"]), sha256 }),
  licence: z.string(),
});

export type Manifest = z.infer<typeof manifestSchema>;
