/**
 * The whole surface of the compiled addon. Nothing else in this package touches the `.node` file, and nothing
 * tensor-shaped crosses it: pixels go in as bytes, masks come out as run lengths, features are opaque handles.
 *
 * Work is given in lists and answered item by item: each has its own token and its own outcome. What decides how long
 * to wait for others, what to evict and what to try again is TypeScript (`lib/devices`). Errors carry a `code` of
 * `Sam3ErrorCode`, or `"ABORTED"` when their token was cancelled. Arguments are trusted: they were checked at the
 * border.
 */
export interface NativeAddon {
  /** Counts up with every change of this file; the loader refuses a binary that was built for another one. */
  readonly contract: number;
  /** Version of the libtorch that is loaded, for example `2.13.0`. */
  readonly torchVersion: string;
  /** Devices libtorch can use, `cpu` first. Cheap; does not create a CUDA context for devices that are not asked for. */
  devices(): NativeDevice[];
  readonly Replica: new (options: NativeReplicaOptions) => NativeReplica;
  readonly CancelToken: new () => NativeCancelToken;
}

/** The contract this TypeScript was written for. */
export const ADDON_CONTRACT = 4;

export interface NativeDevice {
  /** `cpu`, `cuda:0`, … */
  readonly id: string;
  readonly name: string;
  /** `GPU-…` or `MIG-…` as the CUDA driver says it; null on the CPU and where the driver does not tell. */
  readonly uuid: string | null;
  readonly totalBytes: number;
  readonly freeBytes: number;
}

export interface NativeReplicaOptions {
  /** `cpu` or `cuda:N`. */
  readonly device: string;
  /** Intra-op threads of this replica's executor on the CPU; 0 = as many as physical cores. */
  readonly threads: number;
}

/** What the addon must know of a bundle; paths are absolute and their hashes were checked. */
export interface NativeBundle {
  readonly resolution: number;
  readonly featureSize: number;
  readonly maskSize: number;
  readonly dtype: "fp32" | "bf16" | "fp16";
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
  readonly maskThreshold: number;
  /** How much thresholds may shift a stable mask's edge, in logits. */
  readonly stabilityDelta: number;
  /** Share below which a single mask counts as unstable, so that the best of three is given instead. */
  readonly stabilityThreshold: number;
  /** A mask of 0–1 becomes this times it plus `memoryMaskBias` before it is remembered. */
  readonly memoryMaskScale: number;
  readonly memoryMaskBias: number;
  readonly contextLength: number;
  readonly padToken: number;
  /** Part name to absolute path; the parts present are loaded, in this order. */
  readonly parts: Readonly<Record<string, string>>;
}

/** An error of the addon. */
export type NativeError = Error & { readonly code: string };

/**
 * What became of one item: `ABORTED` (its own token), `OUT_OF_MEMORY`, `DEVICE_FAULT`, `MODEL_FAILED`, `DISPOSED` and
 * `INVALID_ARGUMENT` are errors of items.
 */
export type NativeOutcome<T> = { readonly value: T } | { readonly error: NativeError };

/** The answer to a list, in its order. The promise itself rejects only for what hits all alike: `DISPOSED`, `INTERNAL`. */
export interface NativeBatch<T> {
  readonly items: readonly NativeOutcome<T>[];
  /** Milliseconds of work on the executor. */
  readonly workMs: number;
  /** Milliseconds spent waiting for the executor. */
  readonly queueMs: number;
}

export interface NativeBatchOptions {
  /** Most items in one forward; the addon uses fewer where memory is short. */
  readonly atOnce: number;
}

