// Many concepts in one picture, encoded once: node examples/many-prompts.mjs [picture] [text…]
import { fileURLToPath } from "node:url";
import { Sam3 } from "sam3-node";

const [file = fileURLToPath(new URL("shapes.png", import.meta.url)), ...words] = process.argv.slice(2);
const texts = words.length > 0 ? words : ["red circle", "circle", "yellow star", "square", "ring"];
const sam = await Sam3.load();
try {
  // "circle" finds the red circles too: the better score keeps them.
  const answers = await sam.image.segmentConcepts(
    file,
    texts.map((text) => ({ text })),
    { suppressDuplicates: 0.7 },
  );
  answers.forEach((answer, i) => {
    if (answer.status === "rejected") {
      console.error(`${texts[i]}: ${answer.reason.message}`);
      return;
    }
    const { objects, prompts } = answer.value;
    const scores = objects.map(({ score }) => score.toFixed(2)).join(" ");
    console.log(
      `${texts[i]}: ${objects.length} (${scores}), ${prompts[0].suppressed} found better by another text`,
    );
  });
} finally {
  await sam.close();
}
