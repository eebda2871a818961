import sharp from "sharp";
import { Sam3Error } from "../errors.js";
import { forEachColumnRun } from "../masks/runs.js";
import { Turn } from "../masks/turn.js";
import type { FoundObject } from "./found-picture.js";

const MOST_OBJECTS = 65_535;

/**
 * One grey picture that says for each pixel which object it belongs to: 0 none, 1 the first, and so on; where objects
 * overlap, the one with the better score has the pixel. 8 bits for up to 255 objects, else 16.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT` for more than 65,535 objects
 */
export async function labelMapPng(
  objects: readonly FoundObject[],
  { width, height }: { readonly width: number; readonly height: number },
): Promise<Buffer> {
  if (objects.length > MOST_OBJECTS) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `A label map has 16 bits, so at most ${MOST_OBJECTS} objects, not ${objects.length}. Raise the threshold.`,
    );
  }
  const deep = objects.length > 255;
  const labels = deep ? new Uint16Array(width * height) : new Uint8Array(width * height);
  const worstFirst = objects
    .map((_, i) => i)
    .sort((a, b) => scoreOf(objects, a) - scoreOf(objects, b) || b - a);
  const turn = new Turn();
  for (const i of worstFirst) {
    forEachColumnRun((objects[i] as FoundObject).mask.toCounts(), height, (x, top, bottom) => {
      for (let at = top * width + x, end = bottom * width; at < end; at += width) labels[at] = i + 1;
    });
    await turn.pass();
  }
  return sharp(labels, { raw: { width, height, channels: 1 }, limitInputPixels: false })
    .toColourspace(deep ? "grey16" : "b-w")
    .png({ compressionLevel: 6, palette: false })
    .toBuffer();
}

function scoreOf(objects: readonly FoundObject[], i: number): number {
  return (objects[i] as FoundObject).score;
}
