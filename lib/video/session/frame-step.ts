import type {
  NativeDetections,
  NativeFeatures,
  NativeMaskRow,
  NativeRememberRow,
  NativeTextFeatures,
  NativeTracked,
  NativeTrackItem,
} from "../../native/addon.js";
import { effectiveIou } from "../rules/effective-iou.js";
import { needsTrackIou } from "../rules/occlusion.js";
import type { VideoRules } from "../rules/options.js";
import { type FramePlan, planFrame } from "../rules/plan-frame.js";
import { selectMemories } from "../rules/select-memories.js";
import type { VideoState } from "../rules/state.js";
import { trackScore } from "../rules/track-score.js";
import { Handles } from "./handles.js";
import type { StoredObject } from "./result-store.js";
import { AS_PROMPTED, handlesOf, seededRows } from "./seeded.js";
import { NO_EXEMPLARS, type SessionPrompt, type SessionTrack } from "./session-track.js";
import type { TrackMemory } from "./track-memories.js";
import type { TrackerCalls } from "./tracker-calls.js";

/** What is to be computed of one frame, and with what. Nothing of the session is changed by computing it. */
export interface FrameWork {
  readonly frame: number;
  readonly features: NativeFeatures;
  readonly reverse: boolean;
  readonly streaming: boolean;
  /** Null where it is not known. */
  readonly clipLength: number | null;
  readonly rules: VideoRules;
  /** Concepts to look for. */
  readonly prompts: readonly SessionPrompt[];
  /** Their live objects, in the order of `state.tracks`. */
  readonly tracks: readonly SessionTrack[];
  /** Objects to track for themselves: those of clicks, and others that were refined. */
  readonly objects: readonly SessionTrack[];
  /** The state of those concepts alone. */
  readonly state: VideoState;
  /** Objects of clicks in the whole session. */
  readonly clickedObjects: number;
}

/** What came of it. The memories are the caller's: `discard` disposes those it does not take. */
export interface FrameOutcome {
  readonly state: VideoState;
  readonly plan: FramePlan;
  /** What objects that were there before keep of this frame. */
  readonly memories: ReadonlyMap<SessionTrack, TrackMemory>;
  /** What the objects born on it keep, by id. */
  readonly births: ReadonlyMap<number, TrackMemory>;
  /** Every object's result, by id, empty masks among them. */
  readonly results: ReadonlyMap<number, StoredObject>;
  /** Disposes the memories. */
  discard(): void;
}

/** One object, tracked to the frame. */
interface Tracked {
  readonly track: SessionTrack;
  /** As decoded. */
  readonly raw: NativeMaskRow;
  /** With small holes filled and specks removed. */
  readonly cleaned: NativeMaskRow;
  readonly pointers: Pick<NativeRememberRow, "pointers" | "pointerRow">;
  readonly objectScore: number;
  readonly quality: number;
  /** The user showed it on this very frame. */
  readonly prompted: boolean;
}

const NO_PLAN: FramePlan = {
  born: [],
  removed: [],
  hidden: [],
  suppressed: [],
  reconditioned: [],
  matches: [],
  unmatched: [],
  empty: [],
  dropped: 0,
};

/**
 * Computes one frame: detect, track all objects as one batch, compare, plan, remember, seed what is new, read masks. What
 * is done in which order, and which masks are remembered, is transformers' `_det_track_one_frame`.
 */
export async function computeFrame(calls: TrackerCalls, work: FrameWork): Promise<FrameOutcome> {
  const scope = new Handles();
  try {
    const detections = await detect(calls, work, scope);
    const tracked = await trackAll(calls, work, scope);
    const concepts = work.tracks.map((track) => tracked.get(track) as Tracked);
    const { plan, state } = await decide(calls, work, detections, concepts);
    const memory = new FrameMemory(work, plan, scope);
    await memory.make(calls, detections, tracked, concepts);
    const results = await read(calls, work, plan, detections, [...tracked.values()], scope);
    memory.keep();
    return {
      state,
      plan,
      memories: memory.memories,
      births: memory.births,
      results,
      discard: () => memory.discard(),
    };
  } finally {
    scope.dispose();
  }
}

/** Step 1: instances of every concept that is looked for on this frame; undefined where none is. */
async function detect(
  calls: TrackerCalls,
  { prompts, frame, features, rules }: FrameWork,
  scope: Handles,
): Promise<NativeDetections | undefined> {
  const asked = prompts.filter((prompt) => prompt.detectsOn(frame));
  if (asked.length === 0) return undefined;
  const texts: NativeTextFeatures[] = [];
  for (const prompt of asked) texts.push(await prompt.features((ids) => calls.encodeText(ids)));
  const found = await calls.detect({
    features,
    prompts: asked.map((prompt, i) => ({
      text: texts[i] as NativeTextFeatures,
      ...(prompt.exemplars.get(frame) ?? NO_EXEMPLARS),
    })),
    threshold: rules.scoreThreshold,
    overlapThreshold: rules.detectionOverlap,
  });
  scope.add(found.masks);
  // By the session's numbers from here on, not by places in this list.
  return { ...found, prompts: found.prompts.map((place) => (asked[place] as SessionPrompt).id) };
}

