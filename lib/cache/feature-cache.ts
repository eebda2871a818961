import { throwIfAborted, until } from "../abort.js";
import type { CacheOutcome } from "../devices/requests.js";
import { Flight } from "./flight.js";

/** What is kept: something immutable that holds memory until it is disposed. */
export interface Cacheable {
  readonly bytes: number;
  dispose(): void;
}

/** Where an entry's bytes are. */
export type Tier = "device" | "host";

/** Which store an entry belongs to in the figures. */
export type CacheKind = "picture" | "text";

export interface FeatureCacheOptions<V extends Cacheable> {
  /** Most bytes kept on the devices, all together. */
  readonly deviceBytes: number;
  /** Most bytes kept in the host's memory of what no longer fits a device; 0 = none. */
  readonly hostBytes: number;
  /** How long an entry stays after its last use, in milliseconds; 0 = until its room is needed. */
  readonly ttlMs: number;
  /** Copies a value to the other tier; undefined for values that stay where they are. */
  readonly move?: ((value: V, to: Tier, signal: AbortSignal) => Promise<V>) | undefined;
  /** Whether `move` can move this value. */
  readonly movable?: ((value: V) => boolean) | undefined;
  readonly now?: () => number;
}

/** What is asked of the cache. */
export interface CacheRequest<V> {
  readonly key: string;
  readonly kind: CacheKind;
  /** Leaves this caller's wait; the work goes on while anyone else waits for it. */
  readonly signal: AbortSignal | undefined;
  /** Makes the value. Its signal aborts when nobody waits any more; it must settle when the work has really ended. */
  readonly make: (signal: AbortSignal) => Promise<V>;
  /** False: the value is used and thrown away, and the figures do not count it. */
  readonly keep?: boolean;
}

/** One entry as `entries()` shows it. */
export interface CacheEntryInfo {
  readonly key: string;
  readonly kind: CacheKind;
  readonly tier: Tier;
  readonly bytes: number;
  /** How many use it at this moment. */
  readonly pins: number;
}

/** What the cache holds and how it did. */
export interface CacheStats {
  readonly enabled: boolean;
  /** Entries kept on devices. */
  readonly entries: number;
  readonly bytes: number;
  readonly maxBytes: number;
  readonly hostEntries: number;
  readonly hostBytes: number;
  readonly maxHostBytes: number;
  /** Bytes in use that are not kept: no room was left, or they were dropped while in use. */
  readonly looseBytes: number;
  /** Entries somebody uses at this moment. */
  readonly pinned: number;
  /** Values being made at this moment. */
  readonly making: number;
  readonly hits: number;
  readonly misses: number;
  readonly textHits: number;
  readonly textMisses: number;
  /** Thrown out for room or for memory. */
  readonly evictions: number;
  readonly expirations: number;
  /** Moved to the host's memory, and back. */
  readonly offloads: number;
  readonly restores: number;
}

interface Entry<V> {
  readonly key: string;
  readonly kind: CacheKind;
  value: V;
  tier: Tier;
  pins: number;
  /** `kept`: counted against the tier's budget; `waiting`: for room being made; `loose`: lives while it is used. */
  state: "kept" | "waiting" | "loose" | "dropped";
  /** When it ends unless it is used again. */
  expiresAt: number;
  /** Goes to the host when its copy is there; cleared when somebody uses it meanwhile. */
  leaving: boolean;
  /** A copy to the host is under way, wanted or not; host bytes are set aside for it until it ends. */
  copying: boolean;
}

/** A value that somebody uses: it stays until released. */
export class Pin<V extends Cacheable> {
  readonly outcome: CacheOutcome;
  readonly #entry: Entry<V>;
  readonly #unpin: (entry: Entry<V>) => void;
  #released = false;

  /** @internal */
  constructor(entry: Entry<V>, outcome: CacheOutcome, unpin: (entry: Entry<V>) => void) {
    this.#entry = entry;
    this.outcome = outcome;
    this.#unpin = unpin;
    entry.pins++;
  }

  get value(): V {
    return this.#entry.value;
  }

  get released(): boolean {
    return this.#released;
  }

