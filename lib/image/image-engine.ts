import { abortable } from "../abort.js";
import type { Manifest } from "../bundle/manifest.js";
import type { TextTokenizer } from "../bundle/tokenizer.js";
import { Sam3Error } from "../errors.js";
import type { Logger } from "../logger.js";
import type {
  NativeAddon,
  NativeConceptObjects,
  NativeFeatures,
  NativeOutcome,
  NativePixels,
  NativeReplica,
  NativeTextFeatures,
} from "../native/addon.js";
import { type ConceptPrompt, checkPrompt } from "./concept-prompt.js";

/** What an engine is made of. */
export interface ImageEngineParts {
  readonly addon: NativeAddon;
  readonly replica: NativeReplica;
  readonly manifest: Manifest;
  readonly tokenizer: TextTokenizer;
  readonly logger: Logger;
  readonly threshold: number;
  readonly maxPixels: number;
}

/** A prompt that was checked against its picture and cut into tokens. */
export interface PreparedPrompt {
  readonly texts: readonly { readonly text: string; readonly ids: Int32Array; readonly truncated: boolean }[];
  readonly boxes: Float32Array;
  readonly labels: Uint8Array;
  readonly threshold: number;
}

/** One text as it was looked for. */
export interface SegmentedText {
  readonly text: string;
  readonly truncated: boolean;
  readonly found: NativeConceptObjects;
}

/** Features with the time they took. */
export interface Encoding {
  readonly features: NativeFeatures;
  readonly encodeMs: number;
}

/** Prompts in one native call. The addon bounds their memory itself; between calls other callers get their turn. */
const PROMPTS_PER_CALL = 16;

// The safety net for a model that was never closed.
const abandoned = new FinalizationRegistry<Pick<ImageEngineParts, "replica" | "logger" | "manifest">>(
  ({ replica, logger, manifest }) => {
    logger.warn(
      `A loaded model (${manifest.name}) was never closed; it is freed now. Use "await using", or call close().`,
    );
    replica
      .close()
      .catch((error: unknown) => logger.error(`closing ${manifest.name} failed: ${String(error)}`));
  },
);

/**
 * The model as the image layer uses it: tokens, native calls, cancelling and clean-up in one place. Lives as long as its
 * `Sam3`; owns every feature made with it until it is disposed.
 */
export class ImageEngine {
  readonly manifest: Manifest;
  readonly logger: Logger;
  readonly threshold: number;
  readonly maxPixels: number;
  readonly #parts: ImageEngineParts;
  readonly #features = new Set<NativeFeatures>();
  #closing: Promise<void> | undefined;

  constructor(parts: ImageEngineParts) {
    this.#parts = parts;
    this.manifest = parts.manifest;
    this.logger = parts.logger;
    this.threshold = parts.threshold;
    this.maxPixels = parts.maxPixels;
    const { replica, logger, manifest } = parts;
    abandoned.register(this, { replica, logger, manifest }, this);
  }

  /** Throws `DISPOSED` once closing has begun. */
  assertOpen(): void {
    if (this.#closing)
      throw new Sam3Error("DISPOSED", "This Sam3 was closed. Load it again with Sam3.load().");
  }

  /** Runs the image encoder; the features stay until `release`. */
  async encodeImage(pixels: NativePixels, signal: AbortSignal | undefined): Promise<Encoding> {
    this.assertOpen();
    const token = new this.#parts.addon.CancelToken();
    const encoding = await abortable(
      signal,
      token,
      async () => {
        const { items, workMs } = await this.#parts.replica.encodeImages([{ pixels, token }], { atOnce: 1 });
        return { features: valueOf(items[0]), encodeMs: workMs };
      },
      (late) => late.features.dispose(),
    );
    if (this.#closing) {
      encoding.features.dispose();
      this.assertOpen();
    }
    this.#features.add(encoding.features);
    return encoding;
  }

  /** Frees features; more than once does nothing. */
  release(features: NativeFeatures): void {
    this.#features.delete(features);
    if (!features.disposed) features.dispose();
  }

  /**
   * Checks a prompt and cuts its texts into tokens, before anything costs time.
   *
   * @throws {Sam3Error} `INVALID_PROMPT`, `INVALID_BOX` or `INVALID_ARGUMENT`
   */
  prepare(
    prompt: ConceptPrompt,
    picture: { readonly width: number; readonly height: number },
  ): PreparedPrompt {
    const { threshold, manifest, tokenizer } = this.#parts;
    const { fallbackText } = manifest.tokenizer;
    const { texts, ...rest } = checkPrompt(prompt, picture, { threshold, fallbackText });
    return { ...rest, texts: texts.map((text) => ({ text, ...tokenizer.encode(text) })) };
  }

  /** Looks for every text of a prompt on one picture; the answer keeps their order. */
  async segment(
    features: NativeFeatures,
    prompt: PreparedPrompt,
    signal: AbortSignal | undefined,
  ): Promise<SegmentedText[]> {
    this.assertOpen();
    const out: SegmentedText[] = [];
    for (let from = 0; from < prompt.texts.length; from += PROMPTS_PER_CALL) {
      const some = prompt.texts.slice(from, from + PROMPTS_PER_CALL);
      const answer = await this.#segmentSome(
        features,
        some.map(({ ids }) => ids),
        prompt,
        signal,
      );
      some.forEach(({ text, truncated }, i) => {
        out.push({ text, truncated, found: valueOf(answer[i]) });
      });
    }
    return out;
  }

  /** Frees the model and every feature made with it. Idempotent; what waits is rejected with `DISPOSED`. */
  close(): Promise<void> {
    abandoned.unregister(this);
    this.#closing ??= this.#parts.replica.close().finally(() => {
      for (const features of this.#features) this.release(features);
    });
    return this.#closing;
  }

  async #segmentSome(
    features: NativeFeatures,
    ids: readonly Int32Array[],
    prompt: PreparedPrompt,
    signal: AbortSignal | undefined,
  ): Promise<readonly NativeOutcome<NativeConceptObjects>[]> {
    const { addon, replica } = this.#parts;
    const { boxes, labels, threshold } = prompt;
    const token = new addon.CancelToken();
    const texts = await abortable(
      signal,
      token,
      async () => {
        const { items } = await replica.encodeTexts(
          ids.map((one) => ({ ids: one, token })),
          { atOnce: PROMPTS_PER_CALL },
        );
        return items.map(valueOf);
      },
      disposeAll,
    );
    if (signal?.aborted) disposeAll(texts);
    return abortable(signal, token, async () => {
      try {
        const prompts = texts.map((text) => ({
          features,
          text,
          boxes,
          labels,
          threshold,
          semantic: false,
          token,
        }));
        return (await replica.segmentConcepts(prompts, { atOnce: PROMPTS_PER_CALL })).items;
      } finally {
        // When the native call itself has ended, which on abort is later than the promise given out.
        disposeAll(texts);
      }
    });
  }
}

function valueOf<T>(outcome: NativeOutcome<T> | undefined): T {
  if (outcome === undefined)
    throw new Sam3Error("INTERNAL", "The addon answered fewer items than it was asked.");
  if ("error" in outcome) throw outcome.error;
  return outcome.value;
}

function disposeAll(texts: readonly NativeTextFeatures[]): void {
  for (const text of texts) text.dispose();
}