/** Step 2: every object, as one batch; those with a mask for this frame take it as it is. */
async function trackAll(
  calls: TrackerCalls,
  work: FrameWork,
  scope: Handles,
): Promise<ReadonlyMap<SessionTrack, Tracked>> {
  const all = [...work.tracks, ...work.objects];
  const masked = all.filter((track) => track.inputs.get(work.frame)?.kind === "mask");
  const others = all.filter((track) => !masked.includes(track));
  const tracked = new Map<SessionTrack, Tracked>();
  const put = (list: readonly SessionTrack[], answer: NativeTracked) => {
    scope.addAll(handlesOf(answer));
    list.forEach((track, row) => {
      tracked.set(track, {
        track,
        raw: { masks: answer.masks, row },
        cleaned: { masks: answer.cleaned, row },
        pointers: { pointers: answer.pointers, pointerRow: row },
        objectScore: answer.objectScores[row] ?? 0,
        quality: answer.quality[row] ?? 0,
        prompted: track.inputs.has(work.frame),
      });
    });
  };
  if (others.length > 0) {
    const items: NativeTrackItem[] = [];
    for (const track of others) items.push(await itemOf(calls, work, track));
    put(others, await calls.track({ features: work.features, items, cleanArea: work.rules.holeArea }));
  }
  if (masked.length > 0) {
    const items = masked.map((track) => {
      const input = track.inputs.get(work.frame);
      return { counts: input?.kind === "mask" ? input.counts : new Uint32Array(0) };
    });
    put(masked, await calls.seed({ features: work.features, items }));
  }
  return tracked;
}

/** What one object attends to on the frame, on the device. */
async function itemOf(calls: TrackerCalls, work: FrameWork, track: SessionTrack): Promise<NativeTrackItem> {
  const input = track.inputs.get(work.frame);
  const points = input?.kind === "points" ? input.points : new Float32Array(0);
  const labels = input?.kind === "points" ? input.labels : new Int32Array(0);
  if (input?.kind === "points" && input.alone) {
    return {
      memories: [],
      rows: new Int32Array(0),
      pointers: [],
      ages: new Float32Array(0),
      points,
      labels,
    };
  }
  const { memories, pointers } = selectMemories(work.rules, track.memories.bank, work);
  const needed = [...new Set([...memories, ...pointers].map(({ frame }) => frame))];
  await bringBack(calls, track, needed);
  const handle = (frame: number) => {
    const entry = track.memories.get(frame);
    if (!entry) throw new Error(`object ${track.id} has no memory of frame ${frame}`);
    return entry.memory;
  };
  return {
    memories: memories.map(({ frame }) => handle(frame)),
    rows: Int32Array.from(memories, ({ row }) => row),
    pointers: pointers.map(({ frame }) => handle(frame)),
    ages: Float32Array.from(pointers, ({ age }) => age),
    points,
    labels,
  };
}

/** Copies memories that were moved to the host back to the device. */
async function bringBack(
  calls: TrackerCalls,
  { memories }: SessionTrack,
  frames: readonly number[],
): Promise<void> {
  const away = frames.filter((frame) => memories.get(frame)?.memory.tier === "host");
  if (away.length === 0) return;
  const old = away.map((frame) => (memories.get(frame) as TrackMemory).memory);
  const back = await calls.move(old, "device");
  away.forEach((frame, i) => {
    const [was, is] = [old[i], back[i]];
    if (was && is) memories.replace(frame, was, is);
  });
}

/** Steps 3 and 4: which detections are new objects, which objects go, are hidden or strengthened. */
async function decide(
  calls: TrackerCalls,
  work: FrameWork,
  detections: NativeDetections | undefined,
  concepts: readonly Tracked[],
): Promise<{ plan: FramePlan; state: VideoState }> {
  const { rules, state } = work;
  if (work.prompts.length === 0) return { plan: NO_PLAN, state };
  const b = concepts.map(({ cleaned }) => cleaned);
  const a = rowsOf(detections);
  const overlap = b.length > 0 ? await calls.compare({ a, b }) : undefined;
  const among = b.length > 1 && needsTrackIou(rules, state) ? await calls.compare({ a: b, b }) : undefined;
  return planFrame(rules, state, {
    frame: work.frame,
    reverse: work.reverse,
    streaming: work.streaming,
    clickedObjects: work.clickedObjects,
    detections: { prompts: detections?.prompts ?? [], scores: detections?.scores ?? [] },
    tracks: {
      areas: overlap?.areasB ?? [],
      objectScores: concepts.map(({ objectScore }) => objectScore),
    },
    detectionIou: overlap?.iou ?? [],
    trackIou: among?.iou ?? null,
  });
}

