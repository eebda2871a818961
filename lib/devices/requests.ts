import type {
  NativeConceptItem,
  NativeImageItem,
  NativeObjectItem,
  NativePixels,
  NativeTextItem,
} from "../native/addon.js";

/** What became of one item of a list, as `Promise.allSettled` says it. */
export type Settled<T> =
  | { readonly status: "fulfilled"; readonly value: T }
  | { readonly status: "rejected"; readonly reason: unknown };

/** Whether features came from the cache, went into it, or the cache was not asked. */
export type CacheOutcome = "hit" | "miss" | "off";

/** A decoded picture. */
export interface DecodedPixels extends NativePixels {
  /** Milliseconds spent reading and decoding it. */
  readonly decodeMs: number;
}

/** A picture whose features are wanted. */
export interface PictureRequest {
  /** Hash of the picture's content; undefined = its features are not kept. */
  readonly key: string | undefined;
  /**
   * Reads and decodes the picture. Called when the encoder is near, and again when the features are lost with their
   * device. Other callers may wait for the same picture: only the signal given here may stop it. Not called once this
   * caller has left, when others are left who can give the picture.
   */
  readonly pixels: (signal: AbortSignal) => Promise<DecodedPixels>;
  /** Bytes that `pixels` will give, where they are known before. */
  readonly pixelBytes?: number | undefined;
}

/** One concept prompt on a picture. */
export interface ConceptRequest extends Omit<NativeConceptItem, "features" | "text" | "token"> {
  readonly ids: Int32Array;
}

/** One object prompt on a picture. */
export type ObjectRequest = Omit<NativeObjectItem, "features" | "token">;

/** What a replica can be asked for, each in batches of its own. */
export interface StageInputs {
  readonly encodeImages: Omit<NativeImageItem, "token">;
  readonly encodeTexts: Omit<NativeTextItem, "token">;
  readonly segmentConcepts: Omit<NativeConceptItem, "token">;
  readonly segmentObjects: Omit<NativeObjectItem, "token">;
}
