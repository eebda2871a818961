import type { NativeTrackMemory } from "../../native/addon.js";
import type { MemoryBank, MemoryRules } from "../rules/memory-bank.js";
import { type Pass, pruneMemories } from "../rules/prune-memories.js";
import { disposeOnce } from "./handles.js";

/** What a track keeps of one frame. */
export interface TrackMemory {
  readonly memory: NativeTrackMemory;
  /** The frame had a prompt, a birth or a reconditioning. */
  readonly conditioning: boolean;
  /** See `effectiveIou`. */
  readonly effectiveIou: number;
}

/** Everything one track remembers, by frame. Owns the handles. */
export class TrackMemories {
  /** In the order the frames came. */
  readonly #entries = new Map<number, TrackMemory>();

  get size(): number {
    return this.#entries.size;
  }

  /** As the rules see it. */
  get bank(): MemoryBank {
    const conditioning: number[] = [];
    const tracked: { frame: number; effectiveIou: number }[] = [];
    for (const [frame, entry] of this.#entries) {
      if (entry.conditioning) conditioning.push(frame);
      else tracked.push({ frame, effectiveIou: entry.effectiveIou });
    }
    return { conditioning, tracked };
  }

  get(frame: number): TrackMemory | undefined {
    return this.#entries.get(frame);
  }

  entries(): IterableIterator<[number, TrackMemory]> {
    return this.#entries.entries();
  }

  /** Keeps a memory, in the place of an earlier one of the same frame. */
  set(frame: number, entry: TrackMemory): void {
    this.delete(frame);
    this.#entries.set(frame, entry);
  }

  /** Puts the same memory in another tier in the place of a handle, where it is still kept. */
  replace(frame: number, old: NativeTrackMemory, moved: NativeTrackMemory): void {
    const entry = this.#entries.get(frame);
    if (entry?.memory !== old) disposeOnce(moved);
    else {
      this.#entries.set(frame, { ...entry, memory: moved });
      disposeOnce(old);
    }
  }

  delete(frame: number): void {
    const entry = this.#entries.get(frame);
    if (!entry) return;
    this.#entries.delete(frame);
    disposeOnce(entry.memory);
  }

  /** Drops what none of the passes can still need. */
  prune(rules: MemoryRules, passes: readonly Pass[]): void {
    const { conditioning, tracked } = pruneMemories(rules, this.bank, passes);
    const kept = new Set([...conditioning, ...tracked.map(({ frame }) => frame)]);
    for (const frame of [...this.#entries.keys()]) if (!kept.has(frame)) this.delete(frame);
  }

  dispose(): void {
    for (const frame of [...this.#entries.keys()]) this.delete(frame);
  }
}
