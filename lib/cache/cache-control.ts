import { INSPECT } from "../inspect.js";
import type { CacheEntryInfo, CacheStats } from "./feature-cache.js";

/** What is behind it. */
interface Cache {
  cacheStats(): CacheStats;
  cacheEntries(): CacheEntryInfo[];
  clearCache(): void;
}

/** The kept features of a Sam3, to look at and to clear; `sam.cache`. */
export class CacheControl {
  readonly #cache: Cache;

  /** @internal */
  constructor(cache: Cache) {
    this.#cache = cache;
  }

  /** What is kept, and how often it was of use. */
  stats(): CacheStats {
    return this.#cache.cacheStats();
  }

  /** What is kept, least recently used first, with its bytes. A picture's key begins with the hash of its content. */
  entries(): CacheEntryInfo[] {
    return this.#cache.cacheEntries();
  }

  /** Frees everything that is not in use; what is goes when it is released. */
  clear(): void {
    this.#cache.clearCache();
  }

  [INSPECT](): string {
    const { entries, bytes, maxBytes, hits, misses } = this.stats();
    const mib = (value: number) => (value / 2 ** 20).toFixed(1);
    return `CacheControl { ${entries} entries, ${mib(bytes)} of ${mib(maxBytes)} MiB, ${hits} hits, ${misses} misses }`;
  }
}