/** Steps 5 and 6: what every object keeps of the frame. */
class FrameMemory {
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
      const ofDetection =
        detection !== undefined && detections && !this.#work.rules.reconditionOnTrackMasks
          ? { masks: detections.masks, row: detection }
          : it.cleaned;
      return {
        ...ofDetection,
        hidden: hidden.has(it.track.id),
        ...it.pointers,
        objectScore: it.objectScore,
        group: it.track.prompt ?? -1,
      };
    });
    const made = this.#scope.addAll(
      await calls.remember({
        features: this.#work.features,
        rows,
        binarize: false,
        throughSquare: false,
        constrain: true,
      }),
    );
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
    const rows = [...prompted, ...again].map((it): NativeRememberRow => {
      return { ...it.raw, ...it.pointers, objectScore: it.objectScore, group: -1 };
    });
    if (born.length > 0 && detections) {
      const { masks } = detections;
      const items = born.map(({ detection }) => ({ masks, row: detection }));
      const seeded = await calls.seed({ features, items });
      this.#scope.addAll(handlesOf(seeded));
      rows.push(...seededRows(seeded));
    }
    if (rows.length === 0) return;
    const made = this.#scope.addAll(await calls.remember({ features, rows, ...AS_PROMPTED }));
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
    const rows = clicked.map((it) => {
      return { ...it.raw, ...it.pointers, objectScore: it.objectScore, group: -1 };
    });
    const made = this.#scope.addAll(
      await calls.remember({
        features: this.#work.features,
        rows,
        binarize: false,
        throughSquare: true,
        constrain: false,
      }),
    );
    clicked.forEach((it, i) => {
      const memory = made[i];
      if (memory) this.#take(it, memory, false);
    });
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

/** Step 7: run lengths in the size of the video. */
async function read(
  calls: TrackerCalls,
  { features, rules }: FrameWork,
  plan: FramePlan,
  detections: NativeDetections | undefined,
  tracked: readonly Tracked[],
  scope: Handles,
): Promise<ReadonlyMap<number, StoredObject>> {
  const removed = new Set(plan.removed);
  const hidden = new Set(plan.hidden);
  const suppressed = new Set(plan.suppressed);
  const reconditioned = new Map(plan.reconditioned.map((it) => [it.id, it.detection]));
  const shown: { id: number; row: NativeMaskRow; score: number; suppressed: boolean }[] = [];
  for (const { track, raw, cleaned, objectScore } of tracked) {
    const { id } = track;
    if (removed.has(id)) continue;
    const detection = reconditioned.get(id);
    const row =
      detection !== undefined && detections
        ? { masks: detections.masks, row: detection }
        : track.prompt === null
          ? raw
          : { ...cleaned, hidden: hidden.has(id) };
    shown.push({ id, row, score: trackScore(objectScore), suppressed: suppressed.has(id) });
  }
  if (plan.born.length > 0 && detections) {
    let rows = plan.born.map(({ detection }): NativeMaskRow => ({ masks: detections.masks, row: detection }));
    if (rules.holeArea > 0) {
      const masks = scope.add(await calls.clean(rows, rules.holeArea));
      rows = rows.map((_, row) => ({ masks, row }));
    }
    plan.born.forEach(({ id, score }, i) => {
      shown.push({ id, row: rows[i] as NativeMaskRow, score, suppressed: false });
    });
  }
  const { width, height } = features;
  const visible = shown.filter(({ row }) => row.hidden !== true);
  const masks =
    visible.length > 0
      ? await calls.read(
          visible.map(({ row }) => row),
          width,
          height,
        )
      : [];
  const results = new Map<number, StoredObject>();
  visible.forEach(({ id, score, suppressed: isSuppressed }, i) => {
    const mask = masks[i];
    if (mask) {
      results.set(id, {
        id,
        counts: mask.counts,
        area: mask.area,
        trackScore: score,
        suppressed: isSuppressed,
      });
    }
  });
  for (const { id, row, score, suppressed: isSuppressed } of shown) {
    if (row.hidden === true) {
      const counts = Uint32Array.of(width * height);
      results.set(id, { id, counts, area: 0, trackScore: score, suppressed: isSuppressed });
    }
  }
  return results;
}

function rowsOf(detections: NativeDetections | undefined): NativeMaskRow[] {
  if (!detections) return [];
  return Array.from(detections.scores, (_, row) => ({ masks: detections.masks, row }));
}
