import { parse } from "node:path";
import { readOptions } from "../read-options.js";
import { type FoundPicture, groupByPicture } from "./found-picture.js";
import { joinRings } from "./joined-ring.js";
import { numberNames } from "./number-names.js";

/** How YOLO-seg lines are written; everything is optional. */
export interface YoloOptions {
  /** Names of all classes in the order of their numbers, from 0; left out, those found in order of appearance. */
  readonly classes?: readonly string[] | undefined;
  /** Pixels an outline may move to save corners; 0 (exact, along pixel edges) when left out. */
  readonly tolerance?: number | undefined;
}

/** The label files of a YOLO data set. */
export interface YoloLabels {
  /** Class names; a line's first number is an index into them. */
  readonly classes: readonly string[];
  /** One file for each picture: `street.jpg` gets `street.txt`. A picture without objects gets an empty one. */
  readonly files: readonly { readonly name: string; readonly content: string }[];
}

/** Enough for pictures of a hundred thousand pixels on a side. */
const DIGITS = 7;

/**
 * YOLO-seg labels: for each object one line `class x y x y …`, x and y as parts of the picture's width and height.
 *
 * The format has one ring for an object and no holes. Further pieces and holes therefore hang on the first ring by lines
 * that are walked there and back and enclose nothing; a reader that fills by the even–odd or non-zero rule gets the mask,
 * one that also draws the outline adds those lines. Scores are not part of the format; an object without pixels is left
 * out.
 *
 * Done at once and on the event loop, as `JSON.stringify` is: one to three milliseconds for an object. In a server,
 * write large data sets picture by picture or in a worker.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT` for options that cannot be, or an object whose text `classes` lacks
 * @example
 * ```ts
 * const { files } = toYolo(results, { classes: ["wheel", "car"] });
 * for (const { name, content } of files) await writeFile(join("labels", name), content);
 * ```
 */
export function toYolo(results: readonly FoundPicture[], options: YoloOptions = {}): YoloLabels {
  const { classes, tolerance = 0 } = readOptions("toYolo", options, ["classes", "tolerance"]);
  const pictures = groupByPicture(results);
  const texts = pictures.flatMap(({ objects }) => objects.map(({ text }) => text));
  const numbers = numberNames(texts, classes, "classes");
  const taken = new Set<string>();
  const files = pictures.map(({ fileName, image, objects }) => {
    const lines = objects.flatMap(({ text, mask }) => {
      const ring = joinRings(mask.toPolygons({ tolerance }));
      if (ring.length === 0) return [];
      const numbersOfRing = ring.flatMap(([x, y]) => [part(x, image.width), part(y, image.height)]);
      return [`${numbers.get(text)} ${numbersOfRing.join(" ")}\n`];
    });
    return { name: freeName(parse(fileName).name, taken), content: lines.join("") };
  });
  return { classes: [...numbers.keys()], files };
}

function part(value: number, whole: number): string {
  return String(Number((value / whole).toFixed(DIGITS)));
}

/** Two pictures of the same name in different folders must not share a file. */
function freeName(stem: string, taken: Set<string>): string {
  let name = `${stem}.txt`;
  for (let i = 2; taken.has(name); i++) name = `${stem}-${i}.txt`;
  taken.add(name);
  return name;
}
