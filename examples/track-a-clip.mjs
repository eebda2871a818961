// A clip tracked by text: node examples/track-a-clip.mjs [video] [words]
// Needs the package node-av or an ffmpeg for video files; a folder of pictures needs neither.
import { fileURLToPath } from "node:url";
import { Sam3 } from "sam3-node";

const [video = fileURLToPath(new URL("shapes.mp4", import.meta.url)), text = "red circle"] =
  process.argv.slice(2);
const sam = await Sam3.load();
const session = await sam.video.open(video);
await session.addPrompt({ frame: 0, text });
for await (const { index, time, objects } of session.propagate()) {
  const seen = objects.map(({ id, score, box }) => `#${id} ${score.toFixed(2)} [${box}]`);
  console.log(index, `${time.toFixed(2)} s`, seen.join("  ") || "nothing");
}
await session.close();
await sam.close();
