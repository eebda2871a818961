import type { MaskPolygon, Ring } from "../masks/polygons.js";

/**
 * One ring for a piece with holes, or for several pieces: each further ring hangs on the first one by a line that is
 * walked there and back. Such a line encloses nothing, so the area stays what it was, under the even–odd rule as under
 * the non-zero one (holes run the other way round). For formats that know single rings only.
 */
export function joinRings(polygons: readonly MaskPolygon[]): Ring {
  const [first, ...others] = polygons.flatMap(({ outer, holes }) => [outer, ...holes]);
  if (first === undefined) return [];
  const hanging = new Map<number, Ring[]>();
  for (const ring of others) {
    const from = nearestCorners(first, ring);
    const turned = [...ring.slice(from.other), ...ring.slice(0, from.other)];
    hanging.set(from.first, [...(hanging.get(from.first) ?? []), turned]);
  }
  return first.flatMap((corner, i) => {
    const rings = hanging.get(i) ?? [];
    return [corner, ...rings.flatMap((ring) => [...ring, ring[0] as Ring[number], corner])];
  });
}

/** A pair of corners that are close: the first ring's nearest to where the other begins, then the other's nearest to that. */
function nearestCorners(first: Ring, other: Ring): { first: number; other: number } {
  const at = nearest(first, other[0] as Ring[number]);
  return { first: at, other: nearest(other, first[at] as Ring[number]) };
}

function nearest(ring: Ring, [x, y]: Ring[number]): number {
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  ring.forEach(([cx, cy], i) => {
    const distance = (cx - x) ** 2 + (cy - y) ** 2;
    if (distance < least) {
      least = distance;
      best = i;
    }
  });
  return best;
}
