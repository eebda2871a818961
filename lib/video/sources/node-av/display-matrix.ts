/** What turns a stored frame into the one that is shown. */
export interface Turn {
  /** Degrees clockwise. */
  readonly rotation: 0 | 90 | 180 | 270;
  /** Names of FFmpeg's filters, in order. */
  readonly filters: readonly (readonly [name: string, args: string])[];
}

const NONE: Turn = { rotation: 0, filters: [] };

/**
 * Reads a container's display matrix, nine numbers of 32 bits, as ffmpeg's own `autorotate` does. Angles between
 * quarters of a circle are not turned.
 */
export function readDisplayMatrix(bytes: Buffer | null): Turn {
  if (bytes === null || bytes.length < 36) return NONE;
  // In the order of this machine's bytes.
  const [a = 0, b = 0, , c = 0, d = 0] = new Int32Array(new Uint8Array(bytes.subarray(0, 36)).buffer);
  const scale = [Math.hypot(a, c), Math.hypot(b, d)] as const;
  if (scale[0] === 0 || scale[1] === 0) return NONE;
  const degrees = (Math.atan2(b / scale[1], a / scale[0]) * 180) / Math.PI;
  const turns = ((Math.round(degrees / 90) % 4) + 4) % 4;
  if (Math.abs(degrees / 90 - Math.round(degrees / 90)) > 1 / 90) return NONE;
  if (turns === 1) return { rotation: 90, filters: [["transpose", c > 0 ? "cclock_flip" : "clock"]] };
  if (turns === 3) return { rotation: 270, filters: [["transpose", c < 0 ? "clock_flip" : "cclock"]] };
  const flips: (readonly [string, string])[] = [];
  if (turns === 2) {
    if (a < 0) flips.push(["hflip", ""]);
    if (d < 0) flips.push(["vflip", ""]);
    return { rotation: 180, filters: flips };
  }
  return d < 0 ? { rotation: 0, filters: [["vflip", ""]] } : NONE;
}
