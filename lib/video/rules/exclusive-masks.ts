/** One object's mask on one frame. */
export interface RivalMask {
  /** Objects of one group give way to each other; null = of no group. */
  readonly group: number | null;
  /** The track's score on this frame, 0–1; see `trackScore`. */
  readonly score: number;
  /** COCO run lengths; all of one size. */
  readonly counts: Uint32Array;
}

/**
 * Gives every pixel that several objects of a group claim to the one with the highest score, the first of equal ones.
 * The answer has the masks' order; masks that lose nothing come back as they are.
 */
export declare function exclusiveMasks(masks: readonly RivalMask[]): readonly Uint32Array[];

/** Score of a track on a frame, 0–1, from its object score logit; on the frame it is born its detection's score stands in. */
export declare function trackScore(objectScore: number): number;