  /** Another pin on the same value. */
  retain(): Pin<V> {
    return new Pin(this.#entry, this.outcome, this.#unpin);
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#unpin(this.#entry);
  }
}

/**
 * Keeps what encoders made: least recently used out first, by bytes, with a time to live. Whoever asks for a key while
 * it is being made waits for the same work. What is in use is pinned: it is neither thrown out nor moved. Never holds
 * more than its budgets; what does not fit is used and not kept.
 */
export class FeatureCache<V extends Cacheable> {
  readonly #options: FeatureCacheOptions<V>;
  readonly #now: () => number;
  /** Least recently used first. */
  readonly #entries = new Map<string, Entry<V>>();
  readonly #flights = new Map<string, Flight<Entry<V>, Pin<V>>>();
  readonly #used = { device: 0, host: 0 };
  /** Dropped from the map while in use. */
  readonly #dropped = new Set<Entry<V>>();
  readonly #counts = {
    hits: 0,
    misses: 0,
    textHits: 0,
    textMisses: 0,
    evictions: 0,
    expirations: 0,
    offloads: 0,
    restores: 0,
  };
  readonly #moves = new Set<AbortController>();
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #anonymous = 0;
  #closed = false;

  constructor(options: FeatureCacheOptions<V>) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** The value of a key, pinned: kept, being made, or made now. */
  async use(request: CacheRequest<V>): Promise<Pin<V>> {
    const { kind, signal, make } = request;
    const keep = request.keep ?? true;
    const key = keep ? `${kind}:${request.key}` : `once:${this.#anonymous++}`;
    for (;;) {
      throwIfAborted(signal);
      this.#expire();
      const entry = this.#entries.get(key);
      if (entry?.tier === "device") {
        this.#touch(entry);
        this.#count(kind, "hit");
        return this.#pin(entry, "hit");
      }
      const flight = this.#flights.get(key);
      if (flight?.abandoned) {
        // Nobody waited for that work any more and it was told to stop; it must have ended before it begins again.
        await until(signal, flight.ended);
        continue;
      }
      if (flight) {
        const pin = await flight.join(signal, (made) => this.#pin(made, keep ? "hit" : "off"));
        if (keep) this.#count(kind, "hit");
        return pin;
      }
      return await this.#make({ key, kind, keep, host: entry, make }, signal);
    }
  }

  /** Drops what matches and is not in use; what is in use is no longer found and goes when it is released. */
  drop(matches: (value: V) => boolean): void {
    for (const entry of [...this.#entries.values()]) if (matches(entry.value)) this.#remove(entry);
  }

  /**
   * Frees what matches and is not in use, because memory is short: what was used longest ago first, and no more than it
   * takes. Gives the bytes freed.
   */
  evict(matches: (value: V) => boolean, neededBytes = Number.POSITIVE_INFINITY): number {
    let bytes = 0;
    for (const entry of [...this.#entries.values()]) {
      if (bytes >= neededBytes) break;
      if (entry.tier !== "device" || entry.pins > 0 || !matches(entry.value)) continue;
      bytes += entry.value.bytes;
      this.#counts.evictions++;
      this.#remove(entry);
    }
    return bytes;
  }

  /** Empties the cache. What is in use goes when it is released; work under way is delivered and then thrown away. */
  clear(): void {
    for (const flight of this.#flights.values()) flight.stale = true;
    this.drop(() => true);
  }

  /** Frees everything, also what is in use, and keeps nothing from now on. */
  close(): void {
    this.#closed = true;
    for (const move of this.#moves) move.abort();
    this.clear();
    for (const entry of this.#dropped) entry.value.dispose();
    this.#dropped.clear();
    clearTimeout(this.#timer);
  }

  entries(): CacheEntryInfo[] {
    return [...this.#entries.values()].map(({ key, kind, tier, value, pins }) => ({
      key: key.slice(kind.length + 1),
      kind,
      tier,
      bytes: value.bytes,
      pins,
    }));
  }

  stats(): Omit<CacheStats, "enabled"> {
    const all = [...this.#entries.values(), ...this.#dropped];
    const kept = all.filter(({ state }) => state === "kept");
    const loose = all.filter(({ state }) => state !== "kept");
    return {
      entries: kept.filter(({ tier }) => tier === "device").length,
      bytes: this.#used.device,
      maxBytes: this.#options.deviceBytes,
      hostEntries: kept.filter(({ tier }) => tier === "host").length,
      hostBytes: this.#used.host,
      maxHostBytes: this.#options.hostBytes,
      looseBytes: loose.reduce((sum, { value }) => sum + value.bytes, 0),
      pinned: all.filter(({ pins }) => pins > 0).length,
      making: this.#flights.size,
      ...this.#counts,
    };
  }

  async #make(
    wanted: {
      readonly key: string;
      readonly kind: CacheKind;
      readonly keep: boolean;
      readonly host: Entry<V> | undefined;
      readonly make: (signal: AbortSignal) => Promise<V>;
    },
    signal: AbortSignal | undefined,
  ): Promise<Pin<V>> {
    const { key, kind, keep, host, make } = wanted;
    let restored = false;
    const flight: Flight<Entry<V>, Pin<V>> = new Flight(async (stop: AbortSignal): Promise<Entry<V>> => {
      try {
        const back = host === undefined ? undefined : await this.#restore(host, stop);
        restored = back !== undefined;
        const value = back ?? (await make(stop));
        return this.#add(key, kind, value, keep && !flight.stale);
      } finally {
        // Before those who wait are told: whoever comes then would wait for ever.
        this.#flights.delete(key);
      }
    });
    this.#flights.set(key, flight);
    const pin = flight.join(signal, (made) => this.#pin(made, keep ? (restored ? "hit" : "miss") : "off"));
    flight.start((made) => {
      made.pins--;
      this.#settle(made);
    });
    try {
      return await pin;
    } finally {
      if (keep) this.#count(kind, restored ? "hit" : "miss");
    }
  }

  /** The value back on the device, or undefined when it could not be brought there. */
  async #restore(host: Entry<V>, signal: AbortSignal): Promise<V | undefined> {
    host.pins++;
    let value: V | undefined;
    try {
      value = await this.#options.move?.(host.value, "device", signal);
      if (value !== undefined) this.#counts.restores++;
      return value;
    } catch {
      // Its device may be gone, or full: making the value anew says so, or works.
      throwIfAborted(signal);
      return undefined;
    } finally {
      host.pins--;
      // It stays only where it was told to stop and did: what came back after all takes its place.
      if (value !== undefined || !signal.aborted || host.state === "dropped") this.#remove(host);
    }
  }

  #add(key: string, kind: CacheKind, value: V, keep: boolean): Entry<V> {
    const entry: Entry<V> = {
      key,
      kind,
      value,
      tier: "device",
      // Held until those who waited have claimed it: others may ask for room before they do.
      pins: 1,
      state: "loose",
      expiresAt: Number.POSITIVE_INFINITY,
      leaving: false,
      copying: false,
    };
    if (!keep || this.#closed) {
      entry.state = "dropped";
      this.#dropped.add(entry);
      return entry;
    }
    this.#entries.set(key, entry);
    this.#admit(entry);
    return entry;
  }

  #pin(entry: Entry<V>, outcome: CacheOutcome): Pin<V> {
    entry.leaving = false;
    return new Pin(entry, outcome, (it) => {
      it.pins--;
      this.#touch(it);
      this.#settle(it);
    });
  }

  /** Throws away what nobody uses and the cache does not keep; asks once more for room for what it could keep. */
  #settle(entry: Entry<V>): void {
    if (entry.pins > 0 || entry.state === "waiting") return;
    if (entry.state === "loose") {
      if (this.#admit(entry) === "loose") this.#remove(entry);
    } else if (entry.state === "dropped" && this.#dropped.delete(entry)) entry.value.dispose();
    // Room that could not be made while this was in use may be there now.
    this.#retryWaiting();
  }

  #touch(entry: Entry<V>): void {
    if (this.#entries.get(entry.key) !== entry) return;
    this.#entries.delete(entry.key);
    this.#entries.set(entry.key, entry);
    const { ttlMs } = this.#options;
    if (ttlMs > 0) {
      entry.expiresAt = this.#now() + ttlMs;
      this.#wakeAt(entry.expiresAt);
    }
  }

  /** Makes room for an entry and keeps it; where room takes a move to the host, when that has ended; else it is loose. */
  #admit(entry: Entry<V>): Entry<V>["state"] {
    const { deviceBytes } = this.#options;
    const { bytes } = entry.value;
    entry.state = "loose";
    if (bytes > deviceBytes) return "loose";
    const victims: Entry<V>[] = [];
    let missing = this.#used.device + bytes - deviceBytes;
    if (missing > 0) {
      for (const it of this.#entries.values()) {
        if (it.tier !== "device" || it.state !== "kept" || it.pins > 0) continue;
        if (!it.leaving) victims.push(it);
        missing -= it.value.bytes;
        if (missing <= 0) break;
      }
      // Everything else is in use: throwing out the rest would not help.
      if (missing > 0) return "loose";
    }
    for (const victim of victims) this.#sendAway(victim);
    if (this.#used.device + bytes > deviceBytes) {
      entry.state = "waiting";
      return "waiting";
    }
    entry.state = "kept";
    this.#used.device += bytes;
    this.#touch(entry);
    return "kept";
  }

  #retryWaiting(): void {
    for (const entry of [...this.#entries.values()]) {
      if (entry.state === "waiting" && this.#admit(entry) === "loose") this.#settle(entry);
    }
  }

  /** To the host where it has room, else out. */
  #sendAway(entry: Entry<V>): void {
    const { move, movable = () => true, hostBytes } = this.#options;
    const { bytes } = entry.value;
    if (entry.copying) {
      // It was used since that copy began, and did not change by it: the copy serves after all.
      entry.leaving = true;
      return;
    }
    if (!move || !movable(entry.value) || bytes > hostBytes || !this.#makeHostRoom(bytes)) {
      this.#counts.evictions++;
      this.#remove(entry);
      return;
    }
    entry.leaving = true;
    entry.copying = true;
    this.#used.host += bytes;
    const stop = new AbortController();
    this.#moves.add(stop);
    const ended = () => {
      entry.copying = false;
      this.#used.host -= bytes;
    };
    move(entry.value, "host", stop.signal)
      .then(
        (value) => {
          ended();
          this.#arrived(entry, value, bytes);
        },
        () => {
          ended();
          this.#stranded(entry);
        },
      )
      .finally(() => {
        this.#moves.delete(stop);
        this.#retryWaiting();
      });
  }

  #arrived(entry: Entry<V>, value: V, reserved: number): void {
    if (!entry.leaving || entry.state !== "kept") {
      // Somebody used it meanwhile, or it was dropped: the copy is not needed.
      value.dispose();
      return;
    }
    entry.leaving = false;
    entry.value.dispose();
    this.#used.device -= entry.value.bytes;
    entry.value = value;
    entry.tier = "host";
    this.#counts.offloads++;
    // The copy was given `reserved` bytes of room; more than that does not fit.
    this.#used.host += value.bytes;
    if (value.bytes > reserved && this.#used.host > this.#options.hostBytes) this.#remove(entry);
  }

  #stranded(entry: Entry<V>): void {
    if (!entry.leaving || entry.state !== "kept") return;
    this.#counts.evictions++;
    this.#remove(entry);
  }

  #makeHostRoom(bytes: number): boolean {
    const { hostBytes } = this.#options;
    if (this.#used.host + bytes <= hostBytes) return true;
    const old = [...this.#entries.values()].filter(({ tier, pins }) => tier === "host" && pins === 0);
    const free = old.reduce((sum, { value }) => sum + value.bytes, hostBytes - this.#used.host);
    if (free < bytes) return false;
    for (const entry of old) {
      if (this.#used.host + bytes <= hostBytes) break;
      this.#counts.evictions++;
      this.#remove(entry);
    }
    return true;
  }

  #remove(entry: Entry<V>): void {
    if (this.#entries.get(entry.key) === entry) this.#entries.delete(entry.key);
    if (entry.state === "kept") this.#used[entry.tier] -= entry.value.bytes;
    const gone = entry.state === "dropped" && !this.#dropped.has(entry);
    entry.state = "dropped";
    if (gone) return;
    if (entry.pins > 0) this.#dropped.add(entry);
    else {
      this.#dropped.delete(entry);
      entry.value.dispose();
    }
  }

  #expire(): void {
    const now = this.#now();
    let freed = false;
    // In order of their last use, so of their end.
    for (const entry of this.#entries.values()) {
      if (entry.pins > 0) continue;
      if (entry.expiresAt > now) break;
      this.#counts.expirations++;
      this.#remove(entry);
      freed = true;
    }
    if (freed) this.#retryWaiting();
  }

  #wakeAt(time: number): void {
    if (time >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = time;
    // Never holds the process open. A little late, so that what ends together is freed together.
    this.#timer = setTimeout(
      () => {
        this.#timerAt = Number.POSITIVE_INFINITY;
        this.#expire();
        const next = Math.min(...[...this.#entries.values()].map(({ expiresAt }) => expiresAt));
        if (Number.isFinite(next)) this.#wakeAt(Math.max(next, this.#now() + 1));
      },
      Math.min(2 ** 31 - 1, Math.max(1, time - this.#now() + 5)),
    );
    this.#timer.unref();
  }

  #count(kind: CacheKind, what: "hit" | "miss"): void {
    if (kind === "text") this.#counts[what === "hit" ? "textHits" : "textMisses"]++;
    else this.#counts[what === "hit" ? "hits" : "misses"]++;
  }
}
