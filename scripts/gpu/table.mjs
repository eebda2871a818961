// What was measured, as Markdown.

const STAGES = {
  encode: "preprocess and encode one picture",
  encodeOfEight: "the same, eight at once, each",
  text: "encode one text",
  concept: "decode one concept",
  conceptOfEight: "the same, eight at once, each",
  masks: "draw the masks of so many objects",
  object: "decode one object prompt, with its mask",
  objectOfEight: "the same, eight at once, each",
};

const ms = (value) => value.toFixed(Math.abs(value) < 10 ? 2 : 1);
const mb = (bytes) => (bytes === null ? "not known" : `${(bytes / 2 ** 20).toFixed(0)} MiB`);

/**
 * One column per bundle, one row per figure; times are medians in milliseconds.
 *
 * @param objects numbers of objects that were followed
 */
export function table(measured, objects) {
  const { device, deviceName, torch } = measured[0].stages;
  const row = (name, value) => `| ${name} | ${measured.map(value).join(" | ")} |`;
  return [
    `${new Date().toISOString().slice(0, 10)}, ${deviceName} (${device}), libtorch ${torch}; milliseconds, medians`,
    "",
    row("stage", ({ label, stages }) => `${label}, ${stages.resolution} px`),
    row("---", () => "---"),
    ...Object.entries(STAGES).map(([key, name]) => row(name, ({ stages }) => ms(stages.stages[key]))),
    row("objects drawn", ({ stages }) => stages.drawn),
    row("first text on a picture, the whole call", ({ found }) => ms(found.firstMs)),
    row("second text on it", ({ found }) => ms(found.secondMs)),
    row("second over first", ({ found }) => (found.secondMs / found.firstMs).toFixed(3)),
    row("load to the device", ({ stages }) => ms(stages.loadMs)),
    row("memory of the weights", ({ stages }) => mb(stages.modelBytes)),
    row("most memory in use", ({ stages }) => mb(stages.peakBytes)),
    row("objects equal to the CPU's", ({ found }) => `${found.equal} of ${found.expected}`),
    row("largest difference of their scores", ({ found }) => found.scoreDifference.toExponential(1)),
    ...objects.map((count) =>
      row(
        `frames a second, objects followed: ${count}`,
        ({ tracking }) => tracking?.framesPerSecond[count] ?? "failed",
      ),
    ),
    row("most memory in use while following", ({ tracking }) =>
      tracking ? mb(tracking.peakBytes) : "failed",
    ),
  ].join("\n");
}

const small = (value) => value.toExponential(1);

export function describeParity(parity) {
  if (!parity) return "Parity of concepts with transformers could not be checked.";
  const { pictures, objects, worst } = parity;
  const figures = `scores ${small(worst.score)}, presence ${small(worst.presence)}, boxes ${small(worst.box)} of the side`;
  return `Parity with transformers, from file and words to objects: ${objects} objects in ${pictures} pictures; largest differences: ${figures}; masks IoU at least ${worst.mask.toFixed(5)}.`;
}

export function describeObjectParity(parity) {
  if (!parity) return "Parity of object prompts with transformers could not be checked.";
  const { pictures, masks, worst } = parity;
  const figures = `object scores ${small(worst.score)}, qualities ${small(worst.quality)}, logits ${small(worst.logit)} of their range`;
  return `From file and clicks to masks: ${masks} masks in ${pictures} pictures; largest differences: ${figures}; masks IoU at least ${worst.mask.toFixed(5)}.`;
}
