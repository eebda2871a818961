import type { Mask } from "../masks/mask.js";
import { Turn } from "../masks/turn.js";

/** What suppression looks at. */
interface Scored {
  readonly score: number;
  readonly mask: Mask;
}

/**
 * Leaves out objects that another prompt found with a better score: best first, an object goes when its mask and that of
 * a kept object of another group have an IoU of at least `iou`. Objects of one group never suppress each other. Groups
 * and their order stay; of equal scores the earlier group wins.
 */
export async function suppressDuplicates<T extends Scored>(
  groups: readonly (readonly T[])[],
  iou: number,
  signal: AbortSignal,
): Promise<T[][]> {
  const order = groups
    .flatMap((objects, group) => objects.map((object) => ({ object, group, box: object.mask.box })))
    .sort((a, b) => b.object.score - a.object.score || a.group - b.group);
  const kept: typeof order = [];
  const turn = new Turn();
  for (const candidate of order) {
    const { mask } = candidate.object;
    const isDuplicate = kept.some(
      (other) =>
        other.group !== candidate.group &&
        // Two cheap bounds first: boxes apart have nothing in common, and an IoU is never above the ratio of the areas.
        candidate.box[0] < other.box[2] &&
        other.box[0] < candidate.box[2] &&
        candidate.box[1] < other.box[3] &&
        other.box[1] < candidate.box[3] &&
        Math.min(mask.area, other.object.mask.area) >= iou * Math.max(mask.area, other.object.mask.area) &&
        mask.iou(other.object.mask) >= iou,
    );
    if (!isDuplicate) kept.push(candidate);
    await turn.pass(signal);
  }
  const survivors = new Set(kept.map(({ object }) => object));
  return groups.map((objects) => objects.filter((object) => survivors.has(object)));
}
