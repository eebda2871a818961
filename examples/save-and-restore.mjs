// Half of a clip, a restart, the other half: node examples/save-and-restore.mjs [video]
// The second Sam3 could be another process on another machine: only the file and the video are needed.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Sam3 } from "sam3-node";

const [video = fileURLToPath(new URL("shapes.mp4", import.meta.url))] = process.argv.slice(2);
const folder = await mkdtemp(join(tmpdir(), "sam3-saved-"));
const saved = join(folder, "clip.session");
const show = ({ index, objects }) =>
  console.log(index, objects.map(({ id, text }) => `#${id} ${text}`).join(", "));

const first = await Sam3.load();
const session = await first.video.open(video);
await session.addPrompt({ frame: 0, text: "circle" });
for await (const frame of session.propagate({ maxFrames: 12 })) show(frame);
await session.save(saved);
await first.close();
console.log("— saved, closed, restored —");

const second = await Sam3.load();
const restored = await second.video.restore(saved, video);
for await (const frame of restored.propagate({ startFrame: 12, maxFrames: 12 })) show(frame);
await second.close();
await rm(folder, { recursive: true });
