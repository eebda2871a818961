// The second text on a cached picture against the first: node bench/cache.mjs [bundle] [devices] [rounds] [picture]
// Whole calls, from the bytes of a file to masks; what is in the cache is found by the hash of the bytes. Needs the built
// package (npm run demo builds it).
import { readFile } from "node:fs/promises";
import { Sam3 } from "../dist/index.js";
import { about, ratio, scenes, spread, timed } from "./lib.mjs";

const [model = "mini", devices = "auto", rounds = "20", picture] = process.argv.slice(2);

const sam = await Sam3.load({ model, devices, warmUp: true });
const bytes = picture === undefined ? (await scenes(1, 1280, 960))[0] : await readFile(picture);
const first = [];
const second = [];
const repeated = [];
for (let round = -2; round < Number(rounds); round++) {
  sam.cache.clear();
  const one = await timed(() => sam.image.segmentConcept(bytes, { text: "red circle" }));
  const two = await timed(() => sam.image.segmentConcept(bytes, { text: "blue square" }));
  const again = await timed(() => sam.image.segmentConcept(bytes, { text: "red circle" }));
  if (round < 0) continue;
  first.push(one);
  second.push(two);
  repeated.push(again);
}
console.log(about(sam.model));
console.log("milliseconds of a call (least / median / most):");
console.log(`  first text on a picture            ${spread(first)}`);
console.log(`  second text, picture cached        ${spread(second)}`);
console.log(`  first text again, both cached      ${spread(repeated)}`);
console.log(`the first takes ${ratio(first, second)} as long as the second`);
const { hits, misses, textHits, textMisses, bytes: kept } = sam.cache.stats();
console.log(
  `cache: pictures ${hits} hits, ${misses} misses; texts ${textHits} hits, ${textMisses} misses; ${(kept / 2 ** 20).toFixed(1)} MiB kept`,
);
await sam.close();
