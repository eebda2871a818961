// Frames as they come, without an end: node examples/live-camera.mjs [frames]
// The camera is drawn here. Yours is whatever gives pictures one after the other: JPEGs of an IP camera, raw frames of a
// capture program, messages of a queue.
import { setTimeout as wait } from "node:timers/promises";
import { Sam3 } from "sam3-node";
import sharp from "sharp";
import { drawFrame } from "./draw-clip.mjs";

async function* camera(frames) {
  for (let n = 0; n < frames; n++) {
    await wait(40);
    const { data, info } = await sharp(drawFrame(n))
      .removeAlpha()
      .raw()
      .toBuffer({ resolveWithObject: true });
    yield { image: { data, width: info.width, height: info.height, channels: 3 }, time: Date.now() / 1000 };
  }
}

const sam = await Sam3.load();
const session = await sam.video.open();
await session.addPrompt({ text: "yellow star" });
for await (const frame of session.stream(camera(Number(process.argv[2] ?? 40)))) {
  for (const object of frame.objects) if (object.isNew) console.log("new on frame", frame.index, object);
  if (frame.index % 10 === 0) console.log("frame", frame.index, session.status().deviceBytes, "bytes held");
}
await session.close();
await sam.close();
