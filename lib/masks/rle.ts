import { Sam3Error } from "../errors.js";

/** COCO run lengths as they are written to JSON: size is `[height, width]`, counts the compressed string. */
export interface CocoRle {
  readonly size: readonly [height: number, width: number];
  readonly counts: string;
}

/** Compresses run lengths to COCO's string, byte for byte as pycocotools does. */
export function encodeCounts(counts: ArrayLike<number>): string {
  const out: number[] = [];
  for (let i = 0; i < counts.length; i++) {
    let x = counts[i] as number;
    // From the fourth run on, the difference to the run before the last is written: it is smaller.
    if (i > 2) x -= counts[i - 2] as number;
    for (let more = true; more; ) {
      let c = x & 0x1f;
      x >>= 5;
      more = (c & 0x10) !== 0 ? x !== -1 : x !== 0;
      if (more) c |= 0x20;
      out.push(c + 48);
    }
  }
  let text = "";
  for (let i = 0; i < out.length; i += 4096) text += String.fromCharCode(...out.slice(i, i + 4096));
  return text;
}

/**
 * Reads COCO's compressed string back to run lengths that cover `pixels` exactly.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT` when the string is damaged or is for another size.
 */
export function decodeCounts(text: string, pixels: number): Uint32Array {
  const counts: number[] = [];
  let sum = 0;
  for (let p = 0; p < text.length; ) {
    let x = 0;
    let shift = 0;
    for (let more = true; more; ) {
      if (p >= text.length) throw badCounts("it ends in the middle of a number");
      const c = text.charCodeAt(p) - 48;
      if (c < 0 || c > 0x3f) throw badCounts(`it has the character ${JSON.stringify(text[p])} at ${p}`);
      if (shift > 30) throw badCounts(`it has a number with too many digits at ${p}`);
      x |= (c & 0x1f) << shift;
      more = (c & 0x20) !== 0;
      p++;
      shift += 5;
      if (!more && (c & 0x10) !== 0 && shift < 32) x |= -1 << shift;
    }
    if (counts.length > 2) x += counts[counts.length - 2] as number;
    if (x < 0) throw badCounts(`run ${counts.length} is negative`);
    counts.push(x);
    sum += x;
    if (sum > pixels) throw badCounts(`its runs cover more than the ${pixels} pixels of its size`);
  }
  if (sum !== pixels) throw badCounts(`its runs cover ${sum} pixels, its size has ${pixels}`);
  return normalizeCounts(counts);
}

/**
 * Checks run lengths given as numbers: whole, not negative, covering `pixels` exactly.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT` otherwise.
 */
export function checkCounts(counts: ArrayLike<number>, pixels: number): Uint32Array {
  let sum = 0;
  for (let i = 0; i < counts.length; i++) {
    const run = counts[i];
    if (typeof run !== "number" || !Number.isInteger(run) || run < 0) {
      throw badCounts(`run ${i} is ${String(run)}, not a whole number of pixels`);
    }
    sum += run;
  }
  if (sum !== pixels) throw badCounts(`its runs cover ${sum} pixels, its size has ${pixels}`);
  return normalizeCounts(counts);
}

/** Run lengths of a row-major picture of zeros (background) and anything else (object). */
export function countsFromBitmap(bitmap: ArrayLike<number>, width: number, height: number): Uint32Array {
  const counts: number[] = [];
  let run = 0;
  let inside = false;
  for (let x = 0; x < width; x++) {
    for (let y = 0, i = x; y < height; y++, i += width) {
      if ((bitmap[i] !== 0) === inside) run++;
      else {
        counts.push(run);
        run = 1;
        inside = !inside;
      }
    }
  }
  counts.push(run);
  return Uint32Array.from(counts);
}

/** Joins runs that are split by empty runs, so that equal masks have equal runs. */
function normalizeCounts(counts: ArrayLike<number>): Uint32Array {
  const out: number[] = [];
  for (let i = 0; i < counts.length; i++) {
    const run = counts[i] as number;
    const inside = i % 2 === 1;
    const lastInside = out.length % 2 === 0;
    if (out.length === 0) {
      if (inside) out.push(0, run);
      else out.push(run);
    } else if (inside === lastInside) out[out.length - 1] = (out[out.length - 1] as number) + run;
    else if (run > 0) out.push(run);
  }
  if (out.length === 0) out.push(0);
  return Uint32Array.from(out);
}

function badCounts(why: string): Sam3Error {
  return new Sam3Error(
    "INVALID_ARGUMENT",
    `These are not COCO run lengths of this size: ${why}. Check that size is [height, width] and counts is unchanged.`,
  );
}
