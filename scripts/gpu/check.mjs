// Everything of gpu-check.sh that needs Node: parity, times, memory, objects, tracking; prints the table and says what failed.
//   node check.mjs --device cuda:0 --rounds 20 --objects 1,5,20,64 --tracking-rounds 20 --fixtures <folder>
//     --reference <folder> --report <file> <bundle>…
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { readBundle } from "./addon.mjs";
import { describeObjectParity, describeParity, table } from "./table.mjs";

const { values: options, positionals: folders } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: "string" },
    rounds: { type: "string" },
    objects: { type: "string" },
    "tracking-rounds": { type: "string" },
    fixtures: { type: "string" },
    reference: { type: "string" },
    report: { type: "string" },
  },
});
const { device, rounds } = options;
const FULL_SIZE = 1008;
/** fp32 on two devices: sums in another order. */
const SAME_SCORE = 1e-3;
/** On a GPU the second text on a picture may cost this share of the first. */
const SECOND_TEXT = 0.1;
const wrong = [];

/** Runs one of the programs beside this one in a process of its own and reads the line of JSON it prints. */
function run(name, ...args) {
  const program = fileURLToPath(new URL(name, import.meta.url));
  const { status, signal, stdout } = spawnSync(process.execPath, [program, ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (status === 0) return JSON.parse(stdout.trim().split("\n").at(-1));
  wrong.push(`${name} ${args.join(" ")} ended with ${signal ?? status}`);
  return undefined;
}

console.error(`parity with transformers on ${device} …`);
const parity = run("parity.mjs", join(options.reference, "concepts"), options.fixtures, device);
const objects = run("object-parity.mjs", join(options.reference, "objects"), options.fixtures, device);
for (const what of [...(parity?.wrong ?? []), ...(objects?.wrong ?? [])]) wrong.push(`parity: ${what}`);

const measured = [];
for (const folder of folders) {
  const { manifest } = readBundle(folder);
  const label = `${manifest.name} ${manifest.dtype}`;
  console.error(`${label} on ${device} …`);
  const stages = run("stages.mjs", folder, device, rounds);
  const found = run("found.mjs", folder, device, rounds);
  const tracking = run("tracking.mjs", folder, device, options["tracking-rounds"], options.objects);
  if (!stages || !found) continue;
  measured.push({ label, stages, found, tracking });
  const { expected, equal, scoreDifference } = found;
  if (expected === 0) wrong.push(`${label}: the CPU found nothing to compare with`);
  if (manifest.dtype === "fp32") {
    if (found.found !== expected || equal !== expected)
      wrong.push(
        `${label}: ${equal} of the CPU's ${expected} objects are among the ${found.found} of ${device}`,
      );
    if (!(scoreDifference <= SAME_SCORE)) wrong.push(`${label}: a score differs by ${scoreDifference}`);
  }
  const share = found.secondMs / found.firstMs;
  if (device !== "cpu" && manifest.resolution === FULL_SIZE && !(share <= SECOND_TEXT))
    wrong.push(`${label}: the second text costs ${(100 * share).toFixed(0)} % of the first`);
}

const text = `${measured.length > 0 ? table(measured, options.objects.split(",")) : "nothing could be measured"}\n\n${describeParity(parity)}\n${describeObjectParity(objects)}\n`;
console.log(`\n${text}`);
if (options.report) writeFileSync(options.report, text);
for (const what of wrong) console.log(`FAILED ${what}`);
process.exitCode = wrong.length > 0 ? 1 : 0;
