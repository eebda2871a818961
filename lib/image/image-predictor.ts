import type { Call, CallOptions } from "../call.js";
import { type Caller, captureCaller } from "../caller.js";
import { describe } from "../describe.js";
import type { Engine } from "../devices/engine.js";
import type { Settled } from "../devices/requests.js";
import { Sam3Error } from "../errors.js";
import { Gate } from "../gate.js";
import { INSPECT } from "../inspect.js";
import { type CallProgress, reporter, steps } from "../progress.js";
import { prepareConcept } from "./ask-concepts.js";
import { type ConceptOptions, readConceptOptions } from "./concept-options.js";
import type { ConceptPrompt } from "./concept-prompt.js";
import type { ConceptResult } from "./concept-result.js";
import { EncodedImage } from "./encoded-image.js";
import { inParallel } from "./in-parallel.js";
import { LeasedPicture } from "./leased-picture.js";
import { type ObjectOptions, readObjectOptions } from "./object-options.js";
import type { ObjectPrompt } from "./object-prompt.js";
import type { ObjectResult } from "./object-result.js";
import { ImageOpener, type OpenedImage } from "./opened-image.js";
import {
  assertObjectPrompts,
  prepareConcepts,
  prepareObjects,
  type SingleConceptPrompt,
} from "./prepare-prompts.js";
import { allFulfilled, allRejected, withCoded } from "./settle.js";
import { bytesToCopy, type ImageInput } from "./take-image.js";
import type { TileOptions } from "./tile-layout.js";
import { segmentTiled } from "./tiled-concept.js";

/** `segmentConcept` of a picture that is not encoded yet. */
export interface ImageConceptOptions extends ConceptOptions {
  /** Also looks into overlapping tiles of the picture, for small things in very large ones. */
  readonly tiles?: TileOptions | undefined;
  /** Called after the whole picture and after each tile; once at the end of a call without tiles. */
  readonly onProgress?: ((progress: CallProgress) => void) | undefined;
}

/** `segmentBatch`: what applies to every picture, and to the call as a whole. */
export interface BatchOptions extends ConceptOptions {
  /** Called after each picture, whatever became of it. */
  readonly onProgress?: ((progress: CallProgress) => void) | undefined;
}

/** One picture of a batch and what to look for in it. */
export interface BatchItem {
  readonly image: ImageInput;
  /** 1 to 1,024. */
  readonly prompts: readonly SingleConceptPrompt[];
}

/** Pictures of a batch under way at a time: enough for full batches on several devices, few enough to hold little. */
const PICTURES_AT_ONCE = 16;

/** Pictures of a batch are begun while those under way hold no more than this: it must not fill the room of all calls. */
const MAX_BATCH_BYTES = 256 * 2 ** 20;

/** Segments single pictures; `sam.image`. */
export class ImagePredictor {
  readonly #engine: Engine;
  readonly #opener: ImageOpener;

  /** @internal */
  constructor(engine: Engine) {
    this.#engine = engine;
    this.#opener = new ImageOpener(engine);
  }

