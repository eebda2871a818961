import type { Box } from "../masks/mask.js";
import { areaOf, crop, overlapOf, place, type Rect, unite } from "../masks/runs.js";
import { Turn } from "../masks/turn.js";
import type { NativeObject } from "../native/addon.js";

/** What was found in one tile, in coordinates of the tile. */
export interface TileFindings {
  readonly tile: Rect;
  readonly objects: readonly NativeObject[];
}

/** Two masks, or the boxes of two masks that meet, that agree to this IoU where both could see are one object. */
const SAME_IOU = 0.5;
/** A mask that lies to this part inside another is a piece of it. */
const INSIDE = 0.7;

/** An object as one tile saw it. */
interface Piece extends NativeObject {
  readonly tile: Rect;
  /** Sides on which the mask runs into a border of the tile that is none of the picture. */
  readonly cut: readonly Line[];
}

/** A border of a tile: where it is, across which axis. */
interface Line {
  readonly axis: "x" | "y";
  readonly at: number;
}

/** Pieces of tiles put together, in coordinates of the picture. */
interface Joined extends NativeObject {
  /** It runs into a border beyond which no piece goes on: its end was not seen. */
  readonly open: boolean;
}

/**
 * Makes one list of objects of what was found in overlapping tiles and in the whole picture made small.
 *
 * Pieces of neighbouring tiles whose masks agree in the strip both tiles see are one object. The whole picture decides
 * what no tile saw to its ends: an object of it replaces the pieces inside it that stay cut. Where both saw an object
 * whole, the tiles' mask is kept, which is finer; an object of the whole picture that the tiles saw in other parts is
 * dropped. Scores are the best of what was put together.
 */
export async function mergeTiles(
  tiles: readonly TileFindings[],
  whole: readonly NativeObject[],
  picture: { readonly width: number; readonly height: number },
  signal: AbortSignal,
): Promise<NativeObject[]> {
  const pieces = tiles.flatMap(({ tile, objects }) =>
    objects.filter(({ area }) => area > 0).map((object) => toPiece(object, tile, picture)),
  );
  const turn = new Turn();
  const groups = await groupPieces(pieces, () => turn.pass(signal));
  const joined: Joined[] = [];
  for (const group of groups) {
    joined.push(joinPieces(group, picture));
    await turn.pass(signal);
  }
  const merged = await mergeWhole(joined, whole, () => turn.pass(signal));
  return merged.sort((a, b) => b.score - a.score);
}

function toPiece(object: NativeObject, tile: Rect, picture: { width: number; height: number }): Piece {
  const [width, height] = [tile.x2 - tile.x1, tile.y2 - tile.y1];
  const touches = (rect: Rect) => areaOf(crop(object.counts, height, rect)) > 0;
  const cut: Line[] = [];
  if (tile.x1 > 0 && touches({ x1: 0, y1: 0, x2: 1, y2: height })) cut.push({ axis: "x", at: tile.x1 });
  if (tile.y1 > 0 && touches({ x1: 0, y1: 0, x2: width, y2: 1 })) cut.push({ axis: "y", at: tile.y1 });
  if (tile.x2 < picture.width && touches({ x1: width - 1, y1: 0, x2: width, y2: height }))
    cut.push({ axis: "x", at: tile.x2 });
  if (tile.y2 < picture.height && touches({ x1: 0, y1: height - 1, x2: width, y2: height }))
    cut.push({ axis: "y", at: tile.y2 });
  return { ...object, tile, cut };
}

async function groupPieces(pieces: readonly Piece[], pause: () => Promise<void>): Promise<Piece[][]> {
  const group = pieces.map((_, i) => i);
  const rootOf = (i: number): number => {
    let at = i;
    while (group[at] !== at) at = group[at] as number;
    return at;
  };
  for (const [i, a] of pieces.entries()) {
    for (let j = i + 1; j < pieces.length; j++) {
      const b = pieces[j] as Piece;
      if (a.tile !== b.tile && rootOf(i) !== rootOf(j) && agree(a, b)) {
        group[Math.max(rootOf(i), rootOf(j))] = Math.min(rootOf(i), rootOf(j));
      }
    }
    await pause();
  }
  const groups = new Map<number, Piece[]>();
  pieces.forEach((piece, i) => {
    const root = rootOf(i);
    groups.set(root, [...(groups.get(root) ?? []), piece]);
  });
  return [...groups.values()];
}

