/** A set of frames that mostly follow each other, as spans `[first, last]` that do not touch. */
export class FrameSpans {
  readonly #spans: [number, number][];

  constructor(spans: readonly (readonly [number, number])[] = []) {
    this.#spans = spans.map(([first, last]) => [first, last]);
  }

  has(frame: number): boolean {
    return this.#spans.some(([first, last]) => first <= frame && frame <= last);
  }

  add(frame: number): void {
    if (this.has(frame)) return;
    const before = this.#spans.findIndex(([, last]) => last === frame - 1);
    const after = this.#spans.findIndex(([first]) => first === frame + 1);
    const [left, right] = [this.#spans[before], this.#spans[after]];
    if (left) left[1] = right ? right[1] : frame;
    else if (right) right[0] = frame;
    else this.#spans.push([frame, frame]);
    if (left && right) this.#spans.splice(after, 1);
  }

  /** In no particular order. */
  get spans(): readonly (readonly [number, number])[] {
    return this.#spans;
  }
}