/** The tracker's half of a replica. The promises reject with the error's code, `ABORTED` when their token was cancelled. */
export interface NativeTracking {
  /** Finds every instance of concepts on one frame and keeps their masks on the device. */
  detectConcepts(request: NativeDetectRequest): Promise<NativeDetections>;
  /** One step of the tracker: all objects of a frame as one batch, whatever each remembers. */
  trackObjects(request: NativeTrackRequest): Promise<NativeTracked>;
  /** Takes masks as they are for new objects of a frame. */
  seedObjects(request: NativeSeedRequest): Promise<NativeTracked>;
  /** What tracks keep of a frame, in the order of `rows`. */
  rememberObjects(request: NativeRememberRequest): Promise<readonly NativeTrackMemory[]>;
  /** Overlap of every mask of `a` with every mask of `b`, on the low-resolution masks (logit > 0). */
  compareMasks(request: NativeCompareRequest): Promise<NativeComparison>;
  /** Fills holes and removes specks of at most `area` cells; see `cleanArea`. A new handle, in the order of `rows`. */
  cleanMasks(request: {
    readonly rows: readonly NativeMaskRow[];
    readonly area: number;
    readonly token: NativeCancelToken;
  }): Promise<NativeMasks>;
  /** Masks at the size of the video (bilinear, logit > 0). */
  readMasks(request: {
    readonly rows: readonly NativeMaskRow[];
    readonly width: number;
    readonly height: number;
    readonly token: NativeCancelToken;
  }): Promise<readonly NativeReadMask[]>;
  /** Copies memories to the host's memory or back to the device; the old handles stay as they were. */
  moveMemories(
    memories: readonly NativeTrackMemory[],
    to: "host" | "device",
    token: NativeCancelToken,
  ): Promise<readonly NativeTrackMemory[]>;
  /** Memories as bytes, one block each, for `restoreMemories` of any replica of the same bundle. */
  saveMemories(
    memories: readonly NativeTrackMemory[],
    token: NativeCancelToken,
  ): Promise<readonly Uint8Array[]>;
  /** Memories from what `saveMemories` gave, on the device. `INVALID_ARGUMENT` where the bytes are not of this model. */
  restoreMemories(
    blocks: readonly Uint8Array[],
    token: NativeCancelToken,
  ): Promise<readonly NativeTrackMemory[]>;
}

/** One copy of a model on one device, with its own thread and queue. Every method returns at once. */
export interface NativeReplica extends NativeTracking {
  /** Loads the parts of `bundle`; `onPart` is called after each one with its name, the count done and the total. */
  load(
    bundle: NativeBundle,
    token: NativeCancelToken,
    onPart: (name: string, done: number, total: number) => void,
  ): Promise<NativeLoadReport>;
  /** Resizes pictures to the model's square, normalises them and runs the image encoder. `pixels.data` is only read, and is held until the promise settles. */
  encodeImages(
    items: readonly NativeImageItem[],
    options: NativeBatchOptions,
  ): Promise<NativeBatch<NativeFeatures>>;
  /** Token ids to prompt features. */
  encodeTexts(
    items: readonly NativeTextItem[],
    options: NativeBatchOptions,
  ): Promise<NativeBatch<NativeTextFeatures>>;
  /** Decodes concept prompts, on one picture or on several. */
  segmentConcepts(
    items: readonly NativeConceptItem[],
    options: NativeBatchOptions,
  ): Promise<NativeBatch<NativeConceptObjects>>;
  /** Decodes object prompts, on one picture or on several. */
  segmentObjects(
    items: readonly NativeObjectItem[],
    options: NativeBatchOptions,
  ): Promise<NativeBatch<NativeObjectMasks>>;
  /** Copies features to the host's memory or back to the device; the old handle stays as it was. */
  moveFeatures(
    features: NativeFeatures,
    to: "host" | "device",
    token: NativeCancelToken,
  ): Promise<NativeFeatures>;
  /** Gives memory the allocator keeps for later back to the device. Runs on the executor. */
  trim(): Promise<void>;
  memory(): NativeMemory;
  /** Calls waiting and running now, and bytes held by parts and features on the device. */
  stats(): {
    readonly queued: number;
    readonly running: boolean;
    readonly modelBytes: number;
    readonly featureBytes: number;
  };
  /** Rejects what waits with `DISPOSED`, lets what runs end, frees the model. Idempotent. */
  close(): Promise<void>;
}

export interface NativeLoadReport {
  readonly modelBytes: number;
  readonly loadMs: number;
}

/** Memory of a replica's device. On the CPU the totals are the machine's, a container's limit respected. */
export interface NativeMemory {
  readonly totalBytes: number;
  /** As the device's driver counts: what the allocator keeps for its next need is not free until `trim`. */
  readonly freeBytes: number;
  /** Held by the allocator for live tensors; on the CPU model and features. */
  readonly allocatedBytes: number;
  /** The most `allocatedBytes` ever was; null where it is not known. */
  readonly peakBytes: number | null;
  readonly modelBytes: number;
  readonly featureBytes: number;
}

/** 8-bit pixels. */
export interface NativePixels {
  /** Interleaved RGB, `width * height * 3` bytes; or the planes of `yuv`, one after the other without gaps. */
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
  /**
   * Set when `data` is planar YUV 4:2:0: Y, then U and V of half the width and height, rounded up. It becomes RGB before
   * anything else, to the nearest level; the four pixels of a chroma sample share it.
   */
  readonly yuv?: { readonly matrix: "bt601" | "bt709"; readonly range: "limited" | "full" };
}

