// This package against transformers on the same machine, weights, threads and pictures:
//   node bench/transformers.mjs [--checkpoint <folder in the transformers layout>] [--threads 1] [--rounds 10]
//     [--pictures 16]
// First the stages of one picture after the other, then so many pictures with a text each at the same time: one by one,
// and in batches of up to 8. Without a checkpoint a model of mini's size with random weights is made. Needs the built
// package (npm run demo builds it) and, by SAM3_PYTHON or as python3, a Python with torch, transformers, safetensors,
// tokenizers and Pillow: the one that `npm test` makes in .venv has them. The rounds of all take turns, so that what else
// the machine does hits all of them. The threads are those a model computes with; ours decodes files on others.
import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Sam3 } from "../dist/index.js";
import { about, ratio, scenes, spread, timed } from "./lib.mjs";
import { TransformersSide } from "./transformers-side.mjs";

const { values: options } = parseArgs({
  options: {
    checkpoint: { type: "string" },
    threads: { type: "string", default: "1" },
    rounds: { type: "string", default: "10" },
    pictures: { type: "string", default: "16" },
  },
});
const [threads, rounds, pictures] = ["threads", "rounds", "pictures"].map((name) => Number(options[name]));
const python = process.env.SAM3_PYTHON || "python3";
const root = fileURLToPath(new URL("..", import.meta.url));
const TEXTS = ["red circle", "blue square"];
/** Most items of a batch, on both sides. */
const BATCH = 8;

/** Notes what every round but the first ones, which warm up, has measured: milliseconds by name. */
class Times {
  #lists = {};

  note(round, measured) {
    if (round < 0) return;
    for (const [name, ms] of Object.entries(measured)) {
      this.#lists[name] ??= [];
      this.#lists[name].push(ms);
    }
  }

  of(name) {
    return this.#lists[name];
  }
}

/** The stages of one picture after the other. */
async function compareStages(sam, theirs, files) {
  const names = {
    decode: "decoding the file",
    encode: "image encoder",
    first: "first text, whole",
    second: "second text",
  };
  const [ours, others] = [new Times(), new Times()];
  const objects = new Set();
  for (let round = -2; round < rounds; round++) {
    for (const file of files) {
      const start = performance.now();
      const encoded = await sam.image.encode(file);
      // Every query is an object, on both sides: masks of the picture's size and all.
      const one = await encoded.segmentConcept({ text: TEXTS[0], threshold: 0 });
      const first = performance.now() - start;
      const two = await encoded.segmentConcept({ text: TEXTS[1], threshold: 0 });
      encoded.dispose();
      const answer = await theirs.ask({ file, texts: TEXTS });
      objects.add(`${one.objects.length} and ${two.objects.length} / ${answer.objects.join(" and ")}`);
      const { decodeMs: decode, encodeMs: encode } = one.timings;
      ours.note(round, { decode, encode, first, second: two.timings.segmentMs });
      others.note(round, answer.ms);
    }
  }
  console.log("\none picture after the other, milliseconds, least / median / most:");
  for (const [stage, name] of Object.entries(names)) {
    console.log(
      `  ${name.padEnd(18)} ours ${spread(ours.of(stage)).padEnd(24)} transformers ${spread(others.of(stage))}`,
    );
  }
  for (const [stage, name] of Object.entries(names)) {
    console.log(`${name}: transformers takes ${ratio(others.of(stage), ours.of(stage))} as long`);
  }
  console.log(`objects of both texts, ours / theirs: ${[...objects].join("; ")}`);
}

/** Many pictures with a text each: all callers at once on our side, a loop or batches on theirs. */
async function compareThroughput(batched, single, theirs, files) {
  const texts = files.map((_, i) => TEXTS[i % TEXTS.length]);
  const objects = new Set();
  const ourWork = (sam) => async () => {
    const calls = files.map((file, i) => sam.image.segmentConcept(file, { text: texts[i], threshold: 0 }));
    const results = await Promise.all(calls);
    objects.add(results.reduce((sum, result) => sum + result.objects.length, 0));
  };
  const theirWork = (atOnce) => async () => {
    const answer = await theirs.ask({ files, texts, atOnce });
    objects.add(answer.objects.reduce((sum, count) => sum + count, 0));
  };
  const works = {
    "ours, one by one": ourWork(single),
    "ours, in batches": ourWork(batched),
    "transformers, one by one": theirWork(1),
    "transformers, in batches": theirWork(BATCH),
  };
  const times = new Times();
  for (let round = -1; round < rounds; round++) {
    for (const [name, work] of Object.entries(works)) {
      times.note(round, { [name]: (await timed(work)) / files.length });
    }
  }
  console.log(
    `\n${files.length} pictures with a text each at the same time, batches of up to ${BATCH}, milliseconds a picture, least / median / most:`,
  );
  for (const name of Object.keys(works)) console.log(`  ${name.padEnd(25)} ${spread(times.of(name))}`);
  for (const [longer, shorter] of [
    ["ours, one by one", "ours, in batches"],
    ["transformers, one by one", "transformers, in batches"],
    ["transformers, one by one", "ours, one by one"],
    ["transformers, in batches", "ours, in batches"],
    ["transformers, one by one", "ours, in batches"],
  ]) {
    console.log(`"${longer}" takes ${ratio(times.of(longer), times.of(shorter))} as long as "${shorter}"`);
  }
  const { sum, count } = batched.stats().batchItems.encodeImages;
  console.log(`pictures in a batch of ours, on average: ${(sum / count).toFixed(1)}`);
  console.log(`objects, ours and theirs: ${[...objects].join("; ")}`);
}

const folder = await mkdtemp(join(tmpdir(), "sam3-bench-"));
try {
  const checkpoint = options.checkpoint ?? join(folder, "checkpoint");
  if (options.checkpoint === undefined) {
    execFileSync(python, [join(root, "scripts", "mini", "model.py"), checkpoint], { stdio: "ignore" });
  }
  const model = join(folder, "bundle");
  execFileSync(python, [join(root, "scripts", "export"), "--checkpoint", checkpoint, "--out", model], {
    stdio: "ignore",
  });
  const files = [];
  for (const [i, png] of (await scenes(Math.max(4, pictures))).entries()) {
    files.push(join(folder, `${i}.png`));
    await writeFile(files[i], png);
  }
  const theirs = new TransformersSide(python, checkpoint, threads);
  const load = (maxBatch) =>
    Sam3.load({
      model,
      devices: "cpu",
      threads,
      featureCache: false,
      maxEncodeBatch: maxBatch,
      maxDecodeBatch: maxBatch,
    });
  const batched = await load(BATCH);
  const single = await load(1);
  console.log(`${about(batched.model)}, ${threads} threads, 640 × 480 pictures`);
  await compareStages(single, theirs, files.slice(0, 4));
  await compareThroughput(batched, single, theirs, files.slice(0, pictures));
  theirs.end();
  await Promise.all([batched.close(), single.close()]);
} finally {
  await rm(folder, { recursive: true });
}
