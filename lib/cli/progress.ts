import { formatBytes } from "../libtorch/disk.js";

/** A progress line that redraws itself on a terminal and is silent elsewhere. */
export class ProgressBar {
  readonly #write: ((text: string) => void) | undefined;
  readonly #columns: number;
  #last = 0;
  #shown = false;

  constructor(write: ((text: string) => void) | undefined, columns: number | undefined) {
    this.#write = write;
    // Some terminals say 0.
    this.#columns = columns || 80;
  }

  /** Shows `label` with `done` of `total`; without a total only what is done. At most ten times a second. */
  update(label: string, done: number, total?: number, unit: (value: number) => string = formatBytes): void {
    const now = Date.now();
    const ended = total !== undefined && done >= total;
    if (this.#write === undefined || (now - this.#last < 100 && !ended)) return;
    this.#last = now;
    const amount = total ? `${unit(done)} of ${unit(total)}` : done > 0 ? unit(done) : "";
    const width = 24;
    const filled = total ? Math.round((Math.min(done, total) / total) * width) : 0;
    const bar = total ? ` [${"=".repeat(filled)}${" ".repeat(width - filled)}]` : "";
    const tail = `${bar} ${amount}`.trimEnd();
    const room = Math.max(10, this.#columns - 1 - tail.length);
    const name = label.length > room ? `${label.slice(0, room - 1)}…` : label;
    this.#write(`\r\u001b[2K${name}${tail}`);
    this.#shown = true;
  }

  /** Removes the line. */
  clear(): void {
    if (this.#shown) this.#write?.("\r\u001b[2K");
    this.#shown = false;
  }
}
