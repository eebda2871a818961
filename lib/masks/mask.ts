import sharp from "sharp";
import { Sam3Error } from "../errors.js";
import { INSPECT } from "../inspect.js";
import { type MaskPolygon, ringArea, simplifyRing, tracePolygons } from "./polygons.js";
import { type CocoRle, checkCounts, countsFromBitmap, decodeCounts, encodeCounts } from "./rle.js";
import { areaOf, overlapOf, unite } from "./runs.js";

/** `[x1, y1, x2, y2]` in pixels of the original picture; x2 and y2 are not included. */
export type Box = [x1: number, y1: number, x2: number, y2: number];

const MAX_PIXELS = 2 ** 31 - 1;

/**
 * Which pixels of a picture belong to one object. Holds run lengths only, a few kilobytes whatever the picture's size;
 * every other form is made when asked for.
 *
 * @example
 * ```ts
 * const { mask } = result.objects[0];
 * mask.area;                       // pixels inside
 * JSON.stringify(mask.toRle());    // COCO
 * await writeFile("mask.png", await mask.toPng());
 * ```
 */
export class Mask {
  /** Width of the picture in pixels. */
  readonly width: number;
  /** Height of the picture in pixels. */
  readonly height: number;
  /** COCO run lengths: down the columns, left to right, starting with a run of background. */
  readonly #counts: Uint32Array;
  #area: number | undefined;
  #box: Box | undefined;
  #starts: Float64Array | undefined;

  private constructor(counts: Uint32Array, width: number, height: number, area?: number) {
    this.#counts = counts;
    this.width = width;
    this.height = height;
    this.#area = area;
  }

  /**
   * A mask from run lengths that are known to fit the size, as the addon makes them.
   *
   * @internal
   */
  static trusted(counts: Uint32Array, width: number, height: number, area: number): Mask {
    return new Mask(counts, width, height, area);
  }

