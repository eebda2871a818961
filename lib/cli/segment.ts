import { stat } from "node:fs/promises";
import { Sam3Error } from "../errors.js";
import { ConceptResult } from "../image/concept-result.js";
import type { ObjectResult } from "../image/object-result.js";
import type { Sam3 } from "../sam3.js";
import { defineCommand, type Io, usage } from "./command.js";
import { errorLine, toSam3Error } from "./error-line.js";
import { loadModel } from "./load-model.js";
import { overlayFormat, planOverlays } from "./overlay-plan.js";
import { ProgressBar } from "./progress.js";
import { type ResultTarget, readResultTarget, type SegmentOutcome, writeResults } from "./result-files.js";
import { readSegmentPrompt, type SegmentPrompt } from "./segment-prompt.js";
import { table } from "./table.js";
import { writeOutput } from "./write-output.js";

/** `sam3 segment`: every instance of a concept, or one object that is shown, in one or more pictures. */
export const segmentCommand = defineCommand({
  name: "segment",
  summary:
    "Finds every instance of a concept, said in words or shown by boxes, or one object shown by clicks.",
  usage: [
    "sam3 segment <image…> --text <words> [options]",
    "sam3 segment <image…> --box x1,y1,x2,y2 [options]",
    "sam3 segment <image…> --point x,y [--box x1,y1,x2,y2] [options]",
  ],
  options: {
    text: { type: "string", multiple: true, value: "<words>", help: "what to look for" },
    box: {
      type: "string",
      multiple: true,
      value: "x1,y1,x2,y2[:negative]",
      help: "box in pixels around an example of it, or of what is not meant",
    },
    point: {
      type: "string",
      multiple: true,
      value: "x,y[:negative]",
      help: "pixel that belongs to one object, or that does not",
    },
    object: { type: "boolean", help: "segment the one object in --box, as --point does, not every instance" },
    multimask: { type: "boolean", help: "three masks of the object instead of the best one" },
    model: {
      type: "string",
      value: "<bundle|mini>",
      help: "bundle folder, or the model that comes with the package",
    },
    threshold: { type: "string", value: "<0–1>", help: "lowest score of an object (default the model's)" },
    "suppress-duplicates": {
      type: "string",
      value: "<0–1>",
      help: "leave out what another text found better, by mask IoU",
    },
    tiles: {
      type: "string",
      value: "<size[,overlap]|auto>",
      help: "also look into tiles of so many pixels, for small things in large pictures",
    },
    device: { type: "string", value: "<device>", help: "auto, cpu, cuda or cuda:N (default auto)" },
    out: { type: "string", value: "<file|folder>", help: "write the picture with the objects drawn on it" },
    format: {
      type: "string",
      value: "<format>",
      help: "write results as json, coco, geojson, yolo or masks (PNG)",
    },
    to: {
      type: "string",
      value: "<file|folder|->",
      help: "where --format writes (default - standard output)",
    },
    json: { type: "string", value: "<file|->", help: "short for --format json --to" },
  },
  notes: [
    "With several texts, boxes apply to each of them. With several pictures, --out is a folder and the JSON a list;\n" +
      'a picture that fails is {"file", "error": {"code", "message"}} in it, the others go on, and the exit code is 1.',
    "yolo and masks write several files, so --to is a folder; yolo of one picture may go to standard output.",
  ],
  run: async (files, options, io) => {
    if (files.length === 0) throw usage("no picture is named", NAME);
    const prompt = readSegmentPrompt(options);
    const target = readResultTarget(options, files);
    const overlays = options.out === undefined ? undefined : await planOverlays(files, options.out);
    const bar = new ProgressBar(io.interactive ? io.err : undefined, process.stderr.columns);
    try {
      return await segmentAll({ files, prompt, options, target, overlays, bar, io });
    } finally {
      bar.clear();
    }
  },
});

const NAME = { name: "segment" };

interface Job {
  readonly files: readonly string[];
  readonly prompt: SegmentPrompt;
  readonly options: { readonly model?: string; readonly device?: string };
  readonly target: ResultTarget | undefined;
  /** Where the overlay of each picture goes. */
  readonly overlays: ReadonlyMap<string, string> | undefined;
  readonly bar: ProgressBar;
  readonly io: Io;
}