export interface NativeImageItem {
  readonly pixels: NativePixels;
  readonly token: NativeCancelToken;
}

export interface NativeTextItem {
  /** Start and end included, at most `contextLength`, not padded. */
  readonly ids: Int32Array;
  readonly token: NativeCancelToken;
}

/** Features of one picture, made by one replica. */
export interface NativeFeatures {
  readonly width: number;
  readonly height: number;
  readonly bytes: number;
  /** Where the bytes are. Only features on the device can be decoded from. */
  readonly tier: "device" | "host";
  readonly disposed: boolean;
  dispose(): void;
}

/** Features of one text on one device. */
export interface NativeTextFeatures {
  readonly bytes: number;
  readonly disposed: boolean;
  dispose(): void;
}

export interface NativeConceptItem {
  readonly features: NativeFeatures;
  readonly text: NativeTextFeatures;
  /** Exemplar boxes, four numbers each: centre x, centre y, width, height in 0–1 of the picture. */
  readonly boxes: Float32Array;
  /** One per box: 1 positive, 0 negative. */
  readonly labels: Uint8Array;
  /** Objects with a joint score above this are kept, 0–1. */
  readonly threshold: number;
  /** Whether the semantic map is wanted too. */
  readonly semantic: boolean;
  readonly token: NativeCancelToken;
}

export interface NativeConceptObjects {
  /** Probability that the concept is in the picture at all, 0–1. */
  readonly presence: number;
  /** Best score first. */
  readonly objects: readonly NativeObject[];
  /** Every pixel that shows the concept; null unless it was asked for. Run lengths as in `NativeObject`. */
  readonly semantic: { readonly counts: Uint32Array; readonly area: number } | null;
}

export interface NativeObject {
  readonly score: number;
  /** `[x1, y1, x2, y2]` in pixels of the original picture, clipped to it. */
  readonly box: Float64Array;
  /** COCO run lengths: column by column, starting with a run of background (0 allowed). Sums to width * height. */
  readonly counts: Uint32Array;
  /** Pixels inside. */
  readonly area: number;
}

export interface NativeObjectItem {
  readonly features: NativeFeatures;
  /** x, y pairs in pixels of the original picture; a box comes as its two corners. */
  readonly points: Float32Array;
  /** One per point: 1 positive, 0 negative, 2 upper left and 3 lower right corner of a box. */
  readonly labels: Int32Array;
  /** Low-resolution logits of an earlier answer, `maskSize * maskSize`. */
  readonly mask: Float32Array | null;
  /** Three masks instead of the best one. */
  readonly multimask: boolean;
  /** Logit above which a pixel belongs to the object. */
  readonly maskThreshold: number;
  /** Holes of at most so many cells of the low-resolution mask are filled; 0 = none. */
  readonly maxHoleArea: number;
  /** Specks of at most so many cells of the low-resolution mask are removed; 0 = none. */
  readonly maxSprinkleArea: number;
  readonly token: NativeCancelToken;
}

export interface NativeObjectMasks {
  /** One, or three in the order of the model's mask tokens. */
  readonly masks: readonly NativeObjectMask[];
  /** Logit of whether there is an object at all. */
  readonly objectScore: number;
}

export interface NativeObjectMask {
  /** The model's own guess of the mask's IoU. */
  readonly quality: number;
  readonly counts: Uint32Array;
  readonly area: number;
  /** Logits of `maskSize * maskSize`, clamped to ±32: what a further call takes as `mask`. */
  readonly lowRes: Float32Array;
}

/** Low-resolution mask logits of several objects on one frame, `[count, maskSize, maskSize]`, on the device. */
export interface NativeMasks {
  readonly count: number;
  readonly bytes: number;
  readonly disposed: boolean;
  dispose(): void;
}

/** Object pointers of several objects on one frame, `[count, tracker width]`, on the device. */
export interface NativePointers {
  readonly count: number;
  readonly bytes: number;
  readonly disposed: boolean;
  dispose(): void;
}

/** What one track keeps of one frame: its memory map and its object pointer. */
export interface NativeTrackMemory {
  readonly bytes: number;
  /** Where the bytes are. Only memories on the device can be attended to. */
  readonly tier: "device" | "host";
  readonly disposed: boolean;
  dispose(): void;
}

/** One mask of a handle. */
export interface NativeMaskRow {
  readonly masks: NativeMasks;
  readonly row: number;
  /** Taken as empty: every logit -10. */
  readonly hidden?: boolean;
}

