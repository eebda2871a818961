import { describe } from "../describe.js";
import { Sam3Error } from "../errors.js";
import type { Box } from "../masks/mask.js";

/**
 * Checks that a value is four finite numbers, in order, touching the picture; comes back cut to the picture.
 *
 * @param name how the box is called in messages, for example `Box 2`
 * @throws {Sam3Error} `INVALID_BOX`
 */
export function checkBox(
  box: unknown,
  name: string,
  picture: { readonly width: number; readonly height: number },
  details: Readonly<Record<string, number>> = {},
): Box {
  const { width, height } = picture;
  const wrong = (why: string) =>
    new Sam3Error("INVALID_BOX", `${name} is ${showBox(box)}: ${why}.`, { details });
  const isFour = Array.isArray(box) || ArrayBuffer.isView(box);
  const values = isFour ? Array.from(box as ArrayLike<unknown>) : [];
  if (values.length !== 4 || !values.every((value) => typeof value === "number" && Number.isFinite(value))) {
    throw wrong("it must be four finite numbers [x1, y1, x2, y2] in pixels");
  }
  const [x1, y1, x2, y2] = values as Box;
  if (x1 >= x2 || y1 >= y2) {
    throw wrong(x1 > x2 || y1 > y2 ? "x1 must be left of x2, and y1 above y2" : "it has no area");
  }
  const cut: Box = [Math.max(0, x1), Math.max(0, y1), Math.min(width, x2), Math.min(height, y2)];
  if (cut[0] >= cut[2] || cut[1] >= cut[3])
    throw wrong(`it lies outside the picture of ${width}×${height} pixels`);
  return cut;
}

function showBox(box: unknown): string {
  if (!Array.isArray(box) && !ArrayBuffer.isView(box)) return describe(box);
  const values = Array.from(box as ArrayLike<unknown>);
  return `[${values.slice(0, 6).map(describe).join(", ")}${values.length > 6 ? ", …" : ""}]`;
}
