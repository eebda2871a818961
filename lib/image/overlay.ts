import sharp from "sharp";
import { readSignal, throwIfAborted } from "../abort.js";
import { type Caller, captureCaller, forCaller } from "../caller.js";
import { describe } from "../describe.js";
import { Sam3Error } from "../errors.js";
import { type DrawnObject, type DrawnPoint, overlaySvg } from "../masks/overlay-svg.js";
import { readOptions } from "../read-options.js";
import { decodeImage } from "./decode-image.js";
import { type ImageInput, type ImageLimits, takeImage } from "./take-image.js";

/** How the overlay looks; everything is optional. */
export interface OverlayOptions {
  /** The picture to draw on, where the original input is gone; it must have the size of the original. */
  readonly image?: ImageInput | undefined;
  /** Longest side of the answer in pixels; a larger picture is made smaller, never larger. */
  readonly maxSide?: number | undefined;
  /** `"png"` when left out. */
  readonly format?: "png" | "jpeg" | "webp" | undefined;
  /** Draw the model's boxes; true when left out. */
  readonly boxes?: boolean | undefined;
  /** Write text and score at each object, where the system has a font; true when left out. */
  readonly labels?: boolean | undefined;
  /** Draw the clicks of an object prompt; true when left out. */
  readonly points?: boolean | undefined;
  /** How much a mask covers, 0–1; 0.45 when left out. */
  readonly opacity?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const NAMES = ["image", "maxSide", "format", "boxes", "labels", "points", "opacity", "signal"];

/** Draws objects on their picture: one SVG over the pixels, rendered by sharp off the event loop. */
export function drawOverlay(
  source: ImageInput,
  size: { readonly width: number; readonly height: number },
  drawn: { readonly objects: readonly DrawnObject[]; readonly points: readonly DrawnPoint[] },
  options: OverlayOptions,
  limits: ImageLimits,
  entry: (...args: never[]) => unknown,
): Promise<Buffer> {
  const caller: Caller = captureCaller(entry);
  return forCaller(caller, options?.signal, async () => {
    const { image, maxSide, format, boxes, labels, points, opacity, signal } = checkOptions(options);
    const { objects } = drawn;
    const pixels = await decodeImage(takeImage(image ?? source, limits), limits, signal);
    if (pixels.width !== size.width || pixels.height !== size.height) {
      throw new Sam3Error(
        "INVALID_ARGUMENT",
        `The picture has ${pixels.width}×${pixels.height} pixels now, the objects were found in ${size.width}×${size.height}. Pass the original as overlay({ image }).`,
      );
    }
    const scale = Math.min(1, maxSide / Math.max(size.width, size.height));
    const width = Math.max(1, Math.round(size.width * scale));
    const height = Math.max(1, Math.round(size.height * scale));
    const withText = labels && objects.length > 0 && (await canWriteText());
    const style = { width, height, scale, boxes, labels: withText, opacity };
    const svg = await overlaySvg(objects, { ...style, points: points ? drawn.points : [] });
    throwIfAborted(signal);
    const encoded = await sharp(pixels.data, {
      raw: { width: size.width, height: size.height, channels: 3 },
      limitInputPixels: false,
    })
      .resize(width, height, { fit: "fill" })
      .composite([{ input: Buffer.from(svg), top: 0, left: 0 }])
      .removeAlpha()
      .toFormat(format, format === "jpeg" ? { quality: 92, chromaSubsampling: "4:4:4" } : {})
      .toBuffer();
    throwIfAborted(signal);
    return encoded;
  });
}

function checkOptions(options: OverlayOptions) {
  const {
    maxSide = Number.POSITIVE_INFINITY,
    format = "png",
    opacity = 0.45,
    boxes = true,
    labels = true,
    points = true,
    image,
  } = readOptions("overlay", options, NAMES);
  if (typeof maxSide !== "number" || !(maxSide >= 1)) {
    throw new Sam3Error("INVALID_ARGUMENT", `maxSide is ${describe(maxSide)}; it must be 1 or more pixels.`);
  }
  if (!["png", "jpeg", "webp"].includes(format)) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `format is ${describe(format)}; it must be "png", "jpeg" or "webp".`,
    );
  }
  if (typeof opacity !== "number" || !(opacity >= 0 && opacity <= 1)) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `opacity is ${describe(opacity)}; it must be a number from 0 to 1.`,
    );
  }
  return { image, maxSide, format, opacity, boxes, labels, points, signal: readSignal(options.signal) };
}

/** Whether the system has a font: without one, every letter is drawn as the same box or not at all. */
export async function canWriteText(): Promise<boolean> {
  const draw = (text: string) =>
    sharp(
      Buffer.from(
        `<svg width="24" height="24"><text x="2" y="20" font-size="20" font-family="sans-serif">${text}</text></svg>`,
      ),
    )
      .raw()
      .toBuffer();
  try {
    const [narrow, wide] = await Promise.all([draw("i"), draw("W")]);
    return !narrow.equals(wide);
  } catch {
    return false;
  }
}