export interface NativeDetectRequest {
  readonly features: NativeFeatures;
  /** Boxes and labels as in `NativeConceptItem`. */
  readonly prompts: readonly {
    readonly text: NativeTextFeatures;
    readonly boxes: Float32Array;
    readonly labels: Uint8Array;
  }[];
  /** Joint score above which an instance counts, 0–1. */
  readonly threshold: number;
  /** Of two instances of one prompt whose masks overlap by more than this IoU, the better one stays; 0 = all stay. */
  readonly overlapThreshold: number;
  readonly token: NativeCancelToken;
}

/** Instances, prompt by prompt, and within a prompt in the order of the model's queries. */
export interface NativeDetections {
  readonly scores: Float32Array;
  /** Four each: x1, y1, x2, y2 in pixels of the frame, clipped to it. */
  readonly boxes: Float64Array;
  /** Index of the prompt each belongs to. */
  readonly prompts: Int32Array;
  /** One per prompt, 0–1. */
  readonly presence: Float32Array;
  readonly masks: NativeMasks;
}

export interface NativeTrackItem {
  /** What to attend to; none: the frame stands alone, as a picture does. */
  readonly memories: readonly NativeTrackMemory[];
  /** One per memory: row of the temporal table; the last row for a conditioning frame. */
  readonly rows: Int32Array;
  /** Whose object pointers to attend to; their memory maps are not used. None where there are no memories. */
  readonly pointers: readonly NativeTrackMemory[];
  /** One per pointer: its age as a share of the longest, `k / (n - 1)`. */
  readonly ages: Float32Array;
  /** Clicks and box corners on this frame as in `NativeObjectItem`; empty for a frame that is only tracked. */
  readonly points: Float32Array;
  readonly labels: Int32Array;
}

export interface NativeTrackRequest {
  readonly features: NativeFeatures;
  readonly items: readonly NativeTrackItem[];
  /**
   * Holes of at most so many cells are filled (logit 0.1), then specks of at most so many and at most half of the mask
   * removed (-0.1), in `cleaned`; 0 = `cleaned` is `masks`.
   */
  readonly cleanArea: number;
  readonly token: NativeCancelToken;
}

/** Objects of one frame, in the order asked for. */
export interface NativeTracked {
  /** As decoded; -1024 everywhere where the object is not there. */
  readonly masks: NativeMasks;
  /** A handle of its own, also where it holds the same masks. */
  readonly cleaned: NativeMasks;
  readonly pointers: NativePointers;
  /** Logit of whether the object is there. */
  readonly objectScores: Float32Array;
  /** The model's own guess of each mask's IoU. */
  readonly quality: Float32Array;
}

export interface NativeSeedRequest {
  readonly features: NativeFeatures;
  /** A mask of a handle (logit >= 0.5 is inside) or run lengths in the frame's own size. */
  readonly items: readonly (NativeMaskRow | { readonly counts: Uint32Array })[];
  readonly token: NativeCancelToken;
}

export interface NativeRememberRow extends NativeMaskRow {
  readonly pointers: NativePointers;
  readonly pointerRow: number;
  /** Logit; at most 0 marks the memory as one without the object. Not used with `leastKept`. */
  readonly objectScore: number;
  /** Objects of one group shall not overlap; -1 = alone. Only used with `leastKept`. */
  readonly group: number;
}

export interface NativeRememberRequest {
  readonly features: NativeFeatures;
  readonly rows: readonly NativeRememberRow[];
  /** Masks become 0 or 1 instead of probabilities: frames with prompts. */
  readonly binarize: boolean;
  /** Through the model's square first, as after decoding; else straight from the low-resolution mask. */
  readonly throughSquare: boolean;
  /** Empties masks that keep less than this share of their area once each cell belongs to its strongest object of the group; objects with an empty mask count as not there. Null leaves masks as they are. */
  readonly leastKept: number | null;
  readonly token: NativeCancelToken;
}

export interface NativeCompareRequest {
  readonly a: readonly NativeMaskRow[];
  readonly b: readonly NativeMaskRow[];
  readonly token: NativeCancelToken;
}

export interface NativeComparison {
  /** `a.length * b.length`, row by row. */
  readonly iou: Float32Array;
  /** Cells inside, of every mask. */
  readonly areasA: Uint32Array;
  readonly areasB: Uint32Array;
}

export interface NativeReadMask {
  readonly counts: Uint32Array;
  readonly area: number;
  /** x1, y1, x2, y2 in pixels around the mask, the last ones not included; four zeros for an empty mask. */
  readonly box: Float64Array;
}

/** Cancels the items it was given to; work stops before the next stage. */
export interface NativeCancelToken {
  cancel(): void;
}
