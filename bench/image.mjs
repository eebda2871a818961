// Milliseconds per stage of one picture, and the event loop's lag meanwhile: node bench/image.mjs [bundle] [picture]
// Needs the built package (npm run demo builds it). Prints minimum, median and maximum of 20 rounds after 3 to warm up.
import { performance } from "node:perf_hooks";
import { Sam3 } from "../dist/index.js";

const [model = "mini", picture = "examples/shapes.png"] = process.argv.slice(2);
const WARM_UP = 3;
const ROUNDS = 20;

const sam = await Sam3.load({ featureCache: false, model });
const stages = { decodeMs: [], encodeMs: [], segmentMs: [], fourTextsMs: [] };
const lags = [];
let last = performance.now();
const timer = setInterval(() => {
  const now = performance.now();
  lags.push(now - last - 5);
  last = now;
}, 5);

for (let round = 0; round < WARM_UP + ROUNDS; round++) {
  const encoded = await sam.image.encode(picture);
  const one = await encoded.segmentConcept({ text: "red circle" });
  const four = await encoded.segmentConcept({ text: ["red circle", "star", "blue shape", "ring"] });
  encoded.dispose();
  if (round < WARM_UP) continue;
  stages.decodeMs.push(one.timings.decodeMs);
  stages.encodeMs.push(one.timings.encodeMs);
  stages.segmentMs.push(one.timings.segmentMs);
  stages.fourTextsMs.push(four.timings.segmentMs);
}
clearInterval(timer);

const { name, resolution, dtype, device, deviceName, modelBytes } = sam.model;
console.log(
  `${name}, ${resolution} px, ${dtype} on ${device} (${deviceName}), ${(modelBytes / 1e6).toFixed(1)} MB`,
);
const at = (values, share) =>
  values.sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(share * values.length))];
for (const [stage, values] of Object.entries(stages)) {
  const [least, middle, most] = [0, 0.5, 1].map((share) => at(values, share).toFixed(1));
  console.log(`${stage.padEnd(12)} ${least} / ${middle} / ${most}`);
}
console.log(`event loop lag, p99: ${at(lags, 0.99).toFixed(1)} ms`);
await sam.close();
