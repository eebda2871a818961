// A stream without an end: node bench/stream-memory.mjs [--frames 5000] [--every 500] [--growth 3] [--seconds N]
// [--model mini] [--devices auto]. Five objects that were clicked on the first frame of a live stream are tracked. After
// every so many frames the stream is held until the replica is at rest, and what is resident is compared with what it was
// the first time; what the session says it holds on the device is compared with what the addon has allocated. After so
// many seconds it ends early, but not before it has compared once. Exit code 1 where memory has grown by that many percent
// or more at the end, or the two disagree. Needs the built package (npm run demo builds it).
import { parseArgs } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Sam3 } from "../dist/index.js";
import { about } from "./lib.mjs";

const { values } = parseArgs({
  options: {
    frames: { type: "string", default: "5000" },
    every: { type: "string", default: "500" },
    growth: { type: "string", default: "3" },
    seconds: { type: "string", default: "86400" },
    model: { type: "string", default: "mini" },
    devices: { type: "string", default: "auto" },
  },
});
const { model, devices } = values;
const [FRAMES, EVERY, GROWTH, SECONDS] = ["frames", "every", "growth", "seconds"].map((name) =>
  Number(values[name]),
);
const MiB = 2 ** 20;
/** A replica gives memory back when it had nothing to do for two seconds. */
const REST_MS = 3000;
const [WIDTH, HEIGHT] = [256, 192];
const OBJECTS = [
  { colour: [224, 32, 32], radius: 22, at: [50, 50], by: [2.5, 1.5] },
  { colour: [32, 176, 32], radius: 18, at: [200, 60], by: [-1.5, 2] },
  { colour: [32, 64, 224], radius: 25, at: [120, 130], by: [1, -2.5] },
  { colour: [240, 224, 32], radius: 16, at: [60, 150], by: [3, 1] },
  { colour: [128, 32, 160], radius: 20, at: [190, 140], by: [-2, -1] },
];

/** There and back between two edges. */
function bounce(start, step, low, high) {
  const span = high - low;
  const way = (((start - low + step) % (2 * span)) + 2 * span) % (2 * span);
  return low + (way < span ? way : 2 * span - way);
}

function centre({ at, by, radius }, frame) {
  return [
    bounce(at[0], by[0] * frame, radius, WIDTH - radius),
    bounce(at[1], by[1] * frame, radius, HEIGHT - radius),
  ];
}

function draw(frame) {
  const data = new Uint8Array(WIDTH * HEIGHT * 3).fill(210);
  for (const object of OBJECTS) {
    const [cx, cy] = centre(object, frame);
    const { radius, colour } = object;
    for (let y = Math.max(0, Math.ceil(cy - radius)); y < Math.min(HEIGHT, cy + radius); y++) {
      const half = Math.sqrt(Math.max(0, radius ** 2 - (y - cy) ** 2));
      for (let x = Math.max(0, Math.ceil(cx - half)); x < Math.min(WIDTH, cx + half); x++) {
        data.set(colour, (y * WIDTH + x) * 3);
      }
    }
  }
  return { data, width: WIDTH, height: HEIGHT, channels: 3 };
}

async function* camera() {
  // It goes on: frames that were read ahead are held at the end as they were before.
  for (let frame = 0; ; frame++) yield draw(frame);
}

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc");

async function residentAtRest() {
  await new Promise((resolve) => setTimeout(resolve, REST_MS));
  for (let i = 0; i < 5; i++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return process.memoryUsage.rss();
}

const sam = await Sam3.load({ model, devices, featureCache: false });
console.log(about(sam.model));
const allocated = () => sam.stats().replicas[0].featureBytes;
const before = allocated();
const session = await sam.video.open(null);
let first;
let growth = 0;
let isOff = false;
const start = performance.now();
let since = start;
for await (const { index, objects } of session.stream(camera())) {
  if (index === 0) {
    for (const object of OBJECTS) {
      const [x, y] = centre(object, 0);
      await session.addPrompt({ points: [{ x, y, label: "positive" }] });
    }
  }
  const done = index + 1;
  if (done % EVERY !== 0) continue;
  const rate = (EVERY * 1000) / (performance.now() - since);
  const resident = await residentAtRest();
  const isFirst = first === undefined;
  first ??= resident;
  const { deviceBytes } = session.status();
  const held = allocated() - before;
  growth = resident / first - 1;
  isOff ||= deviceBytes !== held;
  console.log(
    [
      `frame ${done}: ${(resident / MiB).toFixed(1)} MiB resident (${(growth * 100).toFixed(1)} %)`,
      `${(deviceBytes / MiB).toFixed(2)} MiB on the device by the session, ${(held / MiB).toFixed(2)} by the addon`,
      `${session.objects.length} objects tracked, ${objects.length} seen`,
      `${rate.toFixed(2)} frames/s`,
    ].join("; "),
  );
  since = performance.now();
  if (done >= FRAMES || (!isFirst && since - start > SECONDS * 1000)) break;
}
await session.close();
const left = allocated() - before;
console.log(`after closing: ${left} bytes left`);
await sam.close();
process.exitCode = growth * 100 >= GROWTH || isOff || left !== 0 ? 1 : 0;
