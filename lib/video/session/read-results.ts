import type { NativeDetections, NativeMaskRow } from "../../native/addon.js";
import type { FramePlan } from "../rules/plan-frame.js";
import { trackScore } from "../rules/track-score.js";
import type { FrameWork, Tracked } from "./frame-work.js";
import type { Handles } from "./handles.js";
import type { StoredObject } from "./result-store.js";
import type { TrackerCalls } from "./tracker-calls.js";

/** Reads what is to be seen of every object: run lengths in the size of the video. */
export async function readResults(
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
