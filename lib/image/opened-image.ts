import type { DecodedPixels } from "../devices/requests.js";
import { Sam3Error } from "../errors.js";
import { Gate } from "../gate.js";
import { contentHash } from "./content-hash.js";
import { decodeRead, type ReadImage, readImage } from "./decode-image.js";
import { type ImageInput, type ImageLimits, type TakenImage, takeImage } from "./take-image.js";

/** Reading and hashing keep a disk and a core busy; more at once would only hold more bytes. */
const READ_AT_ONCE = 4;

/** Files that wait to be decoded are kept in memory up to this sum, the others are read a second time. */
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
  readonly #limits: ImageLimits;
  readonly #reading = new Gate({ atOnce: READ_AT_ONCE });
  #keptBytes = 0;

  constructor(limits: ImageLimits) {
    this.#limits = limits;
  }

  /**
   * Reads a picture as it is now.
   *
   * @throws {Sam3Error} what `takeImage` and `readImage` throw; the signal's reason when it was aborted
   */
  open(input: ImageInput, signal: AbortSignal): Promise<OpenedImage> {
    // Before waiting in line: what was passed must be as it is now.
    const taken = takeImage(input, this.#limits);
    return this.#reading.pass(signal, async () => {
      const start = performance.now();
      const read = await readImage(taken, this.#limits, signal);
      const fileName = "path" in taken ? taken.path : undefined;
      const source = { input, fileName, contentHash: await contentHash(read) };
      const { width, height } = read;
      const facts = { source, width, height, readMs: performance.now() - start };
      return new OpenedImage(facts, this.#limits, this.#keep(taken, read));
    });
  }

  /** The content while it may be needed soon; a file only while not too many wait, for it can be read again. */
  #keep(taken: TakenImage, read: ReadImage): Kept | undefined {
    if (!("path" in taken && "bytes" in read)) return { read, onDrop: () => {} };
    const { length } = read.bytes;
    if (this.#keptBytes + length > MAX_KEPT_BYTES) return undefined;
    this.#keptBytes += length;
    return {
      read,
      onDrop: () => {
        this.#keptBytes -= length;
      },
    };
  }
}

interface Kept {
  readonly read: ReadImage;
  readonly onDrop: () => void;
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

  /** Forgets the content; more than once does nothing. */
  drop(): void {
    this.#kept?.onDrop();
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
