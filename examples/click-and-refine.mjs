// One object by a click, then better by a second one: node examples/click-and-refine.mjs [picture] [x y]
// Needs a model that was trained for clicks; SAM3_MODEL names another bundle than mini.
import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { Sam3, Sam3Error } from "sam3-node";

const [file = fileURLToPath(new URL("shapes.png", import.meta.url)), x = "375", y = "140"] =
  process.argv.slice(2);
const sam = await Sam3.load();
try {
  const picture = await sam.image.encode(file);
  const click = { x: Number(x), y: Number(y), label: "positive" };

  // A single click can mean several things: see all three, best guess marked.
  const three = await picture.segmentObject({ points: [click], multimask: true });
  for (const mask of three.masks) console.log(mask === three.best ? "→" : " ", mask);

  // The corner of the best mask's box does not belong to it; say so, and go on from what was found.
  const [left, top] = three.best.box;
  const refined = await picture.segmentObject({
    refineFrom: three,
    points: [{ x: left, y: top, label: "negative" }],
  });
  console.log("refined:", refined.best);
  await writeFile("object.png", await refined.overlay());
  console.log("object.png shows it");
} catch (error) {
  if (!Sam3Error.is(error, "UNSUPPORTED")) throw error;
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await sam.close();
}
