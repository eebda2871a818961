// Frames a second that a clip's objects are followed at, by one bundle on one device:
//   node tracking.mjs <bundle> <device> <rounds> [objects, with commas]      prints one line of JSON
//
// A frame is encoded, all objects take a step as one batch, each attending to a full memory (7 frames, 16 pointers),
// are remembered, and their masks are read at the picture's size. Nothing is detected.
import sharp from "sharp";
import { openAddon, readBundle } from "./addon.mjs";
import { medianOf } from "./numbers.mjs";
import { PICTURE } from "./picture.mjs";

const CLEAN_AREA = 16;

const [folder, device, rounds, counts = "1,5,20,64"] = process.argv.slice(2);
const rhythm = { warmUp: Number(rounds) > 3 ? 3 : 1, rounds: Number(rounds) };
const addon = openAddon(device);
const { manifest, bundle } = readBundle(folder);
const { memories: frames, maxObjectPointers: pointers } = manifest.tracker;
const replica = new addon.Replica({ device, threads: 0 });
const token = new addon.CancelToken();

const { data, info } = await sharp(PICTURE).removeAlpha().raw().toBuffer({ resolveWithObject: true });
const pixels = { data: new Uint8Array(data), width: info.width, height: info.height };
await replica.load(bundle, token, () => {});

async function encode() {
  const { items } = await replica.encodeImages([{ pixels, token }], { atOnce: 1 });
  if ("error" in items[0]) throw items[0].error;
  return items[0].value;
}

/** One step of all objects on a frame: what each remembers of it. */
async function step(features, items, binarize) {
  const { masks, cleaned, pointers, objectScores } = await replica.trackObjects({
    features,
    items,
    cleanArea: CLEAN_AREA,
    token,
  });
  const rows = items.map((_, row) => ({
    masks: cleaned,
    row,
    pointers,
    pointerRow: row,
    objectScore: objectScores[row],
    group: 0,
  }));
  const kept = await replica.rememberObjects({
    features,
    rows,
    binarize,
    throughSquare: false,
    leastKept: 0.3,
    token,
  });
  await replica.readMasks({ rows, width: info.width, height: info.height, token });
  for (const handle of [masks, cleaned, pointers]) handle.dispose();
  return kept;
}

/** Milliseconds of a frame with so many objects. */
async function measure(count) {
  const first = await encode();
  const clicks = Array.from({ length: count }, (_, i) => ({
    memories: [],
    rows: new Int32Array(0),
    pointers: [],
    ages: new Float32Array(0),
    points: Float32Array.of((info.width * (i + 1)) / (count + 1), info.height / 2),
    labels: Int32Array.of(1),
  }));
  const known = await step(first, clicks, true);
  first.dispose();
  const items = known.map((memory) => ({
    memories: Array(frames).fill(memory),
    rows: Int32Array.from({ length: frames }, (_, i) => i),
    pointers: Array(pointers).fill(memory),
    ages: Float32Array.from({ length: pointers }, (_, i) => i / (pointers - 1)),
    points: new Float32Array(0),
    labels: new Int32Array(0),
  }));
  const ms = await medianOf(rhythm, async () => {
    const start = performance.now();
    const features = await encode();
    const kept = await step(features, items, false);
    const took = performance.now() - start;
    for (const handle of [features, ...kept]) handle.dispose();
    return took;
  });
  for (const memory of known) memory.dispose();
  return ms;
}

const framesPerSecond = {};
for (const count of counts.split(",").map(Number)) {
  framesPerSecond[count] = Number((1000 / (await measure(count))).toPrecision(3));
}
const { peakBytes } = replica.memory();
await replica.close();
console.log(
  JSON.stringify({ bundle: manifest.name, dtype: manifest.dtype, device, framesPerSecond, peakBytes }),
);
