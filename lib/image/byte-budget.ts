/** Bytes that may be held at a time. One who holds something alone may hold as much as it takes. */
export class ByteBudget {
  readonly maxBytes: number;
  #held = 0;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  get heldBytes(): number {
    return this.#held;
  }

  /** Sets bytes aside and gives how to give them back, once; undefined where there is no room. */
  take(bytes: number): (() => void) | undefined {
    if (this.#held > 0 && this.#held + bytes > this.maxBytes) return undefined;
    this.#held += bytes;
    let over = false;
    return () => {
      if (over) return;
      over = true;
      this.#held -= bytes;
    };
  }
}
