import type {
  NativeAddon,
  NativeCancelToken,
  NativeFeatures,
  NativeMasks,
  NativePointers,
  NativeReplica,
  NativeTracked,
  NativeTrackItem,
  NativeTrackMemory,
} from "../../lib/native/addon.js";
import { nth } from "./support.js";

/** What an item is beside its memories: a frame that is only tracked. */
const NOTHING = {
  memories: [],
  rows: new Int32Array(0),
  pointers: [],
  ages: new Float32Array(0),
  points: new Float32Array(0),
  labels: new Int32Array(0),
} as const;

/** An object that is clicked on a frame of its own. */
export function clicked(x: number, y: number): NativeTrackItem {
  return { ...NOTHING, points: Float32Array.of(x, y), labels: Int32Array.of(1) };
}

/** An object that remembers a conditioning frame and those after it. */
export function remembering(memories: readonly NativeTrackMemory[]): NativeTrackItem {
  return {
    ...NOTHING,
    memories,
    rows: Int32Array.from(memories, (_, i) => (i === 0 ? 6 : memories.length - 1 - i)),
    pointers: memories,
    ages: Float32Array.from(memories, (_, i) => (memories.length - i) / 15),
  };
}

/** A few objects followed over frames, with every handle they take. */
export class Follower {
  readonly #held: { dispose(): void }[] = [];
  readonly memories: NativeTrackMemory[][] = [];

  constructor(
    readonly replica: NativeReplica,
    readonly token: NativeCancelToken,
  ) {}

  /** Makes objects of clicks. */
  async begin(features: NativeFeatures, items: readonly NativeTrackItem[]): Promise<NativeTracked> {
    const tracked = await this.#track(features, items);
    const kept = await this.#remember(features, tracked, true);
    kept.forEach((memory) => {
      this.memories.push([memory]);
    });
    return tracked;
  }

  /** One frame for all objects; those of `forgetful` do not remember it. */
  async follow(features: NativeFeatures, forgetful: readonly number[] = []): Promise<NativeTracked> {
    const tracked = await this.#track(features, this.memories.map(remembering));
    const kept = await this.#remember(features, tracked, false);
    kept.forEach((memory, i) => {
      if (!forgetful.includes(i)) nth(this.memories, i).push(memory);
    });
    return tracked;
  }

  dispose(): void {
    for (const handle of this.#held) handle.dispose();
  }

  async #track(features: NativeFeatures, items: readonly NativeTrackItem[]): Promise<NativeTracked> {
    const tracked = await this.replica.trackObjects({ features, items, cleanArea: 4, token: this.token });
    this.#held.push(tracked.masks, tracked.cleaned, tracked.pointers);
    return tracked;
  }

  async #remember(features: NativeFeatures, tracked: NativeTracked, binarize: boolean) {
    const rows = Array.from(tracked.objectScores, (objectScore, row) => ({
      ...rowOf(tracked, row),
      objectScore,
    }));
    const kept = await this.replica.rememberObjects({
      features,
      rows,
      binarize,
      throughSquare: true,
      leastKept: null,
      token: this.token,
    });
    this.#held.push(...kept);
    return kept;
  }
}

/** One object of a frame as it is remembered, in no group. */
export function rowOf(
  { masks, pointers }: { readonly masks: NativeMasks; readonly pointers: NativePointers },
  row: number,
) {
  return { masks, row, pointers, pointerRow: row, objectScore: 1, group: -1 };
}

/** A token that nobody cancels. */
export const unending = (addon: NativeAddon) => new addon.CancelToken();
