import type { NativeRememberRow, NativeTracked } from "../../native/addon.js";
import type { Handle } from "./handles.js";

/** The handles of an answer; `cleaned` is `masks` where nothing was to be cleaned. */
export function handlesOf({ masks, cleaned, pointers }: NativeTracked): Handle[] {
  return cleaned === masks ? [masks, pointers] : [masks, cleaned, pointers];
}

/** Rows of `rememberObjects` for objects whose masks were taken as they are, each for itself. */
export function seededRows({ masks, pointers, objectScores }: NativeTracked): NativeRememberRow[] {
  return Array.from(objectScores, (objectScore, row) => {
    return { masks, row, pointers, pointerRow: row, objectScore, group: -1 };
  });
}

/** How prompted frames are remembered: masks as yes or no, as after decoding, each object for itself. */
export const AS_PROMPTED = { binarize: true, throughSquare: true, leastKept: null } as const;