  /**
   * Reads COCO run lengths: the compressed string, or the numbers themselves.
   *
   * @param rle `size` is `[height, width]`
   * @throws {Sam3Error} `INVALID_ARGUMENT` when they are damaged or do not fit their size
   * @example
   * ```ts
   * const mask = Mask.fromRle({ size: [480, 640], counts: "PPYo0" });
   * ```
   */
  static fromRle(rle: {
    readonly size: readonly number[];
    readonly counts: string | ArrayLike<number>;
  }): Mask {
    if (typeof rle !== "object" || rle === null || !Array.isArray(rle.size) || rle.size.length !== 2) {
      throw new Sam3Error(
        "INVALID_ARGUMENT",
        "Mask.fromRle takes { size: [height, width], counts: string or numbers }.",
      );
    }
    const [height, width] = rle.size as [number, number];
    checkSize(width, height);
    const pixels = width * height;
    const { counts } = rle;
    if (typeof counts === "string") return new Mask(decodeCounts(counts, pixels), width, height);
    if (typeof counts === "object" && counts !== null && typeof counts.length === "number") {
      return new Mask(checkCounts(counts, pixels), width, height);
    }
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      "counts must be COCO's compressed string or a list of run lengths.",
    );
  }

  /**
   * Reads a row-major picture with one number per pixel: 0 is background, anything else is inside.
   *
   * @throws {Sam3Error} `INVALID_ARGUMENT` when the length is not width × height
   */
  static fromBitmap(bitmap: ArrayLike<number>, width: number, height: number): Mask {
    checkSize(width, height);
    if (bitmap.length !== width * height) {
      throw new Sam3Error(
        "INVALID_ARGUMENT",
        `A ${width}×${height} bitmap has ${width * height} values, this one has ${bitmap.length}.`,
      );
    }
    return new Mask(countsFromBitmap(bitmap, width, height), width, height);
  }

  /** Pixels inside. */
  get area(): number {
    this.#area ??= areaOf(this.#counts);
    return this.#area;
  }

  /** The smallest box that holds every pixel, `[x1, y1, x2, y2]` with x2 and y2 not included; four zeros when empty. */
  get box(): Box {
    this.#box ??= this.#tightBox();
    return [...this.#box];
  }

  /**
   * COCO run lengths with the compressed string, equal to what pycocotools writes.
   *
   * @example
   * ```ts
   * mask.toRle(); // { size: [480, 640], counts: "PPYo0…" }
   * ```
   */
  toRle(): CocoRle {
    return { size: [this.height, this.width], counts: encodeCounts(this.#counts) };
  }

  /** The run lengths themselves, as a copy: down the columns, starting with background (0 allowed). */
  toCounts(): Uint32Array {
    return this.#counts.slice();
  }

  /**
   * Outlines and holes as rings of pixel corners: pixel (x, y) is the square from (x, y) to (x + 1, y + 1), so without
   * tolerance the rings enclose exactly `area`. Pixels that touch only at a corner belong to separate pieces. Rings are
   * not closed by repeating the first corner; outlines run clockwise on screen, holes counter-clockwise.
   *
   * @param options.tolerance how far, in pixels, an outline may move to save corners (0 = exact); pieces and holes
   *   smaller than its square are left out
   * @throws {Sam3Error} `INVALID_ARGUMENT` when the tolerance is negative or not a number
   */
  toPolygons(options: { tolerance?: number } = {}): MaskPolygon[] {
    const { tolerance = 0 } = options;
    if (typeof tolerance !== "number" || !(tolerance >= 0)) {
      throw new Sam3Error(
        "INVALID_ARGUMENT",
        `tolerance must be 0 or more pixels, not ${String(tolerance)}.`,
      );
    }
    const exact = tracePolygons(this.#counts, this.height);
    if (tolerance === 0) return exact;
    const polygons: MaskPolygon[] = [];
    for (const polygon of exact) {
      const outer = simplifyRing(polygon.outer, tolerance);
      if (outer.length < 3 || ringArea(outer) < tolerance ** 2) continue;
      const holes = polygon.holes
        .map((hole) => simplifyRing(hole, tolerance))
        .filter((hole) => hole.length >= 3 && -ringArea(hole) >= tolerance ** 2);
      polygons.push({ outer, holes });
    }
    return polygons;
  }

  /** Row-major 0 and 1, one byte per pixel, `width * height` long. */
  toBitmap(): Uint8Array {
    const { width, height } = this;
    const out = new Uint8Array(width * height);
    let at = 0;
    for (let i = 0; i < this.#counts.length; i++) {
      const run = this.#counts[i] as number;
      if (i % 2 === 1) {
        let x = Math.floor(at / height);
        let y = at - x * height;
        for (let left = run; left > 0; x++, y = 0) {
          const end = Math.min(height, y + left);
          left -= end - y;
          for (let o = y * width + x; y < end; y++, o += width) out[o] = 1;
        }
      }
      at += run;
    }
    return out;
  }

  /**
   * A PNG with one 8-bit channel: 0 outside, 255 inside.
   *
   * @throws {Sam3Error} `OUT_OF_MEMORY` when the picture cannot be held
   */
  async toPng(): Promise<Buffer> {
    const { width, height } = this;
    // Filled column by column this is the picture on its side; sharp turns it, off the event loop.
    const turned = new Uint8Array(width * height);
    let at = 0;
    for (let i = 0; i < this.#counts.length; i++) {
      const run = this.#counts[i] as number;
      if (i % 2 === 1) turned.fill(255, at, at + run);
      at += run;
    }
    return sharp(turned, { raw: { width: height, height: width, channels: 1 }, limitInputPixels: false })
      .flip()
      .rotate(90)
      .toColourspace("b-w")
      .png({ compressionLevel: 6, palette: false })
      .toBuffer();
  }

  /**
   * Intersection over union with another mask of the same picture, 0–1; two empty masks have 0.
   *
   * @throws {Sam3Error} `INVALID_ARGUMENT` when the sizes differ
   */
  iou(other: Mask): number {
    const both = this.overlap(other);
    const either = this.area + other.area - both;
    return either === 0 ? 0 : both / either;
  }

  /**
   * Pixels that are inside this mask and another one of the same picture.
   *
   * @throws {Sam3Error} `INVALID_ARGUMENT` when the sizes differ
   */
  overlap(other: Mask): number {
    this.#assertSameSize(other);
    const [ax1, ay1, ax2, ay2] = this.box;
    const [bx1, by1, bx2, by2] = other.box;
    if (ax1 >= bx2 || bx1 >= ax2 || ay1 >= by2 || by1 >= ay2) return 0;
    return overlapOf(this.#counts, other.#counts);
  }

  /**
   * The mask of what is inside this one, another one of the same picture, or both.
   *
   * @throws {Sam3Error} `INVALID_ARGUMENT` when the sizes differ
   */
  union(other: Mask): Mask {
    this.#assertSameSize(other);
    return new Mask(unite(this.#counts, other.#counts), this.width, this.height);
  }

  /** Whether the pixel that holds the point (x, y) is inside; false outside the picture. */
  contains(x: number, y: number): boolean {
    const column = Math.floor(x);
    const row = Math.floor(y);
    if (!(column >= 0 && row >= 0 && column < this.width && row < this.height)) return false;
    const at = column * this.height + row;
    this.#starts ??= runStarts(this.#counts);
    // The last run that starts at or before the pixel; empty runs start where the next one does.
    let low = 0;
    let high = this.#starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#starts[middle] as number) <= at) low = middle;
      else high = middle - 1;
    }
    return low % 2 === 1;
  }

  /** What `JSON.stringify` writes: COCO run lengths. */
  toJSON(): CocoRle {
    return this.toRle();
  }

  [INSPECT](): string {
    return `Mask { ${this.width}×${this.height}, ${this.area} px, box [${this.box.join(", ")}] }`;
  }

  #assertSameSize(other: Mask): void {
    if (other.width !== this.width || other.height !== this.height) {
      throw new Sam3Error(
        "INVALID_ARGUMENT",
        `Masks of ${this.width}×${this.height} and ${other.width}×${other.height} belong to different pictures.`,
      );
    }
  }

  #tightBox(): Box {
    const { height } = this;
    let x1 = Number.POSITIVE_INFINITY;
    let y1 = Number.POSITIVE_INFINITY;
    let x2 = 0;
    let y2 = 0;
    let at = 0;
    for (let i = 0; i < this.#counts.length; i++) {
      const run = this.#counts[i] as number;
      if (i % 2 === 1 && run > 0) {
        const first = Math.floor(at / height);
        const last = Math.floor((at + run - 1) / height);
        x1 = Math.min(x1, first);
        x2 = Math.max(x2, last + 1);
        if (first === last) {
          y1 = Math.min(y1, at - first * height);
          y2 = Math.max(y2, at + run - first * height);
        } else {
          y1 = 0;
          y2 = height;
        }
      }
      at += run;
    }
    return x2 === 0 ? [0, 0, 0, 0] : [x1, y1, x2, y2];
  }
}

function checkSize(width: number, height: number): void {
  const whole = Number.isInteger(width) && Number.isInteger(height) && width > 0 && height > 0;
  if (!whole || width * height > MAX_PIXELS) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `A mask's width and height must be whole, above 0 and at most ${MAX_PIXELS} pixels together, not ${String(width)}×${String(height)}.`,
    );
  }
}

function runStarts(counts: Uint32Array): Float64Array {
  const starts = new Float64Array(counts.length);
  for (let i = 0, at = 0; i < counts.length; i++) {
    starts[i] = at;
    at += counts[i] as number;
  }
  return starts;
}
