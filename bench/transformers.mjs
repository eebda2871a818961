// This package against transformers on the same machine, weights, threads and pictures:
//   node bench/transformers.mjs [--checkpoint <folder in the transformers layout>] [--threads 1] [--rounds 10]
// Without a checkpoint a model of mini's size with random weights is made. Needs the built package (npm run demo builds
// it) and, by SAM3_PYTHON or as python3, a Python with torch, transformers, safetensors, tokenizers and Pillow: the one
// that `npm test` makes in .cache/python has them. The rounds of both take turns, so that what else the machine does hits both.
import { execFileSync, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Sam3 } from "../dist/index.js";
import { about, ratio, scenes, spread } from "./lib.mjs";

const { values: options } = parseArgs({
  options: {
    checkpoint: { type: "string" },
    threads: { type: "string", default: "1" },
    rounds: { type: "string", default: "10" },
  },
});
const python = process.env.SAM3_PYTHON || "python3";
const root = fileURLToPath(new URL("..", import.meta.url));
const folder = await mkdtemp(join(tmpdir(), "sam3-bench-"));
const TEXTS = ["red circle", "blue square"];

const checkpoint = options.checkpoint ?? join(folder, "checkpoint");
if (options.checkpoint === undefined) {
  execFileSync(python, [join(root, "scripts", "mini", "model.py"), checkpoint], { stdio: "ignore" });
}
const bundle = join(folder, "bundle");
execFileSync(python, [join(root, "scripts", "export"), "--checkpoint", checkpoint, "--out", bundle], {
  stdio: "ignore",
});
const files = [];
for (const [i, png] of (await scenes(4)).entries()) {
  files.push(join(folder, `${i}.png`));
  await writeFile(files[i], png);
}

const other = spawn(python, [join(root, "bench", "transformers_side.py"), checkpoint, options.threads], {
  stdio: ["pipe", "pipe", "inherit"],
});
const answers = createInterface({ input: other.stdout })[Symbol.asyncIterator]();
const ask = async (request) => {
  other.stdin.write(`${JSON.stringify(request)}\n`);
  const { value, done } = await answers.next();
  if (done) throw new Error("the Python side ended");
  return JSON.parse(value);
};

const sam = await Sam3.load({
  model: bundle,
  devices: "cpu",
  threads: Number(options.threads),
  featureCache: false,
});
const names = {
  decode: "decoding the file",
  encode: "image encoder",
  first: "first text, whole",
  second: "second text",
};
const times = { ours: {}, theirs: {} };
const note = (side, stages) => {
  for (const [stage, ms] of Object.entries(stages)) {
    times[side][stage] ??= [];
    times[side][stage].push(ms);
  }
};
const objects = new Set();
for (let round = -2; round < Number(options.rounds); round++) {
  for (const file of files) {
    const start = performance.now();
    const encoded = await sam.image.encode(file);
    // Every query is an object, on both sides: masks of the picture's size and all.
    const one = await encoded.segmentConcept({ text: TEXTS[0], threshold: 0 });
    const first = performance.now() - start;
    const two = await encoded.segmentConcept({ text: TEXTS[1], threshold: 0 });
    encoded.dispose();
    const theirs = await ask({ file, texts: TEXTS });
    objects.add(`${one.objects.length} and ${two.objects.length} / ${theirs.objects.join(" and ")}`);
    if (round < 0) continue;
    const { decodeMs: decode, encodeMs: encode } = one.timings;
    note("ours", { decode, encode, first, second: two.timings.segmentMs });
    note("theirs", theirs.ms);
  }
}
other.stdin.end();
console.log(`${about(sam.model)}, ${options.threads} threads, 640 × 480 pictures`);
console.log("milliseconds, least / median / most:");
for (const [stage, name] of Object.entries(names)) {
  console.log(
    `  ${name.padEnd(18)} ours ${spread(times.ours[stage]).padEnd(24)} transformers ${spread(times.theirs[stage])}`,
  );
}
for (const [stage, name] of Object.entries(names)) {
  console.log(`${name}: transformers takes ${ratio(times.theirs[stage], times.ours[stage])} as long`);
}
console.log(`objects of both texts, ours / theirs: ${[...objects].join("; ")}`);
await sam.close();
await rm(folder, { recursive: true });
