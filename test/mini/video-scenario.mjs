// What video.test.ts runs in a process of its own, and kills: node video-scenario.mjs <saved session>. Uses the built package.
import { Sam3 } from "../../dist/index.js";

const [, , task] = process.argv;
const { file, clip, frames } = JSON.parse(task);
const sam = await Sam3.load({ threads: 1, logLevel: "silent" });
const session = await sam.video.open(clip);
await session.addPrompt({ text: "red circle" });
await session.addPrompt({ box: [60, 30, 110, 80] });
for await (const { index } of session.propagate()) if (index === frames - 1) break;
await session.save(file);
console.log("saved");
// No end, no closing: a power cut.
process.kill(process.pid, "SIGKILL");
