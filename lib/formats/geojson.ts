import type { Box } from "../masks/mask.js";
import type { MaskPolygon, Ring } from "../masks/polygons.js";
import { readOptions } from "../read-options.js";
import { type FoundPicture, groupByPicture } from "./found-picture.js";

/** How GeoJSON is written; everything is optional. */
export interface GeoJsonOptions {
  /** Pixels an outline may move to save corners; 0 (exact, along pixel edges) when left out. */
  readonly tolerance?: number | undefined;
}

/** A closed ring: the first position is repeated at the end. */
export type GeoJsonRing = readonly (readonly [x: number, y: number])[];

/** One object: a Polygon, a MultiPolygon where it has several pieces, or no geometry where its mask has no pixels. */
export interface GeoJsonFeature {
  readonly type: "Feature";
  /** The tight box `[x1, y1, x2, y2]`; x2 and y2 not included. */
  readonly bbox: Box;
  readonly geometry:
    | { readonly type: "Polygon"; readonly coordinates: readonly GeoJsonRing[] }
    | { readonly type: "MultiPolygon"; readonly coordinates: readonly (readonly GeoJsonRing[])[] }
    | null;
  readonly properties: {
    readonly file: string;
    readonly text: string;
    readonly score: number;
    /** The model's box. */
    readonly box: Box;
    /** Pixels inside the mask. */
    readonly area: number;
  };
}

/** A GeoJSON document whose positions are pixels of the picture: x to the right, y down, from the top left corner. */
export interface GeoJsonCollection {
  readonly type: "FeatureCollection";
  readonly features: readonly GeoJsonFeature[];
}

/**
 * Outlines of every object as GeoJSON. The positions are pixels, not degrees, which RFC 7946 leaves to those who agree
 * on it. Taken as numbers, outer rings run counter-clockwise and holes clockwise, as its right-hand rule wants; a
 * screen, where y points down, shows them the other way round.
 *
 * Done at once and on the event loop, as `JSON.stringify` is: about a millisecond for an object. In a server, write
 * large data sets picture by picture or in a worker.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT` for options that cannot be
 * @example
 * ```ts
 * await writeFile("found.geojson", JSON.stringify(result.toGeoJson({ tolerance: 1 })));
 * ```
 */
export function toGeoJson(results: readonly FoundPicture[], options: GeoJsonOptions = {}): GeoJsonCollection {
  const { tolerance = 0 } = readOptions("toGeoJson", options, ["tolerance"]);
  const pictures = groupByPicture(results);
  const features = pictures.flatMap(({ fileName, objects }) =>
    objects.map(({ text, score, box, mask }): GeoJsonFeature => {
      const properties = { file: fileName, text, score, box, area: mask.area };
      return {
        type: "Feature",
        bbox: mask.box,
        geometry: geometryOf(mask.toPolygons({ tolerance })),
        properties,
      };
    }),
  );
  return { type: "FeatureCollection", features };
}

function geometryOf(polygons: readonly MaskPolygon[]): GeoJsonFeature["geometry"] {
  const pieces = polygons.map(({ outer, holes }) => [outer, ...holes].map(closed));
  const [first] = pieces;
  if (first === undefined) return null;
  return pieces.length === 1
    ? { type: "Polygon", coordinates: first }
    : { type: "MultiPolygon", coordinates: pieces };
}

function closed(ring: Ring): GeoJsonRing {
  return [...ring, ring[0] as Ring[number]];
}
