import type { FrameResult } from "../video/frame-result.js";
import type { VideoInfo } from "../video/sources/video-source.js";
import { table } from "./table.js";

interface Seen {
  readonly text: string;
  score: number;
  frames: number;
  first: number;
  last: number;
}

/** What was tracked, for people. */
export class TrackSummary {
  readonly #objects = new Map<number, Seen>();
  readonly #began = performance.now();
  #frames = 0;

  add({ index, objects }: FrameResult): void {
    this.#frames++;
    for (const { id, text, score, mask } of objects) {
      if (mask.area === 0) continue;
      const seen = this.#objects.get(id) ?? { text, score, frames: 0, first: index, last: index };
      seen.score = score;
      seen.frames++;
      seen.first = Math.min(seen.first, index);
      seen.last = Math.max(seen.last, index);
      this.#objects.set(id, seen);
    }
  }

  /** Frames per second since tracking began. */
  get rate(): number {
    return this.#frames / Math.max(1e-3, (performance.now() - this.#began) / 1000);
  }

  toText({ width, height, fps, frameCount }: VideoInfo): string {
    const count = this.#objects.size;
    const of = frameCount === null || frameCount === this.#frames ? "" : ` of ${frameCount}`;
    const rate = fps === null ? "" : ` at ${fps.toFixed(2)} frames/s`;
    const head = `${count} object${count === 1 ? "" : "s"} in ${this.#frames}${of} frames of ${width} × ${height} pixels${rate}; tracked ${this.rate.toFixed(1)} frames/s\n`;
    if (count === 0) return head;
    const rows = [...this.#objects]
      .sort(([a], [b]) => a - b)
      .map(([id, { text, score, frames, first, last }]) => [
        String(id),
        text.length > 40 ? `${text.slice(0, 39)}…` : text,
        score.toFixed(2),
        String(frames),
        String(first),
        String(last),
      ]);
    return head + table([["id", "text", "score", "frames", "first", "last"], ...rows], [0, 2, 3, 4, 5]);
  }
}
