import { forEachColumnRun } from "./runs.js";

/** A closed ring of corners `[x, y]` in pixels; the first corner is not repeated at the end. */
export type Ring = [x: number, y: number][];

/** One connected piece of a mask: its outline and the holes in it. */
export interface MaskPolygon {
  /** Clockwise as seen on screen. */
  readonly outer: Ring;
  /** Counter-clockwise as seen on screen. */
  readonly holes: Ring[];
}

/** The vertical runs of a mask, column after column; `top` is included, `bottom` is not. */
interface Runs {
  readonly column: Int32Array;
  readonly top: Int32Array;
  readonly bottom: Int32Array;
}

/**
 * Traces the outline of run lengths along pixel edges, so that a ring encloses exactly the mask's pixels: pixel
 * (x, y) is the square from corner (x, y) to corner (x + 1, y + 1). Works on runs, never on single pixels.
 *
 * Every run has two horizontal edges, its top (left to right, number 2r) and its bottom (right to left, 2r + 1), with
 * the inside on the right hand. `next` says which edge follows which; a vertical step joins them where they differ in y.
 */
export function tracePolygons(counts: Uint32Array, height: number): MaskPolygon[] {
  const runs = columnRuns(counts, height);
  const total = runs.top.length;
  if (total === 0) return [];
  const next = new Int32Array(total * 2);
  const piece = new PieceFinder(total);

  let left = 0;
  let leftEnd = 0;
  let right = 0;
  while (leftEnd < total || left < leftEnd) {
    // The next line of interest is right of the left runs, or left of the next column that has runs.
    const line = left < leftEnd ? (runs.column[left] as number) + 1 : (runs.column[leftEnd] as number);
    right = leftEnd;
    let rightEnd = right;
    while (rightEnd < total && runs.column[rightEnd] === line) rightEnd++;
    joinColumns(runs, left, leftEnd, right, rightEnd, next, piece);
    left = right;
    leftEnd = rightEnd;
  }
  return collectRings(runs, next, piece);
}

/** Reduces the corners of a ring (Douglas–Peucker) so that no dropped corner was further than `tolerance` pixels away. */
export function simplifyRing(ring: Ring, tolerance: number): Ring {
  if (tolerance <= 0 || ring.length <= 4) return ring;
  // A ring has no ends: cut it at a corner and at the corner furthest from it.
  let far = 0;
  let farDistance = -1;
  const [ax, ay] = ring[0] as [number, number];
  for (let i = 1; i < ring.length; i++) {
    const [x, y] = ring[i] as [number, number];
    const d = (x - ax) ** 2 + (y - ay) ** 2;
    if (d > farDistance) {
      farDistance = d;
      far = i;
    }
  }
  const closed = [...ring, ring[0] as [number, number]];
  const keep = new Uint8Array(closed.length);
  keep[0] = 1;
  keep[far] = 1;
  const stack: [number, number][] = [
    [0, far],
    [far, closed.length - 1],
  ];
  const limit = tolerance * tolerance;
  for (let span = stack.pop(); span; span = stack.pop()) {
    const [from, to] = span;
    let worst = -1;
    let worstDistance = limit;
    for (let i = from + 1; i < to; i++) {
      const d = squaredDistance(
        closed[i] as [number, number],
        closed[from] as [number, number],
        closed[to] as [number, number],
      );
      if (d > worstDistance) {
        worstDistance = d;
        worst = i;
      }
    }
    if (worst !== -1) {
      keep[worst] = 1;
      stack.push([from, worst], [worst, to]);
    }
  }
  const out = ring.filter((_, i) => keep[i] === 1);
  return out;
}

/** Area inside a ring in pixels: positive for an outline, negative for a hole. */
export function ringArea(ring: Ring): number {
  let twice = 0;
  for (let i = 0; i < ring.length; i++) {
    const [x1, y1] = ring[i] as [number, number];
    const [x2, y2] = ring[(i + 1) % ring.length] as [number, number];
    twice += x1 * y2 - x2 * y1;
  }
  return twice / 2;
}

function columnRuns(counts: Uint32Array, height: number): Runs {
  const column: number[] = [];
  const top: number[] = [];
  const bottom: number[] = [];
  forEachColumnRun(counts, height, (x, from, to) => {
    column.push(x);
    top.push(from);
    bottom.push(to);
  });
  return { column: Int32Array.from(column), top: Int32Array.from(top), bottom: Int32Array.from(bottom) };
}

