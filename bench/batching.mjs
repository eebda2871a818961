// Micro-batching against one by one: node bench/batching.mjs [bundle] [devices] [rounds]
// The same calls of 16 callers at once, with batches of up to 8 and of 1, in turns, without the cache. Needs the built
// package (npm run demo builds it).
import { Sam3 } from "../dist/index.js";
import { about, ratio, scenes, spread, timed } from "./lib.mjs";

const [model = "mini", devices = "auto", rounds = "7"] = process.argv.slice(2);
const CALLERS = 16;

const options = { model, devices, featureCache: false };
const batched = await Sam3.load(options);
const single = await Sam3.load({ ...options, maxEncodeBatch: 1, maxDecodeBatch: 1 });
const pictures = await scenes(CALLERS);
const kinds = { "one by one": single, "in batches": batched };

const work = {
  "different pictures, encode and one text": (sam) =>
    Promise.all(pictures.map((picture) => sam.image.segmentConcept(picture, { text: "red circle" }))),
  "one encoded picture, 16 texts of 16 callers": async (sam) => {
    const encoded = await sam.image.encode(pictures[0]);
    const calls = pictures.map((_, i) => encoded.segmentConcept({ text: `circle ${i}` }));
    await Promise.all(calls);
    encoded.dispose();
  },
};

console.log(about(batched.model));
for (const [what, run] of Object.entries(work)) {
  const times = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, []]));
  for (let round = -1; round < Number(rounds); round++) {
    for (const [kind, sam] of Object.entries(kinds)) {
      const ms = await timed(() => run(sam));
      // The first round warms up.
      if (round >= 0) times[kind].push(ms / CALLERS);
    }
  }
  console.log(`\n${what}, ms a call (least / median / most):`);
  for (const [kind, values] of Object.entries(times)) console.log(`  ${kind.padEnd(12)} ${spread(values)}`);
  console.log(`  one by one takes ${ratio(times["one by one"], times["in batches"])} as long as in batches`);
}
const { batchItems } = batched.stats();
console.log("\nitems in a batch, on average:");
for (const [stage, { sum, count }] of Object.entries(batchItems)) {
  console.log(`  ${stage.padEnd(16)} ${(sum / count).toFixed(1)}`);
}
await Promise.all([batched.close(), single.close()]);
