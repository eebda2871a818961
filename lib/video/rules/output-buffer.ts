/** A frame's result, with whatever else the caller keeps in it. */
export interface HeldFrame {
  readonly objects: readonly { readonly id: number }[];
}

/**
 * Results that wait until hotstart cannot take an object of theirs back any more. Plain data: it can be saved with a
 * session.
 */
export interface OutputBuffer<T extends HeldFrame> {
  /** Oldest first. */
  readonly waiting: readonly T[];
}

/** A buffer that holds nothing. */
export const EMPTY_BUFFER: OutputBuffer<never> = { waiting: [] };

/**
 * Takes a frame's result, drops what was taken back from all that wait, and gives what may leave: with a delay of n a
 * frame leaves when the n-th frame counted from it has come (at once with 0 or 1).
 */
export function holdFrame<T extends HeldFrame>(
  buffer: OutputBuffer<T>,
  frame: T,
  removed: readonly number[],
  delay: number,
): { readonly buffer: OutputBuffer<T>; readonly leaving: readonly T[] } {
  const waiting = [...buffer.waiting, frame].map((held) => withoutObjects(held, removed));
  const staying = Math.max(0, delay - 1);
  const leaving = waiting.splice(0, Math.max(0, waiting.length - staying));
  return { buffer: { waiting }, leaving };
}

/** Everything that waits, at the end of a pass. */
export function releaseFrames<T extends HeldFrame>(
  buffer: OutputBuffer<T>,
): { readonly buffer: OutputBuffer<T>; readonly leaving: readonly T[] } {
  return { buffer: EMPTY_BUFFER, leaving: buffer.waiting };
}

function withoutObjects<T extends HeldFrame>(frame: T, ids: readonly number[]): T {
  if (!frame.objects.some(({ id }) => ids.includes(id))) return frame;
  return { ...frame, objects: frame.objects.filter(({ id }) => !ids.includes(id)) };
}
