import { readSignal } from "../../abort.js";
import { describe } from "../../describe.js";
import { Sam3Error } from "../../errors.js";
import { outOfRange } from "./problems.js";
import type { FramesOptions } from "./video-source.js";

/** Which frames, in whole numbers: `from` to `to`, both included; `to` is below `from` when going backward. */
export interface FrameRange {
  readonly from: number;
  readonly to: number;
  readonly backward: boolean;
  /** More than there are from `from` on are asked for. */
  readonly open: boolean;
  readonly signal: AbortSignal | undefined;
}

/** Checks an index of a frame. Throws `INVALID_ARGUMENT` and `FRAME_OUT_OF_RANGE`. */
export function checkIndex(index: unknown, what: string, name: string, count: number): number {
  if (typeof index !== "number" || !Number.isInteger(index)) {
    throw new Sam3Error("INVALID_ARGUMENT", `${what} is ${describe(index)}; it must be a whole number.`);
  }
  if (index < 0 || index >= count) throw outOfRange(name, index, count);
  return index;
}

/** Reads the options of `frames()`; undefined where no frame is asked for. Throws `INVALID_ARGUMENT` and `FRAME_OUT_OF_RANGE`. */
export function readFrames(
  options: FramesOptions | undefined,
  name: string,
  total: number,
): FrameRange | undefined {
  const { start, direction = "forward", count = Number.POSITIVE_INFINITY, signal } = options ?? {};
  if (direction !== "forward" && direction !== "backward") {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `direction is ${describe(direction)}; it must be "forward" or "backward".`,
    );
  }
  if (
    typeof count !== "number" ||
    !(count >= 0) ||
    !(Number.isInteger(count) || count === Number.POSITIVE_INFINITY)
  ) {
    throw new Sam3Error(
      "INVALID_ARGUMENT",
      `count is ${describe(count)}; it must be a whole number, 0 or more.`,
    );
  }
  const isBackward = direction === "backward";
  const from = start === undefined ? (isBackward ? total - 1 : 0) : checkIndex(start, "start", name, total);
  const to = isBackward ? Math.max(0, from - count + 1) : Math.min(total - 1, from + count - 1);
  const read = readSignal(signal);
  return count === 0
    ? undefined
    : { from, to, backward: isBackward, open: !isBackward && from + count > total, signal: read };
}
