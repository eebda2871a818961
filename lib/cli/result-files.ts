import { join } from "node:path";
import { toCoco } from "../formats/coco.js";
import { toGeoJson } from "../formats/geojson.js";
import { toYolo } from "../formats/yolo.js";
import type { ConceptResult, ConceptResultJson } from "../image/concept-result.js";
import { ObjectResult, type ObjectResultJson } from "../image/object-result.js";
import { type Io, usage } from "./command.js";
import { assertNotRead, stemsOf } from "./overlay-plan.js";
import { writeOutput } from "./write-output.js";

/** What `--json` writes for one picture: what was found, or why nothing could be. */
export type SegmentJson =
  | ({ readonly file: string } & (ConceptResultJson | ObjectResultJson))
  | { readonly file: string; readonly error: { readonly code: string; readonly message: string } };

/** What became of one picture. */
export type SegmentOutcome =
  | { readonly file: string; readonly result: ConceptResult | ObjectResult }
  | { readonly file: string; readonly error: { readonly code: string; readonly message: string } };

/** In what form results are written, and where. */
export interface ResultTarget {
  readonly format: ResultFormat;
  /** A file, a folder, or `-` for standard output. */
  readonly to: string;
}

const RESULT_FORMATS = ["json", "coco", "geojson", "yolo", "masks"] as const;
type ResultFormat = (typeof RESULT_FORMATS)[number];
const NAME = { name: "segment" };

/** Reads `--json`, `--format` and `--to`; undefined where only people are told. Throws `USAGE`. */
export function readResultTarget(
  { json, format, to }: { readonly json?: string; readonly format?: string; readonly to?: string },
  files: readonly string[],
): ResultTarget | undefined {
  if (json === "") throw usage("--json is empty; name a file, or - for standard output", NAME);
  if (to === "") throw usage("--to is empty; name a file or folder, or - for standard output", NAME);
  if (json !== undefined && format !== undefined) {
    throw usage("--json is short for --format json --to; give one of them", NAME);
  }
  if (json !== undefined) return { format: "json", to: json };
  if (format === undefined) {
    if (to !== undefined) throw usage("--to needs --format", NAME);
    return undefined;
  }
  const known = RESULT_FORMATS.find((it) => it === format);
  if (known === undefined) {
    throw usage(`--format ${format} is none of ${RESULT_FORMATS.join(", ")}`, NAME);
  }
  const target = { format: known, to: to ?? "-" };
  if (target.to === "-" && known === "masks") throw usage("--format masks needs a folder: --to", NAME);
  if (target.to === "-" && known === "yolo" && new Set(files).size > 1) {
    throw usage("--format yolo of several pictures needs a folder: --to", NAME);
  }
  assertNotRead(files, [target.to], `--to ${target.to}`);
  return target;
}

/** Writes everything that was found. Pictures that failed are part of JSON only; the others' forms have no place for them. */
export async function writeResults(
  outcomes: readonly SegmentOutcome[],
  { format, to }: ResultTarget,
  texts: readonly string[] | undefined,
  io: Io,
): Promise<void> {
  const found = outcomes.flatMap((one) => ("result" in one ? [one] : []));
  const results = found.map(({ result }) => result);
  // The texts looked for, so that a category keeps its number whatever was found.
  const names = texts === undefined ? undefined : [...new Set(texts)];
  const document = (value: unknown) => writeText(`${JSON.stringify(value)}\n`, to, io);
  if (format === "json") {
    const list = outcomes.map(jsonOf);
    await document(outcomes.length === 1 ? list[0] : list);
  } else if (format === "coco") {
    await document(toCoco(results, { categories: names }));
  } else if (format === "geojson") {
    await document(toGeoJson(results));
  } else if (format === "yolo") {
    const { classes, files } = toYolo(results, { classes: names });
    if (to === "-") io.out(files[0]?.content ?? "");
    else {
      for (const { name, content } of files) await writeOutput(join(to, name), content);
      await writeOutput(
        join(to, "classes.txt"),
        classes.map((name) => `${name.replace(/\s+/g, " ")}\n`).join(""),
      );
    }
  } else {
    const stems = stemsOf(outcomes.map(({ file }) => file));
    for (const { file, result } of found) await writeMasks(result, join(to, stems.get(file) as string));
  }
}

/** `street.labels.png` for all objects together, `street.1.png`, `street.2.png`, … for each. */
async function writeMasks(result: ConceptResult | ObjectResult, stem: string): Promise<void> {
  await writeOutput(`${stem}.labels.png`, await result.toLabelPng());
  const masks = result instanceof ObjectResult ? result.masks : result.objects;
  for (const [i, { mask }] of masks.entries()) await writeOutput(`${stem}.${i + 1}.png`, await mask.toPng());
}

async function writeText(text: string, to: string, io: Io): Promise<void> {
  if (to === "-") io.out(text);
  else await writeOutput(to, text);
}

function jsonOf(outcome: SegmentOutcome): SegmentJson {
  return "result" in outcome ? { file: outcome.file, ...outcome.result.toJSON() } : outcome;
}
