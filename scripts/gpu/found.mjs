// What the package finds on a device beside what it finds on the CPU, and what the second text on a picture costs:
//   node found.mjs <bundle> <device> <rounds>      prints one line of JSON
import { performance } from "node:perf_hooks";
import sharp from "sharp";
import { Sam3 } from "../../dist/index.js";
import { median } from "./numbers.mjs";
import { PICTURE } from "./picture.mjs";

const TEXTS = ["red circle", "star", "blue shape", "ring"];
/** Masks of the same object on two devices. */
const SAME_MASK = 0.99;
/** Objects compared: those above the widest gap between the scores of these ranks, so that rounding decides nothing. */
const RANKS = [4, 60];

const [folder, device, rounds] = process.argv.slice(2);

async function findAll(on) {
  const sam = await Sam3.load({ model: folder, devices: on });
  try {
    const concepts = await sam.image.segmentConcept(PICTURE, { text: TEXTS, threshold: 0 });
    return { objects: concepts.objects, sam };
  } catch (error) {
    await sam.close();
    throw error;
  }
}

/** The threshold in the widest gap between scores. */
function widestGap(objects) {
  const scores = objects.map(({ score }) => score).sort((a, b) => b - a);
  let best = { gap: 0, threshold: 0 };
  for (let i = RANKS[0]; i < Math.min(RANKS[1], scores.length - 1); i++) {
    const gap = scores[i] - scores[i + 1];
    if (gap > best.gap) best = { gap, threshold: (scores[i] + scores[i + 1]) / 2 };
  }
  return best;
}

/** How many of `expected` have a partner of their own in `found`: the same text, and nearly the same mask. */
function pairs(expected, found) {
  const free = new Set(found);
  let equal = 0;
  let scoreDifference = 0;
  for (const one of expected) {
    const partner = [...free].find(
      (other) =>
        other.prompt === one.prompt && (one.area + other.area === 0 || one.mask.iou(other.mask) >= SAME_MASK),
    );
    if (!partner) continue;
    free.delete(partner);
    equal++;
    scoreDifference = Math.max(scoreDifference, Math.abs(one.score - partner.score));
  }
  return { equal, scoreDifference };
}

/** Milliseconds of the first text on a new picture, and of another one on the same picture. */
async function firstAndSecond(sam) {
  const { data, info } = await sharp(PICTURE).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  const picture = { data, width: info.width, height: info.height, channels: 3 };
  const first = [];
  const second = [];
  const time = async (list, text, cache) => {
    const began = performance.now();
    const result = await sam.image.segmentConcept(picture, { text });
    list.push(performance.now() - began);
    if (result.cache !== cache) throw new Error(`expected a cache ${cache}, got ${result.cache}`);
  };
  const warmUp = Number(rounds) > 3 ? 3 : 1;
  for (let round = 0; round < warmUp + Number(rounds); round++) {
    data[0] = round % 256;
    data[1] = round >> 8;
    // Other words every time: texts are cached too.
    await time(first, `shape number ${round}`, "miss");
    await time(second, `thing number ${round}`, "hit");
  }
  return { firstMs: median(first.slice(warmUp)), secondMs: median(second.slice(warmUp)) };
}

const cpu = await findAll("cpu");
await cpu.sam.close();
const other = await findAll(device);
const timing = await firstAndSecond(other.sam);
await other.sam.close();
const { threshold, gap } = widestGap(cpu.objects);
const above = (objects) => objects.filter(({ score }) => score > threshold);
const expected = above(cpu.objects);
const found = above(other.objects);
console.log(
  JSON.stringify({
    expected: expected.length,
    found: found.length,
    gap,
    ...pairs(expected, found),
    ...timing,
  }),
);
