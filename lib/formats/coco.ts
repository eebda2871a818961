import { describe } from "../describe.js";
import { Sam3Error } from "../errors.js";
import type { CocoRle } from "../masks/rle.js";
import { readOptions } from "../read-options.js";
import { type FoundPicture, groupByPicture } from "./found-picture.js";
import { joinRings } from "./joined-ring.js";
import { numberNames } from "./number-names.js";

/** How COCO annotations are written; everything is optional. */
export interface CocoOptions {
  /**
   * `"rle"` (default): run lengths, exact. `"polygons"`: lists of corners along pixel edges, which pycocotools reads
   * back to the same mask; a hole hangs on its outline by a line walked there and back, and a mask without pixels,
   * which polygons cannot say, is left out.
   */
  readonly segmentation?: "rle" | "polygons" | undefined;
  /** Names of all categories in the order of their ids, from 1; left out, those found in order of appearance. */
  readonly categories?: readonly string[] | undefined;
  /** Pixels a polygon may move to save corners; 0 (exact) when left out. Without meaning for run lengths. */
  readonly tolerance?: number | undefined;
}

/** One picture of a COCO data set. */
export interface CocoImage {
  readonly id: number;
  readonly file_name: string;
  readonly width: number;
  readonly height: number;
}

/** One object of a COCO data set; `score` is what result files carry beyond annotations. */
export interface CocoAnnotation {
  readonly id: number;
  readonly image_id: number;
  readonly category_id: number;
  /** Run lengths, or one flat list `x, y, x, y, …` for each piece. */
  readonly segmentation: CocoRle | readonly (readonly number[])[];
  /** Pixels inside the mask. */
  readonly area: number;
  /** `[x, y, width, height]`, tight around the mask. */
  readonly bbox: readonly [x: number, y: number, width: number, height: number];
  readonly iscrowd: 0;
  readonly score: number;
}

/** A COCO data set, as `JSON.stringify` writes it and pycocotools reads it. */
export interface CocoDataset {
  readonly images: readonly CocoImage[];
  readonly categories: readonly { readonly id: number; readonly name: string }[];
  readonly annotations: readonly CocoAnnotation[];
}

const NAMES = ["segmentation", "categories", "tolerance"];

/**
 * Puts results of one or many pictures into one COCO data set. Results of the same picture share its entry; ids count
 * from 1.
 *
 * Done at once and on the event loop, as `JSON.stringify` is: well under a millisecond for an object with run
 * lengths, about one with polygons. In a server, write large data sets picture by picture or in a worker.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT` for options that cannot be, or an object whose text `categories` lacks
 * @example
 * ```ts
 * const results = await Promise.all(files.map((file) => sam.image.segmentConcept(file, { text: "wheel" })));
 * await writeFile("annotations.json", JSON.stringify(toCoco(results)));
 * ```
 */
export function toCoco(results: readonly FoundPicture[], options: CocoOptions = {}): CocoDataset {
  const { segmentation = "rle", categories, tolerance = 0 } = readOptions("toCoco", options, NAMES);
  if (segmentation !== "rle" && segmentation !== "polygons") {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `segmentation is ${describe(segmentation)}; it must be "rle" or "polygons".`,
    );
  }
  const pictures = groupByPicture(results);
  const texts = pictures.flatMap(({ objects }) => objects.map(({ text }) => text));
  const numbers = numberNames(texts, categories, "categories");
  const annotations: CocoAnnotation[] = [];
  pictures.forEach(({ objects }, picture) => {
    for (const { text, score, mask } of objects) {
      const polygons = segmentation === "polygons" ? mask.toPolygons({ tolerance }) : undefined;
      if (polygons?.length === 0) continue;
      const [x1, y1, x2, y2] = mask.box;
      annotations.push({
        id: annotations.length + 1,
        image_id: picture + 1,
        category_id: (numbers.get(text) as number) + 1,
        segmentation: polygons?.map((polygon) => joinRings([polygon]).flat()) ?? mask.toRle(),
        area: mask.area,
        bbox: [x1, y1, x2 - x1, y2 - y1],
        iscrowd: 0,
        score,
      });
    }
  });
  return {
    images: pictures.map(({ fileName, image }, i) => ({ id: i + 1, file_name: fileName, ...image })),
    categories: [...numbers].map(([name, number]) => ({ id: number + 1, name })),
    annotations,
  };
}