async function segmentAll(job: Job): Promise<number> {
  const { files, prompt, target, overlays, bar, io } = job;
  const { signal } = io;
  const missing = new Map<string, Sam3Error>();
  for (const file of files) {
    const problem = await findProblem(file);
    if (problem) missing.set(file, problem);
  }
  const done: SegmentOutcome[] = [];
  const toPeople = target?.to === "-" ? io.err : io.out;
  const fail = (file: string, error: Sam3Error) => {
    bar.clear();
    io.err(`${errorLine(error)}\n`);
    done.push({ file, error: { code: error.code, message: error.message } });
  };
  // The model is loaded only when there is a picture to look at.
  const sam = missing.size === files.length ? undefined : await loadModel(job);
  try {
    for (const [i, file] of files.entries()) {
      bar.update(`segmenting ${file}`, i, files.length, String);
      const problem = missing.get(file);
      if (problem !== undefined || sam === undefined) {
        if (problem) fail(file, problem);
        continue;
      }
      try {
        const result = await segmentOne(sam, file, prompt, signal);
        const overlay = overlays?.get(file);
        if (overlay !== undefined) {
          await writeOutput(overlay, await result.overlay({ format: overlayFormat(overlay), signal }));
        }
        bar.clear();
        if (result instanceof ConceptResult) {
          for (const { text } of result.prompts.filter(({ truncated }) => truncated)) {
            io.err(`note: the model reads only the beginning of "${shorten(text)}"\n`);
          }
        }
        if (target === undefined) io.out(describe(file, result, files.length > 1));
        if (overlay !== undefined) toPeople(`overlay written to ${overlay}\n`);
        done.push({ file, result });
      } catch (error) {
        signal.throwIfAborted();
        fail(file, toSam3Error(error));
      }
    }
  } finally {
    await sam?.close();
  }
  if (target !== undefined) await writeResults(done, target, textsOf(prompt), io);
  return done.some((it) => "error" in it) ? 1 : 0;
}

function segmentOne(
  sam: Sam3,
  file: string,
  prompt: SegmentPrompt,
  signal: AbortSignal,
): Promise<ConceptResult | ObjectResult> {
  if (prompt.kind === "object") return sam.image.segmentObject(file, prompt.prompt, { signal });
  const { tiles, suppressDuplicates } = prompt;
  return sam.image.segmentConcept(file, prompt.prompt, { signal, tiles, suppressDuplicates });
}

function textsOf(prompt: SegmentPrompt): readonly string[] | undefined {
  if (prompt.kind === "object") return undefined;
  const { text } = prompt.prompt;
  return typeof text === "string" ? [text] : text;
}

/** Says at once what is no file; whether it is a picture shows later. */
async function findProblem(file: string): Promise<Sam3Error | undefined> {
  const found = await stat(file).catch((error: NodeJS.ErrnoException) => error);
  if (found instanceof Error) {
    const why = found.code === "ENOENT" ? "does not exist" : `cannot be read (${found.code})`;
    return new Sam3Error("IMAGE_NOT_FOUND", `${file} ${why}; check the path`, { cause: found });
  }
  return found.isDirectory()
    ? new Sam3Error("IMAGE_NOT_FOUND", `${file} is a folder; name the pictures in it`)
    : undefined;
}

/** What was found in one picture, for people. */
function describe(file: string, result: ConceptResult | ObjectResult, named: boolean): string {
  const { image, timings } = result;
  const { decodeMs, encodeMs, segmentMs } = timings;
  const isConcept = result instanceof ConceptResult;
  const count = isConcept ? result.objects.length : result.masks.length;
  const noun = isConcept ? "object" : "mask";
  const head = `${named ? `${file}: ` : ""}${count} ${noun}${count === 1 ? "" : "s"} in ${image.width} × ${image.height} pixels, ${Math.round(decodeMs + encodeMs + segmentMs)} ms\n`;
  if (count === 0) return head;
  const place = (box: readonly number[], area: number) => [
    ...box.map((value) => String(Math.round(value))),
    String(area),
  ];
  const rows = isConcept
    ? result.objects.map(({ text, score, box, mask }, i) => [
        String(i + 1),
        shorten(text),
        score.toFixed(2),
        ...place(box, mask.area),
      ])
    : result.masks.map(({ quality, box, area }, i) => [
        String(i + 1),
        quality.toFixed(2),
        ...place(box, area),
      ]);
  return (
    head +
    (isConcept
      ? table([["#", "text", "score", "x1", "y1", "x2", "y2", "area"], ...rows], [0, 2, 3, 4, 5, 6, 7])
      : table([["#", "quality", "x1", "y1", "x2", "y2", "area"], ...rows], [0, 1, 2, 3, 4, 5, 6]))
  );
}

function shorten(text: string): string {
  return text.length > 40 ? `${text.slice(0, 39)}…` : text;
}
