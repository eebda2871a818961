import { mkdir, stat, writeFile } from "node:fs/promises";
import { dirname, extname, join, parse, resolve } from "node:path";
import { Sam3Error } from "../errors.js";
import type { ConceptPrompt, Exemplar } from "../image/concept-prompt.js";
import type { ConceptResult, ConceptResultJson } from "../image/concept-result.js";
import { mapDiskFull } from "../libtorch/disk.js";
import type { Box } from "../masks/mask.js";
import type { DeviceChoice } from "../options.js";
import { Sam3 } from "../sam3.js";
import { defineCommand, type Io, usage } from "./command.js";
import { errorLine, toSam3Error } from "./error-line.js";
import { ProgressBar } from "./progress.js";
import { table } from "./table.js";

/** What `--json` writes for one picture: what was found, or why nothing could be. */
export type SegmentJson =
  | ({ readonly file: string } & ConceptResultJson)
  | { readonly file: string; readonly error: { readonly code: string; readonly message: string } };

const NAME = { name: "segment" };
const FORMATS: Readonly<Record<string, "png" | "jpeg" | "webp">> = {
  ".png": "png",
  ".jpg": "jpeg",
  ".jpeg": "jpeg",
  ".webp": "webp",
};

/** `sam3 segment`: every instance of a concept in one or more pictures. */
export const segmentCommand = defineCommand({
  name: "segment",
  summary: "Finds every instance of a concept, said in words or shown by boxes, in pictures.",
  usage: [
    "sam3 segment <image…> --text <words> [options]",
    "sam3 segment <image…> --box x1,y1,x2,y2 [options]",
  ],
  options: {
    text: { type: "string", multiple: true, value: "<words>", help: "what to look for" },
    box: {
      type: "string",
      multiple: true,
      value: "x1,y1,x2,y2[:negative]",
      help: "box in pixels around an example of it, or of what is not meant",
    },
    model: {
      type: "string",
      value: "<bundle|mini>",
      help: "bundle folder, or the model that comes with the package",
    },
    threshold: { type: "string", value: "<0–1>", help: "lowest score of an object (default the model's)" },
    device: { type: "string", value: "<device>", help: "auto, cpu, cuda or cuda:N (default auto)" },
    out: { type: "string", value: "<file|folder>", help: "write the picture with the objects drawn on it" },
    json: { type: "string", value: "<file|->", help: "write the result as JSON, - to standard output" },
  },
  notes: [
    "With several texts, boxes apply to each of them. With several pictures, --out is a folder and the JSON a list;\n" +
      'a picture that fails is {"file", "error": {"code", "message"}} in it, the others go on, and the exit code is 1.',
  ],
  run: async (files, options, io) => {
    if (files.length === 0) throw usage("no picture is named", NAME);
    const prompt = readPrompt(options);
    if (options.json === "") throw usage("--json is empty; name a file, or - for standard output", NAME);
    const outputs = options.out === undefined ? undefined : await planOutputs(files, options.out);
    const bar = new ProgressBar(io.interactive ? io.err : undefined, process.stderr.columns);
    try {
      return await segmentAll({ files, prompt, options, outputs, bar, io });
    } finally {
      bar.clear();
    }
  },
});

interface Job {
  readonly files: readonly string[];
  readonly prompt: ConceptPrompt;
  readonly options: { readonly model?: string; readonly device?: string; readonly json?: string };
  /** Where the overlay of each picture goes. */
  readonly outputs: ReadonlyMap<string, string> | undefined;
  readonly bar: ProgressBar;
  readonly io: Io;
}

async function segmentAll(job: Job): Promise<number> {
  const { files, prompt, options, outputs, bar, io } = job;
  const { signal } = io;
  const missing = new Map<string, Sam3Error>();
  for (const file of files) {
    const problem = await findProblem(file);
    if (problem) missing.set(file, problem);
  }
  const done: SegmentJson[] = [];
  const toPeople = options.json === "-" ? io.err : io.out;
  const fail = (file: string, error: Sam3Error) => {
    bar.clear();
    io.err(`${errorLine(error)}\n`);
    done.push({ file, error: { code: error.code, message: error.message } });
  };
  // The model is loaded only when there is a picture to look at.
  const sam = missing.size === files.length ? undefined : await load(job);
  try {
    for (const [i, file] of files.entries()) {
      bar.update(`segmenting ${file}`, i, files.length, String);
      const problem = missing.get(file);
      if (problem !== undefined || sam === undefined) {
        if (problem) fail(file, problem);
        continue;
      }
      try {
        const result = await sam.image.segmentConcept(file, prompt, { signal });
        const output = outputs?.get(file);
        if (output !== undefined) await writeOverlay(result, output, signal);
        bar.clear();
        for (const { text } of result.prompts.filter(({ truncated }) => truncated)) {
          io.err(`note: the model reads only the beginning of "${shorten(text)}"\n`);
        }
        if (options.json === undefined) io.out(describe(file, result, files.length > 1));
        if (output !== undefined) toPeople(`overlay written to ${output}\n`);
        done.push({ file, ...result.toJSON() });
      } catch (error) {
        signal.throwIfAborted();
        fail(file, toSam3Error(error));
      }
    }
  } finally {
    await sam?.close();
  }
  if (options.json !== undefined) await writeJson(files.length === 1 ? done[0] : done, options.json, io);
  return done.some((it) => "error" in it) ? 1 : 0;
}

