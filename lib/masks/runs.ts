/**
 * Arithmetic on COCO run lengths: down the columns, left to right, starting with background. Everything walks runs,
 * never pixels.
 */

/** A rectangle of pixels; x2 and y2 are not included. */
export interface Rect {
  readonly x1: number;
  readonly y1: number;
  readonly x2: number;
  readonly y2: number;
}

/** Collects foreground runs in ascending order and writes them as run lengths. */
class RunWriter {
  readonly #counts: number[] = [];
  #at = 0;

  /** Pixels from `start` to before `end`; never before what was added last. */
  add(start: number, end: number): void {
    if (end <= start) return;
    const last = this.#counts.length - 1;
    if (last > 0 && start === this.#at) this.#counts[last] = (this.#counts[last] as number) + end - start;
    else this.#counts.push(start - this.#at, end - start);
    this.#at = end;
  }

  finish(pixels: number): Uint32Array {
    if (this.#at < pixels || this.#counts.length === 0) this.#counts.push(pixels - this.#at);
    return Uint32Array.from(this.#counts);
  }
}

/** Pixels inside. */
export function areaOf(counts: Uint32Array): number {
  let area = 0;
  for (let i = 1; i < counts.length; i += 2) area += counts[i] as number;
  return area;
}

/** Pixels inside both, walking the two lists of runs side by side. */
export function overlapOf(a: Uint32Array, b: Uint32Array): number {
  let i = 0;
  let j = 0;
  let leftA = a[0] ?? 0;
  let leftB = b[0] ?? 0;
  let both = 0;
  while (i < a.length && j < b.length) {
    const step = Math.min(leftA, leftB);
    if (i % 2 === 1 && j % 2 === 1) both += step;
    leftA -= step;
    leftB -= step;
    if (leftA === 0) leftA = a[++i] ?? 0;
    if (leftB === 0) leftB = b[++j] ?? 0;
  }
  return both;
}

/** Pixels inside either, of two masks of the same size. */
export function unite(a: Uint32Array, b: Uint32Array): Uint32Array {
  return combine(a, b, (inA, inB) => inA || inB);
}

/** Pixels inside the first and not the second, of two masks of the same size. */
export function subtract(a: Uint32Array, b: Uint32Array): Uint32Array {
  return combine(a, b, (inA, inB) => inA && !inB);
}

function combine(
  a: Uint32Array,
  b: Uint32Array,
  isInside: (inA: boolean, inB: boolean) => boolean,
): Uint32Array {
  const writer = new RunWriter();
  let i = 0;
  let j = 0;
  let leftA = a[0] ?? 0;
  let leftB = b[0] ?? 0;
  let at = 0;
  while (i < a.length && j < b.length) {
    const step = Math.min(leftA, leftB);
    if (isInside(i % 2 === 1, j % 2 === 1)) writer.add(at, at + step);
    at += step;
    leftA -= step;
    leftB -= step;
    if (leftA === 0) leftA = a[++i] ?? 0;
    if (leftB === 0) leftB = b[++j] ?? 0;
  }
  return writer.finish(at);
}

/** The part of a mask of that height that lies in a rectangle, as a mask of the rectangle's size. */
export function crop(counts: Uint32Array, height: number, rect: Rect): Uint32Array {
  const writer = new RunWriter();
  const rectHeight = rect.y2 - rect.y1;
  forEachColumnRun(counts, height, (x, top, bottom) => {
    if (x < rect.x1 || x >= rect.x2) return;
    const column = (x - rect.x1) * rectHeight;
    writer.add(column + Math.max(top, rect.y1) - rect.y1, column + Math.min(bottom, rect.y2) - rect.y1);
  });
  return writer.finish((rect.x2 - rect.x1) * rectHeight);
}

/** A mask of a rectangle's size as a mask of the whole picture; nothing outside the rectangle is inside. */
export function place(
  counts: Uint32Array,
  rect: Rect,
  picture: { readonly width: number; readonly height: number },
): Uint32Array {
  const writer = new RunWriter();
  forEachColumnRun(counts, rect.y2 - rect.y1, (x, top, bottom) => {
    const column = (x + rect.x1) * picture.height + rect.y1;
    writer.add(column + top, column + bottom);
  });
  return writer.finish(picture.width * picture.height);
}

/** Calls back for every piece of a run that lies in one column, in ascending order; `bottom` is not included. */
export function forEachColumnRun(
  counts: Uint32Array,
  height: number,
  visit: (x: number, top: number, bottom: number) => void,
): void {
  let at = 0;
  for (let i = 0; i < counts.length; i++) {
    const end = at + (counts[i] as number);
    if (i % 2 === 1) {
      for (let start = at; start < end; ) {
        const x = Math.floor(start / height);
        const stop = Math.min(end, (x + 1) * height);
        visit(x, start - x * height, stop - x * height);
        start = stop;
      }
    }
    at = end;
  }
}
