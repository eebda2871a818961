// Milliseconds per stage of one bundle on one device, by the addon's own clock, and the most memory the device gave:
//   node stages.mjs <bundle> <device> <rounds>      prints one line of JSON
import sharp from "sharp";
import { openAddon, readBundle } from "./addon.mjs";
import { medianOf } from "./numbers.mjs";
import { PICTURE } from "./picture.mjs";

/** So many masks are drawn for the stage "masks". */
const DRAWN = 10;
/** A threshold that no score reaches: the decoder works, nothing is drawn. */
const NOTHING = 1.1;

const [folder, device, rounds] = process.argv.slice(2);
const rhythm = { warmUp: Number(rounds) > 3 ? 5 : 1, rounds: Number(rounds) };
const addon = openAddon(device);
const { manifest, bundle } = readBundle(folder);
const replica = new addon.Replica({ device, threads: 0 });
const token = new addon.CancelToken();
const options = { atOnce: 8 };

/** The answers of a batch that must have none but good ones. */
async function ask(batch) {
  const { items, workMs } = await batch;
  for (const item of items) if ("error" in item) throw item.error;
  return { values: items.map(({ value }) => value), workMs };
}

/** The time of a call whose answers are thrown away. */
async function time(batch) {
  const { values, workMs } = await ask(batch);
  for (const value of values) value.dispose?.();
  return workMs;
}

const { data, info } = await sharp(PICTURE).removeAlpha().raw().toBuffer({ resolveWithObject: true });
const pixels = { data: new Uint8Array(data), width: info.width, height: info.height };
const { loadMs, modelBytes } = await replica.load(bundle, token, () => {});

const { startToken, endToken } = manifest.tokenizer;
const ids = Int32Array.from([startToken, 5, 6, 7, endToken]);
const encode = (count) =>
  replica.encodeImages(
    Array.from({ length: count }, () => ({ pixels, token })),
    options,
  );
const [features] = (await ask(encode(1))).values;
const [text] = (await ask(replica.encodeTexts([{ ids, token }], options))).values;
const concept = (threshold, count = 1) =>
  replica.segmentConcepts(
    Array.from({ length: count }, () => ({
      features,
      text,
      boxes: new Float32Array(),
      labels: new Uint8Array(),
      threshold,
      semantic: false,
      token,
    })),
    options,
  );
const object = (count = 1) =>
  replica.segmentObjects(
    Array.from({ length: count }, () => ({
      features,
      points: Float32Array.from([info.width / 2, info.height / 2]),
      labels: Int32Array.from([1]),
      mask: null,
      multimask: false,
      maskThreshold: manifest.thresholds.mask,
      maxHoleArea: 0,
      maxSprinkleArea: 0,
      token,
    })),
    options,
  );

// All queries, best first: the score after the tenth is the threshold that draws ten masks.
const [all] = (await ask(concept(-1))).values;
const drawn = Math.min(DRAWN, all.objects.length - 1);
const tenth = (all.objects[drawn - 1].score + all.objects[drawn].score) / 2;

const stages = {
  encode: await medianOf(rhythm, () => time(encode(1))),
  encodeOfEight: (await medianOf(rhythm, () => time(encode(8)))) / 8,
  text: await medianOf(rhythm, () => time(replica.encodeTexts([{ ids, token }], options))),
  concept: await medianOf(rhythm, () => time(concept(NOTHING))),
  conceptOfEight: (await medianOf(rhythm, () => time(concept(NOTHING, 8)))) / 8,
  object: await medianOf(rhythm, () => time(object())),
  objectOfEight: (await medianOf(rhythm, () => time(object(8)))) / 8,
};
// By turns, so that what else the machine does hits both.
const masks = await medianOf(
  rhythm,
  async () => (await time(concept(tenth))) - (await time(concept(NOTHING))),
);
const memory = replica.memory();
const { name } = addon.devices().find(({ id }) => id === device);
features.dispose();
text.dispose();
await replica.close();
console.log(
  JSON.stringify({
    bundle: manifest.name,
    dtype: manifest.dtype,
    resolution: manifest.resolution,
    device,
    deviceName: name,
    torch: addon.torchVersion,
    stages: { ...stages, masks },
    drawn,
    loadMs,
    modelBytes,
    peakBytes: memory.peakBytes,
  }),
);
