import type { NativeDetections, NativeRememberRequest, NativeRememberRow } from "../../native/addon.js";
import { effectiveIou } from "../rules/effective-iou.js";
import type { FramePlan } from "../rules/plan-frame.js";
import type { FrameWork, Tracked } from "./frame-work.js";
import type { Handles } from "./handles.js";
import { AS_PROMPTED, handlesOf, seededRows } from "./seeded.js";
import type { SessionTrack } from "./session-track.js";
import type { TrackMemory } from "./track-memories.js";
import type { TrackerCalls } from "./tracker-calls.js";

const AS_CLICKED = { binarize: false, throughSquare: true, leastKept: null } as const;

/** What every object keeps of the frame. */
export class FrameMemory {
  readonly memories = new Map<SessionTrack, TrackMemory>();
  readonly births = new Map<number, TrackMemory>();
  readonly #work: FrameWork;
  readonly #plan: FramePlan;
  readonly #scope: Handles;

  constructor(work: FrameWork, plan: FramePlan, scope: Handles) {
    this.#work = work;
    this.#plan = plan;
    this.#scope = scope;
  }

  async make(
    calls: TrackerCalls,
    detections: NativeDetections | undefined,
    tracked: ReadonlyMap<SessionTrack, Tracked>,
    concepts: readonly Tracked[],
  ): Promise<void> {
    const reconditioned = new Map(this.#plan.reconditioned.map((it) => [it.id, it.detection]));
    const born = this.#plan.born;
    const prompted = [...tracked.values()].filter((it) => it.prompted);
    const plain = concepts.filter((it) => !it.prompted);
    // A frame with births is remembered once more below, from the masks as decoded: only what was reconditioned keeps this.
    const asTracked = plain.filter(({ track }) => born.length === 0 || reconditioned.has(track.id));
    if (asTracked.length > 0) await this.#asTracked(calls, concepts, asTracked, reconditioned, detections);
    const again = born.length === 0 ? [] : plain.filter(({ track }) => !reconditioned.has(track.id));
    await this.#asPrompted(calls, detections, prompted, again);
    const clicked = this.#work.objects.flatMap((track) => tracked.get(track) ?? []);
    await this.#asClicked(
      calls,
      clicked.filter((it) => !it.prompted),
    );
  }

  /** Objects of concepts: cleaned masks, as probabilities, that leave room for each other. */
  async #asTracked(
    calls: TrackerCalls,
    concepts: readonly Tracked[],
    wanted: readonly Tracked[],
    reconditioned: ReadonlyMap<number, number>,
    detections: NativeDetections | undefined,
  ): Promise<void> {
    const hidden = new Set(this.#plan.hidden);
    const rows = concepts.map((it): NativeRememberRow => {
      const detection = reconditioned.get(it.track.id);
      // What a detection confirms is there, whatever it lies over.
      const mask =
        detection !== undefined && detections && !this.#work.rules.reconditionOnTrackMasks
          ? { masks: detections.masks, row: detection }
          : { ...it.cleaned, hidden: hidden.has(it.track.id) };
      return {
        ...mask,
        ...it.pointers,
        objectScore: it.objectScore,
        group: it.track.prompt ?? -1,
      };
    });
    const leastKept = this.#work.rules.leastKeptArea;
    const made = await this.#remember(calls, rows, { binarize: false, throughSquare: false, leastKept });
    concepts.forEach((it, i) => {
      const memory = made[i];
      if (memory && wanted.includes(it)) this.#take(it, memory, reconditioned.has(it.track.id));
    });
  }

  /**
   * Objects with prompts on this frame and those born on it, as yes or no. Objects that are there already are remembered
   * in the same way on a frame with births, because transformers tracks them anew together with the new ones.
   */
  async #asPrompted(
    calls: TrackerCalls,
    detections: NativeDetections | undefined,
    prompted: readonly Tracked[],
    again: readonly Tracked[],
  ): Promise<void> {
    const { features } = this.#work;
    const { born } = this.#plan;
    const rows = [...prompted, ...again].map(decodedRow);
    if (born.length > 0 && detections) {
      const { masks } = detections;
      const items = born.map(({ detection }) => ({ masks, row: detection }));
      const seeded = await calls.seed({ features, items });
      this.#scope.addAll(handlesOf(seeded));
      rows.push(...seededRows(seeded));
    }
    if (rows.length === 0) return;
    const made = await this.#remember(calls, rows, AS_PROMPTED);
    [...prompted, ...again].forEach((it, i) => {
      const memory = made[i];
      if (memory) this.#take(it, memory, it.prompted);
    });
    born.forEach(({ id }, i) => {
      const memory = made[prompted.length + again.length + i];
      if (memory) this.births.set(id, { memory, conditioning: true, effectiveIou: 1 });
    });
  }

  /** Objects of clicks: masks as decoded, as probabilities, each for itself. */
  async #asClicked(calls: TrackerCalls, clicked: readonly Tracked[]): Promise<void> {
    if (clicked.length === 0) return;
    const made = await this.#remember(calls, clicked.map(decodedRow), AS_CLICKED);
    clicked.forEach((it, i) => {
      const memory = made[i];
      if (memory) this.#take(it, memory, false);
    });
  }

  async #remember(
    calls: TrackerCalls,
    rows: readonly NativeRememberRow[],
    how: Pick<NativeRememberRequest, "binarize" | "throughSquare" | "leastKept">,
  ): Promise<readonly TrackMemory["memory"][]> {
    return this.#scope.addAll(await calls.remember({ features: this.#work.features, rows, ...how }));
  }

  #take(it: Tracked, memory: TrackMemory["memory"], conditioning: boolean): void {
    if (this.#plan.removed.includes(it.track.id)) return;
    // What a frame with a prompt or a birth taught is not unlearned when the frame is computed again.
    const before = it.track.memories.get(this.#work.frame);
    if (before?.conditioning && !conditioning) return;
    this.memories.set(it.track, {
      memory,
      conditioning,
      effectiveIou: it.prompted ? 1 : effectiveIou(it.objectScore, it.quality),
    });
  }

  /** Gives the memories to the caller. */
  keep(): void {
    for (const { memory } of this.memories.values()) this.#scope.keep(memory);
    for (const { memory } of this.births.values()) this.#scope.keep(memory);
  }

  discard(): void {
    for (const { memory } of this.memories.values()) memory.dispose();
    for (const { memory } of this.births.values()) memory.dispose();
  }
}

/** An object's mask as decoded, for itself. */
function decodedRow(it: Tracked): NativeRememberRow {
  return { ...it.raw, ...it.pointers, objectScore: it.objectScore, group: -1 };
}
