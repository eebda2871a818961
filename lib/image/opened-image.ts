import type { Engine } from "../devices/engine.js";
import type { DecodedPixels } from "../devices/requests.js";
import { Sam3Error } from "../errors.js";
import { ByteBudget } from "./byte-budget.js";
import { contentHash } from "./content-hash.js";
import { decodeRead, type ReadImage, readImage } from "./decode-image.js";
import { type ImageInput, type ImageLimits, type TakenImage, takeImage } from "./take-image.js";

/** Bytes and pixels that were passed are copied up to this sum; more is refused, for its owner may change it. */
const MAX_COPIED_BYTES = 2 ** 30;

/** What can be had again, files and what sharp gives, is kept up to this sum until it is decoded; more is read twice. */
const MAX_KEPT_BYTES = 256 * 2 ** 20;

/** Where a picture came from, for whoever needs it again. */
export interface ImageSource {
  readonly input: ImageInput;
  /** Path of the file, where it came from one. */
  readonly fileName: string | undefined;
  readonly contentHash: string;
}

/** Opens pictures: reads and names them by their content, a few at a time, decoding nothing that need not be. */
export class ImageOpener {
  readonly #engine: Pick<Engine, "maxPixels" | "pictures">;
  readonly #copies: ByteBudget;
  readonly #kept: ByteBudget;

  constructor(
    engine: Pick<Engine, "maxPixels" | "pictures">,
    { maxCopiedBytes = MAX_COPIED_BYTES, maxKeptBytes = MAX_KEPT_BYTES } = {},
  ) {
    this.#engine = engine;
    this.#copies = new ByteBudget(maxCopiedBytes);
    this.#kept = new ByteBudget(maxKeptBytes);
  }

  /** Bytes of pictures that were opened and not dropped. */
  get heldBytes(): number {
    return this.#copies.heldBytes + this.#kept.heldBytes;
  }

  /**
   * Reads a picture as it is now.
   *
   * @throws {Sam3Error} what `takeImage` and `readImage` throw; `QUEUE_FULL` where those that wait hold too much; `TIMEOUT`
   *   when it waited too long to be read; the signal's reason when it was aborted
   */
  async open(input: ImageInput, signal: AbortSignal): Promise<OpenedImage> {
    let drop = () => {};
    // Before waiting in line: what was passed must be as it is now.
    const taken = takeImage(input, this.#engine, (bytes) => {
      drop = this.#holdCopy(bytes);
    });
    try {
      return await this.#engine.pictures.read(signal, async () => {
        const start = performance.now();
        const read = await readImage(taken, this.#engine, signal);
        const fileName = "path" in taken ? taken.path : undefined;
        const source = { input, fileName, contentHash: await contentHash(read) };
        const { width, height } = read;
        const facts = { source, width, height, readMs: performance.now() - start };
        return new OpenedImage(facts, this.#engine, this.#keep(taken, read, drop));
      });
    } catch (error) {
      drop();
      throw error;
    }
  }

  /** Room for a copy; gives how to give it back. */
  #holdCopy(bytes: number): () => void {
    const drop = this.#copies.take(bytes);
    if (drop) return drop;
    const { heldBytes, maxBytes } = this.#copies;
    throw new Sam3Error(
      "QUEUE_FULL",
      `Pictures that were passed as bytes or pixels and wait hold ${heldBytes} bytes, and with the ${bytes} of this one it would be more than ${maxBytes}. Try again later, send less at once, or pass the paths of files.`,
      { details: { stage: "readImages", heldBytes, bytes, maxBytes } },
    );
  }

  /** The content while it may be needed soon; what can be had again only while not too much waits. */
  #keep(taken: TakenImage, read: ReadImage, drop: () => void): Kept | undefined {
    if ("bytes" in taken || "raw" in taken) return { read, drop, copied: true };
    const kept = this.#kept.take("bytes" in read ? read.bytes.length : read.raw.data.length);
    return kept && { read, drop: kept, copied: false };
  }
}

interface Kept {
  readonly read: ReadImage;
  /** Gives its room back. */
  readonly drop: () => void;
  /** Of what its owner may have changed since: it cannot be had again. */
  readonly copied: boolean;
}

/** A picture that was read: its size and the name of its content are known, its pixels can be had at any later time. */
export class OpenedImage {
  readonly source: ImageSource;
  /** In pixels, turned as its EXIF says. */
  readonly width: number;
  readonly height: number;
  /** Milliseconds spent reading and hashing. */
  readonly readMs: number;
  readonly #limits: ImageLimits;
  #kept: Kept | undefined;

  constructor(
    facts: Pick<OpenedImage, "source" | "width" | "height" | "readMs">,
    limits: ImageLimits,
    kept: Kept | undefined,
  ) {
    this.source = facts.source;
    this.width = facts.width;
    this.height = facts.height;
    this.readMs = facts.readMs;
    this.#limits = limits;
    this.#kept = kept;
  }

  /**
   * Decodes the picture. After `drop` the input is read once more, and must still have the same content.
   *
   * @throws {Sam3Error} what decoding throws, `IMAGE_INVALID` when the content is another by now
   */
  async pixels(signal: AbortSignal): Promise<DecodedPixels> {
    return decodeRead(this.#kept?.read ?? (await this.#readAgain(signal)), this.#limits, signal);
  }

  /** Forgets the content where it can be read again; a copy of what its owner may change stays until `drop`. */
  spare(): void {
    if (!this.#kept?.copied) this.drop();
  }

  /** Forgets the content; more than once does nothing. */
  drop(): void {
    this.#kept?.drop();
    this.#kept = undefined;
  }

  async #readAgain(signal: AbortSignal): Promise<ReadImage> {
    const read = await readImage(takeImage(this.source.input, this.#limits), this.#limits, signal);
    if ((await contentHash(read)) !== this.source.contentHash) {
      throw new Sam3Error(
        "IMAGE_INVALID",
        `${read.name} changed after it was passed, and is needed once more. Pass it again.`,
      );
    }
    return read;
  }
}
