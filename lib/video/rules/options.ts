/**
 * Every number the video policy works with. "SAM 3" names the official video builder's value, which transformers'
 * `Sam3VideoConfig` repeats unless said otherwise. Frames are counted in frames of the clip, scores and IoUs are 0–1,
 * areas are cells of the low-resolution mask.
 */
export interface VideoRules {
  /** A detection counts above this score. SAM 3: 0.5. */
  readonly scoreThreshold: number;
  /** Of two detections of one prompt whose masks overlap by more than this IoU the better one stays; 0 = all stay. SAM 3: 0.1. */
  readonly detectionOverlap: number;
  /** A detection belongs to every track of its prompt it overlaps by at least this IoU. SAM 3: 0.1. */
  readonly associationIou: number;
  /** A track that no detection overlaps by at least this IoU is unmatched on the frame. SAM 3: 0.5. */
  readonly matchedIou: number;
  /** A detection that belongs to no track becomes an object at this score; without any track every detection does. SAM 3: 0.7. */
  readonly newObjectScore: number;
  /**
   * A detection whose box has its middle nearer to an edge than this share of the picture's side is no new object; 0 =
   * every one may be. SAM 3: 0, its `suppress_det_close_to_boundary` being off; its share when on is 0.025.
   */
  readonly boundaryMargin: number;
  /**
   * An object is shown from the first of so many consecutive frames with a detection, and before that it is in no result;
   * 0 = it is shown at once. SAM 3: 0, its `masklet_confirmation_enable` being off; 3 when on.
   */
  readonly confirmationFrames: number;
  /**
   * For so many frames after its first one an object may be taken back, and results are held back as long; 0 = never,
   * and nothing is held back. SAM 3: 15; 0 without temporal disambiguation.
   */
  readonly hotstartDelay: number;
  /** Unmatched frames after which a young object is taken back; at most `hotstartDelay`. SAM 3: 8; 0 without temporal disambiguation. */
  readonly hotstartUnmatched: number;
  /** Frames of sharing a detection with an older object after which a young one is taken back; at most `hotstartDelay`. SAM 3: 8; 0 without temporal disambiguation. */
  readonly hotstartDuplicate: number;
  /** False: objects whose keep-alive count is used up are hidden, however old they are. SAM 3: true. */
  readonly suppressUnmatchedOnlyWithinHotstart: boolean;
  /** Keep-alive count of a new object. SAM 3: 30. */
  readonly keepAliveInitial: number;
  /** Most a match, one up each, can bring the keep-alive count to. SAM 3: 30. */
  readonly keepAliveMax: number;
  /** Least an unmatched frame, one down each, can bring the keep-alive count to. SAM 3: -1. */
  readonly keepAliveMin: number;
  /** Whether a frame with an empty mask takes one off the keep-alive count too. SAM 3: false. */
  readonly decreaseKeepAliveForEmpty: boolean;
  /** Of two objects of a prompt that overlap by at least this IoU the one that was hidden or gone last is hidden; 0 = off. SAM 3: 0.7. */
  readonly recentOcclusionIou: number;
  /** Holes and specks of at most so many cells are mended; 0 = off. SAM 3: 16. */
  readonly holeArea: number;
  /**
   * Where objects of a prompt overlap, one that keeps less than this share of its area when every cell goes to the
   * object that is surest of it is remembered as empty. SAM 3: 0.3.
   */
  readonly leastKeptArea: number;
  /** Most objects of a session; further ones are dropped, lowest scores first. SAM 3: 10000, its "no limit". */
  readonly maxObjects: number;
  /** Every frame whose number is a multiple of this may become a conditioning frame of well-matched tracks; 0 = off. SAM 3: 16; 0 without temporal disambiguation. */
  readonly reconditionEvery: number;
  /** Least detection score, and the logit the track's own object score must exceed, to recondition. SAM 3: 0.8. */
  readonly reconditionScore: number;
  /** Least IoU of detection and track to recondition. SAM 3: 0.8. */
  readonly reconditionIou: number;
  /** True: the track's own mask is what is remembered; false: the detection's. The detection's is what is shown. transformers: true. */
  readonly reconditionOnTrackMasks: boolean;
  /**
   * A correction takes the place of what the detector taught within so many frames: those are conditioning frames of the
   * object no longer. SAM 3: 16.
   */
  readonly correctionReach: number;
  /** Most points of an object on one frame that the model is shown: the first half and the newest; 0 = all. SAM 3 official: 16; transformers has no limit. */
  readonly maxPoints: number;
  /** Whether a track attends only to frames on which it was sure of itself. SAM 3 official: true, false without temporal disambiguation; transformers has none. */
  readonly memorySelection: boolean;
  /** A frame is attended to above this effective IoU (see `effectiveIou`). SAM 3 official: 0.01. */
  readonly memorySelectionThreshold: number;
  /** Memories of frames attended to, conditioning frames not counted, plus one. SAM 3: 7; the bundle's `tracker.memories`. */
  readonly memories: number;
  /** Conditioning frames attended to, at least 2. SAM 3: 4; the bundle's `tracker.maxConditioningFrames`. */
  readonly maxConditioningFrames: number;
  /** Object pointers of frames attended to, conditioning frames not counted, plus one. SAM 3: 16; the bundle's `tracker.maxObjectPointers`. */
  readonly maxObjectPointers: number;
}

