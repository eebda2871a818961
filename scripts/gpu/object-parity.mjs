// From file and clicks to masks on a device, beside what transformers answers for the same random models:
//   node object-parity.mjs <folder with reference.json> <tiny models> <device>      prints one line of JSON
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Mask, Sam3 } from "../../dist/index.js";

// Object scores and qualities; logits reach ±32 and are compared in parts of that.
const TOLERANCE = 1e-4;
const WIDEST_LOGIT = 32;
const SAME_MASK = 0.999;

const [reference, models, device] = process.argv.slice(2);
const cases = JSON.parse(readFileSync(join(reference, "reference.json"), "utf8"));
const worst = { score: 0, quality: 0, logit: 0, mask: 1 };
const wrong = [];
let masks = 0;

function compare(one, kind, object, result) {
  const expected = object[kind];
  if (result.masks.length !== expected.length) {
    wrong.push(`seed ${one.seed}, ${one.name}: ${result.masks.length} masks instead of ${expected.length}`);
    return;
  }
  worst.score = Math.max(worst.score, Math.abs(result.objectScore - object.objectScore));
  result.masks.forEach(({ quality, logits, mask }, i) => {
    const other = expected[i];
    worst.quality = Math.max(worst.quality, Math.abs(quality - other.quality));
    logits.forEach((value, at) => {
      worst.logit = Math.max(worst.logit, Math.abs(value - other.logits[at]) / WIDEST_LOGIT);
    });
    const same = Mask.fromRle({ size: [one.height, one.width], counts: other.counts });
    worst.mask = Math.min(worst.mask, same.area > 0 ? mask.iou(same) : Number(mask.area === 0));
    masks++;
  });
}

for (const seed of new Set(cases.map((one) => one.seed))) {
  const sam = await Sam3.load({ model: join(models, String(seed), "bundle"), devices: device });
  for (const one of cases.filter((it) => it.seed === seed)) {
    for (const kind of ["three", "single"]) {
      const prompts = one.objects.map(({ points, labels, box, mask }) => ({
        points: points.map(([x, y], i) => ({ x, y, label: labels[i] === 1 ? "positive" : "negative" })),
        ...(box === null ? {} : { box }),
        ...(mask === null ? {} : { mask: Float32Array.from(mask) }),
        multimask: kind === "three",
      }));
      const answers = await sam.image.segmentObjects(join(reference, one.file), prompts);
      answers.forEach((answer, i) => {
        if (answer.status === "rejected")
          wrong.push(`seed ${one.seed}, ${one.name}: ${answer.reason.message}`);
        else compare(one, kind, one.objects[i], answer.value);
      });
    }
  }
  await sam.close();
}
for (const key of ["score", "quality", "logit"])
  if (!(worst[key] <= TOLERANCE)) wrong.push(`${key} differs by ${worst[key]}`);
if (!(worst.mask >= SAME_MASK)) wrong.push(`a mask has an IoU of ${worst.mask} only`);
if (masks === 0) wrong.push("there was no mask to compare");
console.log(JSON.stringify({ pictures: cases.length, masks, worst, wrong }));