  /**
   * Decodes a picture and runs the image encoder, the slow part, once. Ask the answer as often as you like, then
   * dispose it.
   *
   * @param image a path, a `file:` URL, the bytes of a file, raw pixels or a sharp instance
   * @throws {Sam3Error} `IMAGE_NOT_FOUND`, `IMAGE_INVALID`, `IMAGE_TOO_LARGE`, `INVALID_ARGUMENT`, `DISPOSED`,
   *   `QUEUE_FULL`, `TIMEOUT`, `OUT_OF_MEMORY`, `DEVICE_FAULT`, `MODEL_FAILED`; the signal's reason when it was aborted
   * @example
   * ```ts
   * await using picture = await sam.image.encode(await readFile("street.jpg"));
   * ```
   */
  encode(image: ImageInput, options: CallOptions = {}): Promise<EncodedImage> {
    return this.#engine.call("encode", this.encode, options, (call) =>
      this.#withOpened(
        image,
        call,
        async (opened) => new EncodedImage(this.#engine, await this.#lease(opened, call)),
      ),
    );
  }

  /**
   * Finds every instance of a concept in a picture: encode, ask once, dispose.
   *
   * @throws {Sam3Error} what `encode` and `EncodedImage.segmentConcept` throw
   * @example
   * ```ts
   * const { objects } = await sam.image.segmentConcept("street.jpg", { text: "yellow school bus" });
   * objects[0]?.box; // [x1, y1, x2, y2] in pixels
   *
   * // small things in a very large picture
   * await sam.image.segmentConcept("aerial.tif", { text: "car" }, { tiles: { size: 1008, overlap: 200 } });
   * ```
   */
  segmentConcept(
    image: ImageInput,
    prompt: ConceptPrompt,
    options: ImageConceptOptions = {},
  ): Promise<ConceptResult> {
    return this.#engine.call("segmentConcept", this.segmentConcept, options, (call) => {
      const extras = readConceptOptions("segmentConcept", options, ["tiles", "onProgress"]);
      const { tiles } = options;
      const report = reporter(options.onProgress, call.logger);
      return this.#withOpened(image, call, async (opened) => {
        if (tiles !== undefined)
          return segmentTiled(this.#engine, opened, prompt, { tiles, ...extras, report }, call);
        const asked = prepareConcept(this.#engine, prompt, opened);
        const result = await this.#withLease(opened, call, (picture) => picture.concept(asked, extras, call));
        report({ done: 1, total: 1 });
        return result;
      });
    });
  }

  /**
   * Asks many concept prompts of a picture: encode, one batch, dispose. See `EncodedImage.segmentConcepts`.
   *
   * @throws {Sam3Error} what `encode` and `EncodedImage.segmentConcepts` throw
   * @example
   * ```ts
   * const [wheels, cars] = await sam.image.segmentConcepts("street.jpg", [{ text: "wheel" }, { text: "car" }]);
   * ```
   */
  segmentConcepts(
    image: ImageInput,
    prompts: readonly SingleConceptPrompt[],
    options: ConceptOptions = {},
  ): Promise<Settled<ConceptResult>[]> {
    const caller = captureCaller(this.segmentConcepts);
    return this.#engine.call("segmentConcepts", this.segmentConcepts, options, (call) =>
      this.#concepts(image, prompts, readConceptOptions("segmentConcepts", options), call, caller),
    );
  }

  /**
   * Segments the one object that points, a box or both show in a picture: encode, ask once, dispose. With the feature
   * cache on, asking again about the same picture costs no second encoding.
   *
   * @throws {Sam3Error} what `encode` and `EncodedImage.segmentObject` throw
   * @example
   * ```ts
   * const { best } = await sam.image.segmentObject("street.jpg", { box: [40, 60, 210, 300] });
   * ```
   */
  segmentObject(image: ImageInput, prompt: ObjectPrompt, options: ObjectOptions = {}): Promise<ObjectResult> {
    return this.#engine.call("segmentObject", this.segmentObject, options, async (call) => {
      const [result] = allFulfilled(await this.#objects(image, [prompt], options, call));
      return result as ObjectResult;
    });
  }

  /**
   * Segments several objects of a picture, each shown by a prompt of its own: encode, one batch, dispose. See
   * `EncodedImage.segmentObjects`.
   *
   * @throws {Sam3Error} what `encode` and `EncodedImage.segmentObjects` throw
   * @example
   * ```ts
   * const answers = await sam.image.segmentObjects("street.jpg", boxes.map((box) => ({ box })));
   * ```
   */
  segmentObjects(
    image: ImageInput,
    prompts: readonly ObjectPrompt[],
    options: ObjectOptions = {},
  ): Promise<Settled<ObjectResult>[]> {
    const caller = captureCaller(this.segmentObjects);
    return this.#engine.call("segmentObjects", this.segmentObjects, options, async (call) => {
      const answers = await this.#objects(image, prompts, options, call);
      return answers.map((answer) => withCoded(answer, caller));
    });
  }

  /**
   * Asks many pictures, each its own prompts. The answers keep the order; a picture that is bad hurts no other, nor does
   * a prompt.
   *
   * @returns for each picture `{ status: "fulfilled", value }`, where `value` is what `segmentConcepts` gives, or
   *   `{ status: "rejected", reason }`
   * @throws {Sam3Error} what hits all alike: `INVALID_ARGUMENT`, `DISPOSED`, `TIMEOUT`; the signal's reason when it was
   *   aborted
   * @example
   * ```ts
   * const answers = await sam.image.segmentBatch(
   *   files.map((image) => ({ image, prompts: [{ text: "wheel" }] })),
   *   { onProgress: ({ done, total }) => console.log(`${done} of ${total}`) },
   * );
   * const results = answers.flatMap((picture) => (picture.status === "fulfilled" ? picture.value : []));
   * const found = results.flatMap((prompt) => (prompt.status === "fulfilled" ? [prompt.value] : []));
   * await writeFile("annotations.json", JSON.stringify(toCoco(found)));
   * ```
   */
  segmentBatch(
    items: readonly BatchItem[],
    options: BatchOptions = {},
  ): Promise<Settled<Settled<ConceptResult>[]>[]> {
    const caller = captureCaller(this.segmentBatch);
    return this.#engine.call("segmentBatch", this.segmentBatch, options, (call) => {
      const extras = readConceptOptions("segmentBatch", options, ["onProgress"]);
      if (!Array.isArray(items)) {
        throw new Sam3Error(
          "INVALID_ARGUMENT",
          `segmentBatch takes a list of { image, prompts }, not ${describe(items)}.`,
        );
      }
      const step = steps(items.length, reporter(options.onProgress, call.logger));
      // No more than can be at work: a batch must not fill the line by itself.
      const atOnce = Math.min(PICTURES_AT_ONCE, this.#engine.pictures.atOnce);
      const room = new Gate({ maxWeight: MAX_BATCH_BYTES });
      return inParallel(items, atOnce, async (item, i): Promise<Settled<Settled<ConceptResult>[]>> => {
        call.signal.throwIfAborted();
        this.#engine.assertOpen();
        try {
          const { image, prompts } = checkItem(item, i);
          // A call of its own, as far as lines are concerned.
          const ask = () => this.#concepts(image, prompts, extras, { ...call }, caller);
          return {
            status: "fulfilled",
            value: await room.pass(call.signal, ask, bytesToCopy(image)),
          };
        } catch (reason) {
          call.signal.throwIfAborted();
          this.#engine.assertOpen();
          return withCoded({ status: "rejected", reason }, caller);
        } finally {
          if (!call.signal.aborted) step();
        }
      });
    });
  }

  async #concepts(
    image: ImageInput,
    prompts: readonly SingleConceptPrompt[],
    extras: ReturnType<typeof readConceptOptions>,
    call: Call,
    caller: Caller,
  ): Promise<Settled<ConceptResult>[]> {
    const answers = await this.#withOpened(image, call, async (opened) => {
      const asked = prepareConcepts(this.#engine, prompts, opened);
      if (allRejected(asked)) return asked;
      return this.#withLease(opened, call, (picture) => picture.concepts(asked, extras, call));
    });
    return answers.map((answer) => withCoded(answer, caller));
  }

  #objects(
    image: ImageInput,
    prompts: readonly ObjectPrompt[],
    options: ObjectOptions,
    call: Call,
  ): Promise<Settled<ObjectResult>[]> {
    assertObjectPrompts(this.#engine);
    const settings = readObjectOptions(options, this.#engine.manifest.thresholds.mask);
    return this.#withOpened(image, call, async (opened) => {
      const { width, height, source } = opened;
      const size = { width, height, contentHash: source.contentHash };
      const checked = prepareObjects(this.#engine, prompts, size, settings);
      if (allRejected(checked)) return checked;
      return this.#withLease(opened, call, (picture) => picture.objects(checked, call));
    });
  }

  /** Opens a picture for some work. Prompts are checked in it before the encoder runs: a bad one costs no time. */
  async #withOpened<R>(image: ImageInput, call: Call, work: (opened: OpenedImage) => Promise<R>): Promise<R> {
    // Before anything is copied or read; once let in, the call is not refused half-way.
    const leave = this.#engine.pictures.enter(call);
    try {
      const opened = await this.#opener.open(image, call.signal);
      try {
        return await work(opened);
      } finally {
        opened.drop();
      }
    } finally {
      leave();
    }
  }

  /** Encodes for some work, then gives the features up. */
  async #withLease<R>(
    opened: OpenedImage,
    call: Call,
    work: (picture: LeasedPicture) => Promise<R>,
  ): Promise<R> {
    const picture = await this.#lease(opened, call);
    try {
      return await work(picture);
    } finally {
      picture.lease.release();
    }
  }

  async #lease(opened: OpenedImage, call: Call): Promise<LeasedPicture> {
    const { contentHash: key } = opened.source;
    const pixels = (signal: AbortSignal) => opened.pixels(signal);
    const pixelBytes = opened.width * opened.height * 3;
    const lease = await this.#engine.acquire({ key, pixels, pixelBytes }, call);
    // Its prompts may wait for long; should the features be lost, the picture is had again.
    opened.spare();
    return new LeasedPicture(this.#engine, lease, opened);
  }

  [INSPECT](): string {
    return `ImagePredictor { ${this.#engine.manifest.name} }`;
  }
}

function checkItem(item: unknown, i: number): BatchItem {
  if (typeof item === "object" && item !== null && "image" in item && "prompts" in item)
    return item as BatchItem;
  throw new Sam3Error(
    "INVALID_ARGUMENT",
    `Item ${i} of the batch is ${describe(item)}; it must be { image, prompts }.`,
  );
}
