/** Whatever holds memory of a device until it is told not to. */
export interface Handle {
  readonly disposed: boolean;
  dispose(): void;
}

/** Handles made on the way to something: they go when it is over, however it ends, except those that are kept. */
export class Handles {
  readonly #held = new Set<Handle>();

  /** Takes charge of a handle. */
  add<T extends Handle>(handle: T): T {
    this.#held.add(handle);
    return handle;
  }

  /** Takes charge of several. */
  addAll<T extends Handle>(handles: readonly T[]): readonly T[] {
    for (const handle of handles) this.add(handle);
    return handles;
  }

  /** Gives charge of a handle to somebody else. */
  keep<T extends Handle>(handle: T): T {
    this.#held.delete(handle);
    return handle;
  }

  dispose(): void {
    for (const handle of this.#held) disposeOnce(handle);
    this.#held.clear();
  }
}

/** Disposes a handle that may be disposed already. */
export function disposeOnce(handle: Handle): void {
  if (!handle.disposed) handle.dispose();
}
