/**
 * The whole surface of the compiled addon. Nothing else in this package touches the `.node` file, and nothing
 * tensor-shaped crosses it: pixels go in as bytes, masks come out as run lengths, features are opaque handles.
 *
 * Every promise rejects with an `Error` that carries a `code` of `Sam3ErrorCode`, or `"ABORTED"` when its token was
 * cancelled. Arguments are trusted: they were checked at the border (`lib/`).
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
export const ADDON_CONTRACT = 1;

export interface NativeDevice {
  /** `cpu`, `cuda:0`, … */
  readonly id: string;
  readonly name: string;
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
  readonly contextLength: number;
  readonly padToken: number;
  /** Part name to absolute path; the parts present are loaded, in this order. */
  readonly parts: Readonly<Record<string, string>>;
}

/** One copy of a model on one device, with its own thread and queue. Every method returns at once. */
export interface NativeReplica {
  /** Loads the parts of `bundle`; `onPart` is called after each one with its name, the count done and the total. */
  load(
    bundle: NativeBundle,
    token: NativeCancelToken,
    onPart: (name: string, done: number, total: number) => void,
  ): Promise<NativeLoadReport>;
  /** Resizes the picture to the model's square, normalises it and runs the image encoder. `pixels.data` is only read, and is held until the promise settles. */
  encodeImage(pixels: NativePixels, token: NativeCancelToken): Promise<NativeEncoding>;
  /** Token ids (start and end included, at most `contextLength`, not padded) to prompt features, as one batch. */
  encodeTexts(ids: readonly Int32Array[], token: NativeCancelToken): Promise<NativeTextFeatures[]>;
  /** Decodes prompts on one picture; the answer keeps their order. */
  segmentConcepts(
    features: NativeFeatures,
    prompts: readonly NativeConceptPrompt[],
    token: NativeCancelToken,
  ): Promise<NativeConceptAnswer>;
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

/** Interleaved 8-bit RGB, `width * height * 3` bytes. */
export interface NativePixels {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
}

export interface NativeEncoding {
  readonly features: NativeFeatures;
  /** Milliseconds of work on the executor, waiting in the queue left out. */
  readonly encodeMs: number;
  readonly queueMs: number;
}

/** Features of one picture on one device. */
export interface NativeFeatures {
  readonly width: number;
  readonly height: number;
  readonly bytes: number;
  readonly disposed: boolean;
  dispose(): void;
}

/** Features of one text on one device. */
export interface NativeTextFeatures {
  readonly bytes: number;
  readonly disposed: boolean;
  dispose(): void;
}

export interface NativeConceptPrompt {
  readonly text: NativeTextFeatures;
  /** Exemplar boxes, four numbers each: centre x, centre y, width, height in 0–1 of the picture. */
  readonly boxes: Float32Array;
  /** One per box: 1 positive, 0 negative. */
  readonly labels: Uint8Array;
  /** Objects with a joint score above this are kept, 0–1. */
  readonly threshold: number;
}

export interface NativeConceptAnswer {
  readonly prompts: readonly NativeConceptObjects[];
  readonly decodeMs: number;
  readonly queueMs: number;
}

export interface NativeConceptObjects {
  /** Probability that the concept is in the picture at all, 0–1. */
  readonly presence: number;
  /** Best score first. */
  readonly objects: readonly NativeObject[];
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

/** Cancels the calls it was given to; work stops before the next stage. */
export interface NativeCancelToken {
  cancel(): void;
}