/** Links the edges that meet on the line between two columns, going down the line from corner to corner. */
function joinColumns(
  runs: Runs,
  left: number,
  leftEnd: number,
  right: number,
  rightEnd: number,
  next: Int32Array,
  piece: PieceFinder,
): void {
  // Twice the run's index, plus one while inside the run: which boundary of this column comes next.
  let l = left * 2;
  let r = right * 2;
  let pending = -1;
  while (l < leftEnd * 2 || r < rightEnd * 2) {
    const yl = l < leftEnd * 2 ? boundary(runs, l) : Number.POSITIVE_INFINITY;
    const yr = r < rightEnd * 2 ? boundary(runs, r) : Number.POSITIVE_INFINITY;
    const leftInside = l % 2 === 1;
    const rightInside = r % 2 === 1;
    if (yl < yr) {
      // A boundary of the left column only: a top edge arrives, or a bottom edge leaves.
      if (leftInside) {
        if (rightInside)
          pending = l; // waits for the edge that comes up from below
        else next[pending] = l;
      } else if (rightInside) {
        next[l] = pending;
        pending = -1;
      } else pending = l;
      l++;
    } else if (yr < yl) {
      // A boundary of the right column only: a top edge leaves, or a bottom edge arrives.
      if (rightInside) {
        if (leftInside) pending = r;
        else next[r] = pending;
      } else if (leftInside) next[pending] = r;
      else pending = r;
      r++;
    } else {
      if (leftInside === rightInside) {
        // Straight on.
        if (leftInside) next[r] = l;
        else next[l] = r;
      } else if (rightInside) {
        // Left begins where right ends: two corners touch. Each ring stays with its own pixels.
        next[r] = pending;
        pending = l;
      } else {
        next[pending] = l;
        pending = r;
      }
      l++;
      r++;
    }
    if (l % 2 === 1 && r % 2 === 1) piece.join(l >> 1, r >> 1);
  }
}

function boundary(runs: Runs, index: number): number {
  return (index % 2 === 0 ? runs.top[index >> 1] : runs.bottom[index >> 1]) as number;
}

function collectRings(runs: Runs, next: Int32Array, piece: PieceFinder): MaskPolygon[] {
  const seen = new Uint8Array(next.length);
  const polygons = new Map<number, { outer: Ring; holes: Ring[] }>();
  for (let first = 0; first < next.length; first++) {
    if (seen[first]) continue;
    const ring: Ring = [];
    for (let edge = first; !seen[edge]; edge = next[edge] as number) {
      seen[edge] = 1;
      const follower = next[edge] as number;
      const run = edge >> 1;
      const y = boundary(runs, edge);
      const followerY = boundary(runs, follower);
      if (followerY === y) continue;
      const x = (runs.column[run] as number) + (edge % 2 === 0 ? 1 : 0);
      ring.push([x, y], [x, followerY]);
    }
    const id = piece.of(first >> 1);
    let polygon = polygons.get(id);
    if (!polygon) {
      polygon = { outer: [], holes: [] };
      polygons.set(id, polygon);
    }
    if (ringArea(ring) > 0) polygon.outer = ring;
    else polygon.holes.push(ring);
  }
  return [...polygons.values()];
}

function squaredDistance(p: [number, number], a: [number, number], b: [number, number]): number {
  const dx = b[0] - a[0];
  const dy = b[1] - a[1];
  const length = dx * dx + dy * dy;
  const t = length === 0 ? 0 : Math.max(0, Math.min(1, ((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / length));
  return (p[0] - a[0] - t * dx) ** 2 + (p[1] - a[1] - t * dy) ** 2;
}

/** Which runs hang together (union–find with path halving). */
class PieceFinder {
  readonly #parent: Int32Array;

  constructor(size: number) {
    this.#parent = Int32Array.from({ length: size }, (_, i) => i);
  }

  of(run: number): number {
    const parent = this.#parent;
    let i = run;
    while (parent[i] !== i) {
      parent[i] = parent[parent[i] as number] as number;
      i = parent[i] as number;
    }
    return i;
  }

  join(a: number, b: number): void {
    const rootA = this.of(a);
    const rootB = this.of(b);
    if (rootA !== rootB) this.#parent[Math.max(rootA, rootB)] = Math.min(rootA, rootB);
  }
}