function load({ options, bar, io }: Job): Promise<Sam3> {
  bar.update("loading the model", 0);
  return Sam3.load({
    model: options.model,
    devices: options.device as DeviceChoice | undefined,
    signal: io.signal,
    onProgress: ({ stage, part, done, total }) =>
      bar.update(`${stage === "verify" ? "checking" : "loading"} ${part}`, done, total, String),
  });
}

/** Reads the prompt, as strictly as the model does, so that a slip shows before the model is loaded. */
function readPrompt(options: { text?: string[]; box?: string[]; threshold?: string }): ConceptPrompt {
  const { text, box = [], threshold } = options;
  if (text === undefined && box.length === 0) throw usage("say what to look for with --text or --box", NAME);
  if (text?.some((it) => it.trim() === "")) {
    throw new Sam3Error(
      "INVALID_PROMPT",
      "--text is empty; say what to look for, or leave it out and give --box",
    );
  }
  return {
    ...(text === undefined ? {} : { text }),
    ...(box.length === 0 ? {} : { exemplars: box.map(readBox) }),
    ...(threshold === undefined ? {} : { threshold: readThreshold(threshold) }),
  };
}

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

function readBox(given: string): Exemplar {
  const [corners = "", label = "positive", ...more] = given.split(":");
  const values = corners.split(",").map((it) => it.trim());
  const wellFormed = values.length === 4 && values.every((it) => NUMBER.test(it)) && more.length === 0;
  if (!wellFormed || (label !== "positive" && label !== "negative")) {
    throw usage(`--box ${given} is not x1,y1,x2,y2 or x1,y1,x2,y2:negative`, NAME);
  }
  const box = values.map(Number) as Box;
  if (!(box[0] < box[2] && box[1] < box[3])) {
    throw new Sam3Error("INVALID_BOX", `--box ${given} has no area; x1 must be left of x2, and y1 above y2`);
  }
  return { box, label };
}

function readThreshold(given: string): number {
  const value = NUMBER.test(given.trim()) ? Number(given) : Number.NaN;
  if (!(value >= 0 && value <= 1)) throw usage(`--threshold ${given} is not a number from 0 to 1`, NAME);
  return value;
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

/** Where each overlay goes: the file named, or `<name>.overlay.png` in a folder. Never over a picture that is read. */
async function planOutputs(files: readonly string[], out: string): Promise<Map<string, string>> {
  if (out === "") throw usage("--out is empty; name a file or folder", NAME);
  const isFolder = await stat(out).then(
    (it) => it.isDirectory(),
    () => false,
  );
  const plan = new Map<string, string>();
  if (!isFolder && !/[/\\]$/.test(out) && extname(out) !== "") {
    if (FORMATS[extname(out).toLowerCase()] === undefined) {
      throw usage(`--out ${out} must end in ${Object.keys(FORMATS).join(", ")} or be a folder`, NAME);
    }
    if (new Set(files).size > 1)
      throw usage(`--out ${out} is one file for ${files.length} pictures; name a folder`, NAME);
    plan.set(files[0] as string, out);
  } else {
    const taken = new Set<string>();
    for (const file of files) {
      if (plan.has(file)) continue;
      const { name } = parse(file);
      let path = join(out, `${name}.overlay.png`);
      for (let i = 2; taken.has(path); i++) path = join(out, `${name}-${i}.overlay.png`);
      taken.add(path);
      plan.set(file, path);
    }
  }
  const read = new Set(files.map((file) => resolve(file)));
  for (const path of plan.values()) {
    if (read.has(resolve(path))) throw usage(`--out ${out} would overwrite the picture ${path}`, NAME);
  }
  return plan;
}

async function writeOverlay(result: ConceptResult, path: string, signal: AbortSignal): Promise<void> {
  const format = FORMATS[extname(path).toLowerCase()] ?? "png";
  await write(path, await result.overlay({ format, signal }));
}

async function writeJson(
  value: SegmentJson | readonly SegmentJson[] | undefined,
  to: string,
  io: Io,
): Promise<void> {
  const text = `${JSON.stringify(value)}\n`;
  if (to === "-") io.out(text);
  else await write(to, text);
}

async function write(path: string, content: Buffer | string): Promise<void> {
  try {
    await mkdir(dirname(resolve(path)), { recursive: true });
    await writeFile(path, content);
  } catch (error) {
    const mapped = mapDiskFull(error, dirname(resolve(path)), Buffer.byteLength(content));
    if (Sam3Error.is(mapped)) throw mapped;
    const { code } = error as NodeJS.ErrnoException;
    throw new Sam3Error("OUTPUT_FAILED", `${path} cannot be written (${code}); choose another place`, {
      cause: error,
    });
  }
}

/** What was found in one picture, for people. */
function describe(file: string, result: ConceptResult, named: boolean): string {
  const { image, objects, timings } = result;
  const { decodeMs, encodeMs, segmentMs } = timings;
  const found = objects.length === 1 ? "1 object" : `${objects.length} objects`;
  const head = `${named ? `${file}: ` : ""}${found} in ${image.width} × ${image.height} pixels, ${Math.round(decodeMs + encodeMs + segmentMs)} ms\n`;
  if (objects.length === 0) return head;
  const rows = objects.map(({ text, score, box, mask }, i) => [
    String(i + 1),
    shorten(text),
    score.toFixed(2),
    ...box.map((value) => String(Math.round(value))),
    String(mask.area),
  ]);
  return (
    head + table([["#", "text", "score", "x1", "y1", "x2", "y2", "area"], ...rows], [0, 2, 3, 4, 5, 6, 7])
  );
}

function shorten(text: string): string {
  return text.length > 40 ? `${text.slice(0, 39)}…` : text;
}
