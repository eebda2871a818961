import { createHash } from "node:crypto";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Manifest, PART_NAMES } from "../../lib/bundle/manifest.js";

const START = "<|startoftext|>";
const END = "<|endoftext|>";

/** The 512 tokens of single bytes, inside a word and at its end, in CLIP's order. */
export function byteTokens(): string[] {
  const kept = [...range(33, 127), ...range(161, 173), ...range(174, 256)];
  const others = range(0, 256).filter((byte) => !kept.includes(byte));
  const characters = [...kept, ...others.map((_, i) => 256 + i)].map((code) => String.fromCharCode(code));
  return [...characters, ...characters.map((c) => `${c}</w>`)];
}

/** A byte-level tokenizer.json of CLIP's structure without merges: one token for each byte. */
export function byteTokenizer(): { json: object; startToken: number; endToken: number } {
  const tokens = [...byteTokens(), START, END];
  const vocab = Object.fromEntries(tokens.map((token, i) => [token, i]));
  const startToken = vocab[START] as number;
  const endToken = vocab[END] as number;
  const special = [START, END].map((content) => ({
    id: vocab[content],
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  const json = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: special,
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "NFC" },
        { type: "Replace", pattern: { Regex: "\\s+" }, content: " " },
        { type: "Lowercase" },
      ],
    },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        {
          type: "Split",
          pattern: {
            Regex:
              "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+",
          },
          behavior: "Removed",
          invert: true,
        },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
      ],
    },
    post_processor: {
      type: "RobertaProcessing",
      sep: [END, endToken],
      cls: [START, startToken],
      trim_offsets: false,
      add_prefix_space: false,
    },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: END,
      continuing_subword_prefix: "",
      end_of_word_suffix: "</w>",
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges: [],
    },
  };
  return { json, startToken, endToken };
}

/** Writes a bundle whose parts hold no model but fit their manifest; `change` may spoil the manifest. */
export async function writeFakeBundle(
  change: (manifest: Manifest) => unknown = (manifest) => manifest,
): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "sam3-bundle-"));
  const { json, startToken, endToken } = byteTokenizer();
  const write = async (file: string, content: string) => {
    await writeFile(join(folder, file), content);
    return {
      file,
      sha256: createHash("sha256").update(content).digest("hex"),
      bytes: Buffer.byteLength(content),
    };
  };
  const parts = Object.fromEntries(
    await Promise.all(PART_NAMES.map(async (name) => [name, await write(`${name}.pt`, `the part ${name}`)])),
  ) as Manifest["parts"];
  const manifest: Manifest = {
    format: 1,
    name: "fake",
    resolution: 168,
    patchSize: 14,
    featureSize: 12,
    maskSize: 48,
    width: 64,
    queries: 16,
    dtype: "fp32",
    keptInFp32: [],
    torch: "2.13.0",
    parts,
    tokenizer: {
      ...(await write("tokenizer.json", JSON.stringify(json))),
      contextLength: 32,
      startToken,
      endToken,
      padToken: endToken,
      fallbackText: "visual",
    },
    normalize: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
    thresholds: { score: 0.5, mask: 0 },
    tracker: {
      width: 128,
      memoryChannels: 64,
      memories: 7,
      maxConditioningFrames: 4,
      maxObjectPointers: 16,
      memoryMaskScale: 20,
      memoryMaskBias: -10,
      multimaskStabilityDelta: 0.05,
      multimaskStabilityThreshold: 0.98,
      trained: false,
      memoryTrained: false,
    },
    source: { layout: "official", sha256: "0".repeat(64) },
    licence: "none",
  };
  await writeFile(join(folder, "manifest.json"), JSON.stringify(change(manifest)));
  return folder;
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}
