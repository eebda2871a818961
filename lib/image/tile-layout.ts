import { describe } from "../describe.js";
import { Sam3Error } from "../errors.js";
import type { Rect } from "../masks/runs.js";
import { readOptions } from "../read-options.js";

/** How a very large picture is cut; everything is optional. */
export interface TileOptions {
  /** Side of a tile in pixels of the picture, 32 or more; the model's resolution when left out. */
  readonly size?: number | undefined;
  /** Pixels that neighbours share, up to half the size; a quarter of it when left out. */
  readonly overlap?: number | undefined;
}

const LEAST_SIZE = 32;
const MOST_TILES = 1024;

/**
 * The options with their defaults.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT`
 */
export function readTileOptions(
  options: TileOptions,
  resolution: number,
): { readonly size: number; readonly overlap: number } {
  const { size = resolution, overlap = Math.round(size / 4) } = readOptions("tiles", options, [
    "size",
    "overlap",
  ]);
  if (!Number.isInteger(size) || size < LEAST_SIZE) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `tiles.size is ${describe(size)}; it must be a whole number of pixels, ${LEAST_SIZE} or more.`,
    );
  }
  if (!Number.isInteger(overlap) || overlap < 1 || overlap > size / 2) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `tiles.overlap is ${describe(overlap)}; it must be a whole number of pixels from 1 to half the tile's ${size}.`,
    );
  }
  return { size, overlap };
}

/**
 * Tiles of one size that cover a picture, row by row, neighbours sharing at least `overlap` pixels; none for a picture
 * that is no larger than one.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT` for more than 1,024 tiles
 */
export function layOutTiles(
  { width, height }: { readonly width: number; readonly height: number },
  { size, overlap }: { readonly size: number; readonly overlap: number },
): Rect[] {
  const columns = starts(width, size, overlap);
  const rows = starts(height, size, overlap);
  const count = columns.length * rows.length;
  if (count > MOST_TILES) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `A picture of ${width}×${height} pixels has ${count} tiles of ${size} pixels; ${MOST_TILES} is the limit. Take larger tiles or a smaller overlap.`,
    );
  }
  if (count === 1) return [];
  return rows.flatMap((y1) =>
    columns.map((x1) => ({ x1, y1, x2: Math.min(width, x1 + size), y2: Math.min(height, y1 + size) })),
  );
}

/** Where tiles begin along one side, spread evenly from edge to edge. */
function starts(length: number, size: number, overlap: number): number[] {
  if (length <= size) return [0];
  const count = Math.ceil((length - overlap) / (size - overlap));
  return Array.from({ length: count }, (_, i) => Math.floor((i * (length - size)) / (count - 1)));
}
