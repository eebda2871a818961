import type { Pin } from "../cache/feature-cache.js";
import { pictureDisposed } from "./disposed.js";
import type { Kept, PictureFeatures } from "./kept-features.js";
import type { CacheOutcome, PictureRequest } from "./requests.js";

/** A picture's features held for a caller. They stay until `release`, whatever the cache does. */
export class Lease {
  readonly width: number;
  readonly height: number;
  /** Bytes the features hold. */
  readonly bytes: number;
  /** Milliseconds spent reading and decoding the picture; 0 where nothing was decoded for this caller. */
  readonly decodeMs: number;
  /** Milliseconds of the image encoder; 0 where nothing was encoded for this caller. */
  readonly encodeMs: number;
  readonly cache: CacheOutcome;
  /** How to make the features again. */
  readonly request: PictureRequest;
  #pin: Pin<Kept>;
  #replacing: Promise<void> | undefined;

  constructor(pin: Pin<Kept>, request: PictureRequest) {
    const { native, decodeMs, encodeMs } = pin.value as PictureFeatures;
    this.width = native.width;
    this.height = native.height;
    this.bytes = native.bytes;
    this.cache = pin.outcome;
    // Whoever got them from the cache waited for neither.
    this.decodeMs = pin.outcome === "hit" ? 0 : decodeMs;
    this.encodeMs = pin.outcome === "hit" ? 0 : encodeMs;
    this.request = request;
    this.#pin = pin;
  }

  /** Name of the replica that holds them, for example `cuda:0`. */
  get replica(): string {
    return this.features.replica.name;
  }

  get features(): PictureFeatures {
    return this.#pin.value as PictureFeatures;
  }

  get released(): boolean {
    return this.#pin.released;
  }

  /** Gives the features up; work on them that runs ends first. More than once does nothing. */
  release(): void {
    this.#pin.release();
  }

  /** A pin of its own on the features as they are now. */
  retain(): Pin<Kept> {
    if (this.released) throw pictureDisposed();
    return this.#pin.retain();
  }

  /** Puts other features in the place of lost ones, once however many ask, and gives a pin on them. */
  async replace(lost: Pin<Kept>, make: () => Promise<Pin<Kept>>): Promise<Pin<Kept>> {
    if (this.#pin.value === lost.value) {
      this.#replacing ??= make()
        .then((pin) => {
          if (this.released) pin.release();
          else {
            this.#pin.release();
            this.#pin = pin;
          }
        })
        .finally(() => {
          this.#replacing = undefined;
        });
      await this.#replacing;
    }
    return this.retain();
  }
}
