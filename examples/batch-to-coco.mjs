// A batch of pictures to one COCO data set: node examples/batch-to-coco.mjs <text> <picture…> > annotations.json
import { fileURLToPath } from "node:url";
import { Sam3, toCoco } from "sam3-node";

const shapes = fileURLToPath(new URL("shapes.png", import.meta.url));
const [text = "circle", ...files] = process.argv.slice(2);
const images = files.length > 0 ? files : [shapes];
const sam = await Sam3.load();
try {
  const pictures = await sam.image.segmentBatch(images.map((image) => ({ image, prompts: [{ text }] })));
  const results = pictures.flatMap((picture, i) => {
    // One bad picture does not stop the others.
    const [answer] = picture.status === "fulfilled" ? picture.value : [picture];
    if (answer.status === "fulfilled") return [answer.value];
    console.error(`${images[i]}: ${answer.reason.code}`);
    return [];
  });
  console.log(JSON.stringify(toCoco(results, { categories: [text] })));
} finally {
  await sam.close();
}
