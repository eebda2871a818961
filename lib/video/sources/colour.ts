import type { NativePixels } from "../../native/addon.js";

/** How the planes of a picture are to be read. */
export type Yuv = NonNullable<NativePixels["yuv"]>;

/**
 * How frames leave a decoder: planes of 8-bit 4:2:0 as they are stored, for the addon to convert, where the addon knows
 * their matrix; everything else (10 bits, 4:2:2, 4:4:4, palettes, BT.2020) as RGB that FFmpeg converts.
 *
 * Frames that do not say their matrix are BT.601, as FFmpeg itself takes them; those that do not say their range are
 * limited, unless the format is one of JPEG's.
 *
 * @param format pixel format in FFmpeg's words, such as `yuv420p`
 * @param matrix `bt709`, `smpte170m`, `bt470bg`, … or `unknown`
 * @param range `tv`, `pc` or `unknown`
 */
export function planesOf(format: string, matrix: string, range: string): Yuv | undefined {
  if (!["yuv420p", "yuvj420p", "nv12", "nv21"].includes(format)) return undefined;
  const full = range === "pc" || format === "yuvj420p";
  if (matrix === "bt709") return { matrix: "bt709", range: full ? "full" : "limited" };
  if (!["smpte170m", "bt470bg", "unknown", "unspecified", "reserved", ""].includes(matrix)) return undefined;
  return { matrix: "bt601", range: full ? "full" : "limited" };
}

/** Bytes of one picture. */
export function frameBytes(width: number, height: number, yuv: Yuv | undefined): number {
  if (yuv === undefined) return width * height * 3;
  return width * height + 2 * Math.ceil(width / 2) * Math.ceil(height / 2);
}

/** Scaling that FFmpeg does for us is to be exact, whatever the processor. */
export const SCALER_FLAGS = "bicubic+accurate_rnd+full_chroma_int";