/** Whether two pieces are the same where both tiles could see. */
function agree(a: Piece, b: Piece): boolean {
  const strip = {
    x1: Math.max(a.tile.x1, b.tile.x1),
    y1: Math.max(a.tile.y1, b.tile.y1),
    x2: Math.min(a.tile.x2, b.tile.x2),
    y2: Math.min(a.tile.y2, b.tile.y2),
  };
  if (strip.x1 >= strip.x2 || strip.y1 >= strip.y2) return false;
  const [inA, inB] = [a, b].map(({ counts, tile }) =>
    crop(counts, tile.y2 - tile.y1, {
      x1: strip.x1 - tile.x1,
      y1: strip.y1 - tile.y1,
      x2: strip.x2 - tile.x1,
      y2: strip.y2 - tile.y1,
    }),
  ) as [Uint32Array, Uint32Array];
  const both = overlapOf(inA, inB);
  return both > 0 && both >= SAME_IOU * (areaOf(inA) + areaOf(inB) - both);
}

function joinPieces(pieces: readonly Piece[], picture: { width: number; height: number }): Joined {
  const counts = pieces.map((piece) => place(piece.counts, piece.tile, picture)).reduce(unite);
  const boxes = pieces.map(({ box, tile }) => [
    (box[0] as number) + tile.x1,
    (box[1] as number) + tile.y1,
    (box[2] as number) + tile.x1,
    (box[3] as number) + tile.y1,
  ]) as Box[];
  const continues = ({ axis, at }: Line) =>
    pieces.some(({ tile }) => (axis === "x" ? tile.x1 < at && at < tile.x2 : tile.y1 < at && at < tile.y2));
  return {
    score: Math.max(...pieces.map(({ score }) => score)),
    box: Float64Array.of(
      Math.min(...boxes.map(([x1]) => x1)),
      Math.min(...boxes.map(([, y1]) => y1)),
      Math.max(...boxes.map(([, , x2]) => x2)),
      Math.max(...boxes.map(([, , , y2]) => y2)),
    ),
    counts,
    area: areaOf(counts),
    open: pieces.some(({ cut }) => cut.some((line) => !continues(line))),
  };
}

async function mergeWhole(
  joined: readonly Joined[],
  whole: readonly NativeObject[],
  pause: () => Promise<void>,
): Promise<NativeObject[]> {
  const rest = new Map<Joined, NativeObject>(joined.map((object) => [object, object]));
  const kept: NativeObject[] = [];
  for (const large of whole) {
    if (large.area === 0) continue;
    const met = joined
      .map((object) => ({ object, both: overlapOf(object.counts, large.counts) }))
      .filter(({ both }) => both > 0);
    await pause();
    // The boxes too: a small object's mask in the whole picture made small may be too coarse for its own to agree.
    const same = met.find(
      ({ object, both }) =>
        !object.open &&
        (both >= SAME_IOU * (object.area + large.area - both) || boxIou(object.box, large.box) >= SAME_IOU),
    );
    if (same !== undefined) {
      const before = rest.get(same.object);
      if (before !== undefined)
        rest.set(same.object, { ...before, score: Math.max(before.score, large.score) });
      continue;
    }
    const covered = met.reduce((sum, { object, both }) => sum + (object.open ? 0 : both), 0);
    if (covered >= INSIDE * large.area) continue;
    const parts = met.filter(({ object, both }) => object.open && both >= INSIDE * object.area);
    for (const { object } of parts) rest.delete(object);
    kept.push({ ...large, score: Math.max(large.score, ...parts.map(({ object }) => object.score)) });
  }
  return [
    ...kept,
    ...[...rest.values()].map(({ score, box, counts, area }) => ({ score, box, counts, area })),
  ];
}

function boxIou(a: Float64Array, b: Float64Array): number {
  const [ax1, ay1, ax2, ay2] = a as unknown as Box;
  const [bx1, by1, bx2, by2] = b as unknown as Box;
  const width = Math.min(ax2, bx2) - Math.max(ax1, bx1);
  const height = Math.min(ay2, by2) - Math.max(ay1, by1);
  if (width <= 0 || height <= 0) return 0;
  const both = width * height;
  return both / ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - both);
}
