/** One object's result on one frame, before objects give way to each other. */
export interface StoredObject {
  readonly id: number;
  /** COCO run lengths in the size of the video. */
  readonly counts: Uint32Array;
  readonly area: number;
  /** How sure the tracker is that it is there, 0–1; its detection's score on the frame it was born on. */
  readonly trackScore: number;
  /** Stays out of what is given out. */
  readonly suppressed: boolean;
}

/** What is known of one frame. */
export interface FrameEntry {
  readonly index: number;
  /** Seconds. */
  readonly time: number;
  /** Numbers of the concept prompts that were computed on it. */
  readonly prompts: Set<number>;
  /** Ids of objects with prompts of their own that were computed on it. */
  readonly own: Set<number>;
  readonly objects: Map<number, StoredObject>;
  /** Ids that were taken back on it. */
  readonly removed: Set<number>;
}

/** A frame nothing is known of yet. */
export function emptyEntry(index: number, time: number): FrameEntry {
  return { index, time, prompts: new Set(), own: new Set(), objects: new Map(), removed: new Set() };
}

const ENTRY_BYTES = 200;
const OBJECT_BYTES = 100;

/** Results of computed frames within a budget of bytes; those used longest ago go first and are computed again when asked for. */
export class ResultStore {
  readonly #maxBytes: number;
  /** Least recently used first. */
  readonly #entries = new Map<number, FrameEntry>();
  readonly #weights = new Map<number, number>();
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Frames that are known. */
  get size(): number {
    return this.#entries.size;
  }

  entries(): Iterable<FrameEntry> {
    return this.#entries.values();
  }

  get(index: number): FrameEntry | undefined {
    const entry = this.#entries.get(index);
    if (entry) {
      this.#entries.delete(index);
      this.#entries.set(index, entry);
    }
    return entry;
  }

  /** Weighs an entry that is new or was changed, and drops others where there is too much. */
  put(entry: FrameEntry): void {
    this.#entries.delete(entry.index);
    this.#entries.set(entry.index, entry);
    this.#weigh(entry);
    for (const [index] of this.#entries) {
      if (this.#bytes <= this.#maxBytes || index === entry.index) break;
      this.#drop(index);
    }
  }

  /** Forgets an object on every frame. */
  forgetObject(id: number): void {
    for (const entry of this.#entries.values()) {
      const known = entry.objects.delete(id);
      if (entry.own.delete(id) || known) this.#weigh(entry);
    }
  }

  /** Forgets that a concept was computed, on one frame. Whether it was. */
  forgetPrompt(id: number, frame: number): boolean {
    return this.#entries.get(frame)?.prompts.delete(id) ?? false;
  }

  clear(): void {
    this.#entries.clear();
    this.#weights.clear();
    this.#bytes = 0;
  }

  #weigh(entry: FrameEntry): void {
    let weight = ENTRY_BYTES;
    for (const { counts } of entry.objects.values()) weight += OBJECT_BYTES + counts.byteLength;
    this.#bytes += weight - (this.#weights.get(entry.index) ?? 0);
    this.#weights.set(entry.index, weight);
  }

  #drop(index: number): void {
    this.#entries.delete(index);
    this.#bytes -= this.#weights.get(index) ?? 0;
    this.#weights.delete(index);
  }
}
