import { CALL_OPTIONS, type CallOptions } from "../call.js";
import { describe } from "../describe.js";
import { Sam3Error } from "../errors.js";
import { readOptions } from "../read-options.js";

/** How `segmentObject` makes its masks, and what stops it. */
export interface ObjectOptions extends CallOptions {
  /** Logit above which a pixel belongs to the object; the bundle's own, 0 unless it says otherwise, when left out. */
  readonly maskThreshold?: number | undefined;
  /**
   * Holes of at most so many cells of the low-resolution mask are filled; none when left out. (The official predictor
   * fills holes of up to 256 of its 288 × 288 cells.)
   */
  readonly maxHoleArea?: number | undefined;
  /** Specks of at most so many cells of the low-resolution mask are removed; none when left out. */
  readonly maxSprinkleArea?: number | undefined;
}

/** How masks are made, with nothing left out. */
export interface MaskSettings {
  readonly maskThreshold: number;
  readonly maxHoleArea: number;
  readonly maxSprinkleArea: number;
}

const NAMES = ["maskThreshold", "maxHoleArea", "maxSprinkleArea", ...CALL_OPTIONS];

/**
 * The options with their defaults.
 *
 * @throws {Sam3Error} `INVALID_ARGUMENT`
 */
export function readObjectOptions(options: ObjectOptions, maskThreshold: number): MaskSettings {
  const given = readOptions("segmentObject", options, NAMES);
  const read = {
    maskThreshold: given.maskThreshold ?? maskThreshold,
    maxHoleArea: given.maxHoleArea ?? 0,
    maxSprinkleArea: given.maxSprinkleArea ?? 0,
  };
  if (!Number.isFinite(read.maskThreshold)) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `maskThreshold is ${describe(read.maskThreshold)}; it must be a finite number, a logit.`,
    );
  }
  for (const name of ["maxHoleArea", "maxSprinkleArea"] as const) {
    if (!(Number.isFinite(read[name]) && read[name] >= 0)) {
      throw new Sam3Error(
        "INVALID_ARGUMENT",
        `${name} is ${describe(read[name])}; it must be a number of cells, 0 or more.`,
      );
    }
  }
  return read;
}
