import { describe } from "../describe.js";
import { Sam3Error } from "../errors.js";
import { Mask } from "../masks/mask.js";

/**
 * Run lengths of a mask that is given as a prompt.
 *
 * @throws {Sam3Error} `INVALID_MASK` where it is none, has another size than the video, or shows nothing
 */
export function readMask(
  given: unknown,
  { width, height }: { readonly width: number; readonly height: number },
): Uint32Array {
  const mask = given instanceof Mask ? given : fromRle(given);
  if (mask.width !== width || mask.height !== height) {
    throw new Sam3Error(
      "INVALID_MASK",
      `The mask has ${mask.width}×${mask.height} pixels, the video ${width}×${height}.`,
    );
  }
  if (mask.area === 0) throw new Sam3Error("INVALID_MASK", "The mask is empty, so it shows no object.");
  return mask.toCounts();
}

function fromRle(given: unknown): Mask {
  try {
    return Mask.fromRle(given as never);
  } catch (cause) {
    const why = cause instanceof Error ? `: ${cause.message}` : "";
    throw new Sam3Error(
      "INVALID_MASK",
      `The mask is ${describe(given)}; it must be a Mask or { size: [height, width], counts }${why}`,
      { cause },
    );
  }
}
