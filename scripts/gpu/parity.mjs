// From file and words to objects on a device, beside what transformers answers for the same random models:
//   node parity.mjs <folder with reference.json> <tiny models> <device>      prints one line of JSON
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Mask, Sam3 } from "../../dist/index.js";

// Presence, scores, and boxes as a share of the picture's side.
const TOLERANCE = 1e-4;
const SAME_MASK = 0.999;

const [reference, models, device] = process.argv.slice(2);
const cases = JSON.parse(readFileSync(join(reference, "reference.json"), "utf8"));
const worst = { score: 0, presence: 0, box: 0, mask: 1 };
const wrong = [];
let objects = 0;

function compare(one, result) {
  const expected = one.objects.toSorted((a, b) => a.prompt - b.prompt || b.score - a.score);
  if (result.objects.length !== expected.length) {
    wrong.push(
      `seed ${one.seed}, ${one.file}: ${result.objects.length} objects instead of ${expected.length}`,
    );
    return;
  }
  one.presence.forEach((presence, i) => {
    worst.presence = Math.max(worst.presence, Math.abs(result.prompts[i].presence - presence));
  });
  result.objects.forEach((object, i) => {
    const other = expected[i];
    const limits = [one.width, one.height, one.width, one.height];
    if (object.prompt !== other.prompt) wrong.push(`seed ${one.seed}, ${one.file}: prompts in another order`);
    worst.score = Math.max(worst.score, Math.abs(object.score - other.score));
    other.box.forEach((value, k) => {
      const clipped = Math.min(Math.max(value, 0), limits[k]);
      worst.box = Math.max(worst.box, Math.abs(object.box[k] - clipped) / limits[k]);
    });
    const mask = Mask.fromRle({ size: [one.height, one.width], counts: other.counts });
    worst.mask = Math.min(worst.mask, mask.area > 0 ? object.mask.iou(mask) : Number(object.mask.area === 0));
    objects++;
  });
}

for (const seed of new Set(cases.map((one) => one.seed))) {
  const sam = await Sam3.load({ model: join(models, String(seed), "bundle"), devices: device });
  for (const one of cases.filter((it) => it.seed === seed)) {
    const { texts, exemplars, threshold } = one;
    const prompt = texts === null ? { exemplars, threshold } : { text: texts, exemplars, threshold };
    compare(one, await sam.image.segmentConcept(join(reference, one.file), prompt));
  }
  await sam.close();
}
for (const key of ["score", "presence", "box"])
  if (!(worst[key] <= TOLERANCE)) wrong.push(`${key} differs by ${worst[key]}`);
if (!(worst.mask >= SAME_MASK)) wrong.push(`a mask has an IoU of ${worst.mask} only`);
if (objects === 0) wrong.push("there was no object to compare");
console.log(JSON.stringify({ pictures: cases.length, objects, worst, wrong }));
