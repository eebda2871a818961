import type { CacheOutcome } from "../devices/requests.js";
import { type CocoDataset, type CocoOptions, toCoco } from "../formats/coco.js";
import type { FoundObject, FoundPicture } from "../formats/found-picture.js";
import { type GeoJsonCollection, type GeoJsonOptions, toGeoJson } from "../formats/geojson.js";
import { labelMapPng } from "../formats/label-map.js";
import { toYolo, type YoloOptions } from "../formats/yolo.js";
import type { DrawnPoint } from "../masks/overlay-svg.js";
import type { ImageSource } from "./opened-image.js";
import { drawOverlay, type OverlayOptions } from "./overlay.js";

/** Where the time went, in milliseconds. */
export interface Timings {
  /** Reading, hashing and decoding the picture; 0 decoding where its features were cached. */
  readonly decodeMs: number;
  /** The image encoder; 0 where the features were cached. */
  readonly encodeMs: number;
  /** Reading the prompt, finding the objects and making their masks, waiting included. */
  readonly segmentMs: number;
}

/** What every result is made of. */
export interface ResultFacts {
  /** Size of the original picture in pixels, turned as its EXIF says. */
  readonly image: { readonly width: number; readonly height: number };
  readonly timings: Timings;
  readonly cache: CacheOutcome;
  readonly source: ImageSource;
  readonly maxPixels: number;
}

/** What was found in one picture, and the forms it can be written in. */
export abstract class PictureResult<T extends FoundObject = FoundObject> implements FoundPicture {
  /** Size of the original picture in pixels, turned as its EXIF says. */
  readonly image: { readonly width: number; readonly height: number };
  readonly timings: Timings;
  /** Whether the picture's features came from the cache (`hit`), were made for this call (`miss`), or it is `off`. */
  readonly cache: CacheOutcome;
  abstract readonly objects: readonly T[];
  readonly #source: ImageSource;
  readonly #maxPixels: number;

  /** @internal */
  constructor({ image: { width, height }, timings, cache, source, maxPixels }: ResultFacts) {
    this.image = { width, height };
    this.timings = timings;
    this.cache = cache;
    this.#source = source;
    this.#maxPixels = maxPixels;
  }

  /** Path of the picture's file as it was passed; undefined where it came in memory. */
  get fileName(): string | undefined {
    return this.#source.fileName;
  }

  /** Names the picture by its content: the same for every result of the same bytes. */
  get contentHash(): string {
    return this.#source.contentHash;
  }

  /**
   * The picture with the objects drawn on it. A result keeps no pixels: it reads the input that was passed again, so a
   * file must still be there and bytes must be unchanged. Where they are not, pass `{ image }`.
   *
   * @returns the encoded picture, PNG when no format is given
   * @throws {Sam3Error} what loading a picture throws, and `INVALID_ARGUMENT` when its size is no longer the same
   * @example
   * ```ts
   * await writeFile("found.jpg", await result.overlay({ format: "jpeg", maxSide: 1600 }));
   * ```
   */
  overlay(options: OverlayOptions = {}): Promise<Buffer> {
    const limits = { maxPixels: this.#maxPixels };
    const drawn = { objects: this.objects, points: this.drawnPoints() };
    return drawOverlay(this.#source.input, this.image, drawn, options, limits, this.overlay);
  }

  /**
   * A COCO data set of this picture; `toCoco` makes one of many.
   *
   * @throws {Sam3Error} `INVALID_ARGUMENT` for options that cannot be
   */
  toCoco(options: CocoOptions = {}): CocoDataset {
    return toCoco([this], options);
  }

  /**
   * Outlines as GeoJSON in pixels of the picture; `toGeoJson` says more.
   *
   * @throws {Sam3Error} `INVALID_ARGUMENT` for options that cannot be
   */
  toGeoJson(options: GeoJsonOptions = {}): GeoJsonCollection {
    return toGeoJson([this], options);
  }

  /**
   * YOLO-seg lines, one for each object; `toYolo` says more, and makes the files of many pictures.
   *
   * @throws {Sam3Error} `INVALID_ARGUMENT` for options that cannot be
   */
  toYolo(options: YoloOptions = {}): string {
    return toYolo([this], options).files[0]?.content ?? "";
  }

  /**
   * One grey PNG that says for each pixel which object it belongs to: 0 none, 1 the first of `objects`, and so on; where
   * objects overlap, the better score has the pixel. 8 bits for up to 255 objects, else 16.
   */
  toLabelPng(): Promise<Buffer> {
    return labelMapPng(this.objects, this.image);
  }

  /** Clicks that the overlay shows. */
  protected drawnPoints(): readonly DrawnPoint[] {
    return [];
  }
}