/** What a bundle's manifest says of its tracker (`tracker` in `manifest.json`). */
export type TrackerNumbers = Pick<VideoRules, "memories" | "maxConditioningFrames" | "maxObjectPointers">;

/** SAM 3's numbers; each one's source stands with its description. */
export const DEFAULT_VIDEO_RULES: VideoRules = {
  scoreThreshold: 0.5,
  detectionOverlap: 0.1,
  associationIou: 0.1,
  matchedIou: 0.5,
  newObjectScore: 0.7,
  boundaryMargin: 0,
  confirmationFrames: 0,
  hotstartDelay: 15,
  hotstartUnmatched: 8,
  hotstartDuplicate: 8,
  suppressUnmatchedOnlyWithinHotstart: true,
  keepAliveInitial: 30,
  keepAliveMax: 30,
  keepAliveMin: -1,
  decreaseKeepAliveForEmpty: false,
  recentOcclusionIou: 0.7,
  holeArea: 16,
  leastKeptArea: 0.3,
  maxObjects: 10_000,
  reconditionEvery: 16,
  reconditionScore: 0.8,
  reconditionIou: 0.8,
  reconditionOnTrackMasks: true,
  correctionReach: 16,
  maxPoints: 16,
  memorySelection: true,
  memorySelectionThreshold: 0.01,
  memories: 7,
  maxConditioningFrames: 4,
  maxObjectPointers: 16,
};

/**
 * What the official builder sets with `apply_temporal_disambiguation=False`: nothing is taken back or held back, no
 * reconditioning, the newest memories whatever they show. Keep-alive stays 30/30/-1 and recent occlusion 0.7 there.
 */
const WITHOUT_TEMPORAL_DISAMBIGUATION = {
  hotstartDelay: 0,
  hotstartUnmatched: 0,
  hotstartDuplicate: 0,
  reconditionEvery: 0,
  memorySelection: false,
} as const satisfies Partial<VideoRules>;

/** The rules of a session: the defaults, the bundle's tracker, temporal disambiguation or not, and last what was asked for. */
export function videoRules(choice: {
  readonly tracker: TrackerNumbers;
  readonly temporalDisambiguation: boolean;
  readonly overrides?: Partial<VideoRules>;
}): VideoRules {
  const { memories, maxConditioningFrames, maxObjectPointers } = choice.tracker;
  return {
    ...DEFAULT_VIDEO_RULES,
    memories,
    maxConditioningFrames,
    maxObjectPointers,
    ...(choice.temporalDisambiguation ? {} : WITHOUT_TEMPORAL_DISAMBIGUATION),
    ...choice.overrides,
  };
}
