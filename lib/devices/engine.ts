import { randomBytes } from "node:crypto";
import { until } from "../abort.js";
import type { Manifest } from "../bundle/manifest.js";
import type { TextTokenizer } from "../bundle/tokenizer.js";
import type { CacheEntryInfo, CacheStats, FeatureCache, Pin } from "../cache/feature-cache.js";
import { type Call, type CallOptions, startCall } from "../call.js";
import { type Caller, captureCaller, forCaller } from "../caller.js";
import { Sam3Error } from "../errors.js";
import { Gate } from "../gate.js";
import type { Logger } from "../logger.js";
import type { Meter } from "../metrics/meter.js";
import type { NativeConceptObjects, NativeObjectMasks } from "../native/addon.js";
import type { Settings } from "../options.js";
import type { Asker, BatchLimits } from "./batch-queue.js";
import type { DevicePool, Health, SessionPlace } from "./device-pool.js";
import { sam3Closed } from "./disposed.js";
import { engineStats, type Sam3Stats } from "./engine-stats.js";
import { type Kept, PictureFeatures, TextFeatures } from "./kept-features.js";
import { Lease } from "./lease.js";
import { PictureLine } from "./picture-line.js";
import type { Stage } from "./replica.js";
import type { ConceptRequest, DecodedPixels, ObjectRequest, PictureRequest, Settled } from "./requests.js";

/** What an engine is made of. */
export interface EngineParts {
  readonly manifest: Manifest;
  readonly tokenizer: TextTokenizer;
  readonly logger: Logger;
  readonly threshold: number;
  readonly maxPixels: number;
  readonly pool: DevicePool;
  readonly cache: FeatureCache<Kept>;
  readonly cacheEnabled: boolean;
  readonly meter: Meter;
  readonly limits: Readonly<Record<"encode" | "decode", BatchLimits>>;
  /** Most calls that wait: of those that bring a picture, and at each replica of those on encoded ones. */
  readonly maxQueue: number;
  /** Milliseconds of a call that names none; 0 = no end. */
  readonly callTimeoutMs: number;
  /** Names the bundle's content, so that features of another one are never taken for its own. */
  readonly bundleId: string;
  readonly video: VideoSettings;
}

/** What was set for video. */
export type VideoSettings = Pick<
  Settings,
  | "temporalDisambiguation"
  | "videoDevices"
  | "maxSessions"
  | "sessionTimeoutSeconds"
  | "sessionCleanupIntervalSeconds"
  | "videoDecoder"
  | "ffmpeg"
  | "videoReadAhead"
  | "videoStallTimeoutMs"
  | "maxVideoMb"
>;

/** What of a call goes with its work. */
type Asking = Pick<Call, "signal" | "startedAt">;
const nothing = () => {};

// The safety net for a model that was never closed.
const abandoned = new FinalizationRegistry<Pick<EngineParts, "pool" | "cache" | "logger" | "manifest">>(
  ({ pool, cache, logger, manifest }) => {
    logger.warn(
      `A loaded model (${manifest.name}) was never closed; it is freed now. Use "await using", or call close().`,
    );
    cache.close();
    pool.close().catch((error: unknown) => logger.error(`closing ${manifest.name} failed: ${String(error)}`));
  },
);

/**
 * The model as the layers above use it: features from the cache or the encoder, prompts to the decoders, on whichever
 * replica. Gathers batches, retries what memory or a device spoiled, and measures. Lives as long as its `Sam3`.
 */
export class Engine {
  readonly manifest: Manifest;
  readonly tokenizer: TextTokenizer;
  readonly logger: Logger;
  /** Score above which objects are returned where a prompt names no threshold. */
  readonly threshold: number;
  readonly maxPixels: number;
  readonly video: VideoSettings;
  readonly bundleId: string;
  /** Where pictures come in. */
  readonly pictures: PictureLine;
  readonly #parts: EngineParts;
  /** Who waits for features, by the picture's key: each could give its pixels. */
  readonly #asking = new Map<string, Set<PictureRequest>>();
  readonly #idPrefix = randomBytes(2).toString("hex");
  #calls = 0;
  #closing: Promise<void> | undefined;

  constructor(parts: EngineParts) {
    this.#parts = parts;
    this.manifest = parts.manifest;
    this.tokenizer = parts.tokenizer;
    this.logger = parts.logger;
    this.threshold = parts.threshold;
    this.maxPixels = parts.maxPixels;
    this.video = parts.video;
    this.bundleId = parts.bundleId;
    const { pool, cache, logger, manifest, limits, maxQueue } = parts;
    this.pictures = new PictureLine({ ...limits.encode, replicas: pool.replicas.length, maxQueue });
    abandoned.register(this, { pool, cache, logger, manifest }, this);
  }

  /** Throws `DISPOSED` once closing has begun. */
  assertOpen(): void {
    if (this.#closing) throw sam3Closed();
  }

  /**
   * Runs a public call: checks its options and that the engine is open, starts its clock, makes its id, counts it, and
   * turns what fails into a `Sam3Error` with the stack of whoever called `entry`.
   */
  call<T>(
    operation: string,
    entry: (...args: never[]) => unknown,
    options: CallOptions | undefined,
    work: (call: Call) => Promise<T>,
  ): Promise<T> {
    // Here, while the caller is still on the stack.
    return this.#call(captureCaller(entry), operation, options, work);
  }

  /** Features of a picture: from the cache, from an encode that is under way, or from one of its own. */
  async acquire(request: PictureRequest, call: Asking): Promise<Lease> {
    this.assertOpen();
    const { signal, startedAt } = call;
    const pin = await this.#features(request, { signal, startedAt });
    if (this.#closing) {
      pin.release();
      this.assertOpen();
    }
    return new Lease(pin, request);
  }

  /**
   * Decodes concept prompts; each fails alone. Throws only what hits all: the signal's reason, `DISPOSED`, and
   * `QUEUE_FULL` where the call was not let in with a picture. The answer keeps the order.
   */
  segmentConcepts(
    lease: Lease,
    requests: readonly ConceptRequest[],
    call: Call,
  ): Promise<Settled<NativeConceptObjects>[]> {
    return this.#each("segmentConcepts", lease, requests, call, (features, request, asker) =>
      this.#concept(features, request, asker),
    );
  }

  /** Decodes object prompts, likewise. */
  segmentObjects(
    lease: Lease,
    requests: readonly ObjectRequest[],
    call: Call,
  ): Promise<Settled<NativeObjectMasks>[]> {
    return this.#each(
      "segmentObjects",
      lease,
      requests,
      call,
      async ({ native, replica }, request, asker) => {
        const input = { ...request, features: native };
        return (await replica.submit("segmentObjects", input, asker)).value;
      },
    );
  }

  /**
   * A place for a video session that keeps `bytes` on its device; see `DevicePool.pin`.
   *
   * @throws {Sam3Error} `DEVICE_MEMORY`, `DEVICE_UNKNOWN`, `DISPOSED`, what loading a replica failed with; the
   *   signal's reason when it was aborted
   */
  pin(
    bytes: number,
    names: readonly string[] | undefined,
    signal: AbortSignal | undefined,
  ): Promise<SessionPlace> {
    this.assertOpen();
    return this.#parts.pool.pin(bytes, names, signal);
  }

  stats(): Sam3Stats {
    return engineStats(this.#parts, this.pictures.waiting);
  }

  health(): Health {
    return this.#parts.pool.health();
  }

  get meter(): Meter {
    return this.#parts.meter;
  }

  cacheStats(): CacheStats {
    return { enabled: this.#parts.cacheEnabled, ...this.#parts.cache.stats() };
  }

  cacheEntries(): CacheEntryInfo[] {
    return this.#parts.cache.entries();
  }

  clearCache(): void {
    this.#parts.cache.clear();
  }

  /** Frees the model and every feature made with it. Idempotent; what runs ends, what waits is rejected with `DISPOSED`. */
  close(): Promise<void> {
    abandoned.unregister(this);
    const { pool, cache } = this.#parts;
    this.#closing ??= pool.close().finally(() => cache.close());
    return this.#closing;
  }

  async #call<T>(
    caller: Caller,
    operation: string,
    options: CallOptions | undefined,
    work: (call: Call) => Promise<T>,
  ): Promise<T> {
    const end = this.#parts.meter.begin(operation);
    const start = performance.now();
    const id = `${this.#idPrefix}-${++this.#calls}`;
    let logger = this.logger;
    try {
      const answer = await forCaller(caller, options?.signal, async () => {
        const call = startCall(options, { timeoutMs: this.#parts.callTimeoutMs, id, logger });
        logger = call.logger;
        try {
          this.assertOpen();
          return await work(call);
        } finally {
          call.end();
        }
      });
      end("ok");
      logger.debug(`${operation} took ${Math.round(performance.now() - start)} ms`);
      return answer;
    } catch (error) {
      const code = Sam3Error.is(error) ? (error as Sam3Error).code : "aborted";
      end(code);
      logger.debug(`${operation} failed after ${Math.round(performance.now() - start)} ms: ${code}`);
      throw error;
    }
  }

  async #features(request: PictureRequest, { signal, startedAt }: Partial<Asking>): Promise<Pin<Kept>> {
    const { key } = request;
    const { cache, cacheEnabled, bundleId, manifest } = this.#parts;
    // One of its own each time: a picture that was lost is asked for with the same request again.
    const own = { ...request };
    const leave = this.#joinAsking(own);
    try {
      return await cache.use({
        key: `${key}/${bundleId}/${manifest.resolution}`,
        kind: "picture",
        keep: cacheEnabled && key !== undefined,
        signal,
        make: (stop) => this.#encode(own, { signal: stop, startedAt }),
      });
    } finally {
      leave();
    }
  }

  #joinAsking(request: PictureRequest): () => void {
    const { key } = request;
    if (key === undefined) return nothing;
    const asking = this.#asking.get(key) ?? new Set();
    this.#asking.set(key, asking.add(request));
    return () => {
      asking.delete(request);
      if (asking.size === 0) this.#asking.delete(key);
    };
  }

  /** Pixels of a picture, from one who still waits for it: who has left may have taken the file along. */
  async #pixels(request: PictureRequest, signal: AbortSignal): Promise<DecodedPixels> {
    const waiting = () => (request.key === undefined ? undefined : this.#asking.get(request.key));
    for (;;) {
      const asking = waiting();
      const [first = request] = asking ?? [];
      const source = asking?.has(request) ? request : first;
      try {
        return await source.pixels(signal);
      } catch (error) {
        // Of one who is still there it is the picture that is bad, and that is so for all.
        const others = waiting();
        if (signal.aborted || others === undefined || others.has(source)) throw error;
      }
    }
  }

  /** Decodes and encodes one picture. Settles when both have really ended. */
  #encode(
    request: PictureRequest,
    asker: Asker & { readonly signal: AbortSignal },
  ): Promise<PictureFeatures> {
    return this.pictures.encode(asker.signal, request.pixelBytes ?? 0, async (weigh) => {
      this.assertOpen();
      let assignment = await this.#parts.pool.assign("encodeImages");
      const decoded = await this.#pixels(request, asker.signal).catch((error: unknown) => {
        assignment.arrived();
        throw error;
      });
      const { data, width, height, decodeMs } = decoded;
      weigh(data.byteLength);
      for (let retried = false; ; retried = true) {
        const { replica, arrived } = assignment;
        const work = replica.submit("encodeImages", { pixels: { data, width, height } }, asker);
        arrived();
        try {
          const { value, workMs } = await work;
          return new PictureFeatures(value, replica, decodeMs, workMs);
        } catch (error) {
          if (retried || !Sam3Error.is(error, "DEVICE_FAULT")) throw error;
          this.#parts.meter.deviceRetries++;
          assignment = await this.#parts.pool.assign("encodeImages");
        }
      }
    });
  }

  async #concept(
    features: PictureFeatures,
    { ids, ...request }: ConceptRequest,
    { signal, startedAt }: Asking,
  ): Promise<NativeConceptObjects> {
    const { cache, cacheEnabled } = this.#parts;
    const { native, replica } = features;
    const arrived = replica.queue.expect("segmentConcepts");
    let text: Pin<Kept> | undefined;
    try {
      let work: Promise<{ readonly value: NativeConceptObjects }>;
      try {
        text = await cache.use({
          key: `${ids.join(",")}/${replica.name}`,
          kind: "text",
          keep: cacheEnabled,
          signal,
          make: async (stop) =>
            new TextFeatures(
              (await replica.submit("encodeTexts", { ids }, { signal: stop, startedAt })).value,
              replica,
            ),
        });
        const input = { ...request, features: native, text: (text.value as TextFeatures).native };
        work = replica.submit("segmentConcepts", input, { signal, startedAt });
      } finally {
        arrived();
      }
      return (await work).value;
    } finally {
      text?.release();
    }
  }

  async #each<R, T>(
    stage: Stage,
    lease: Lease,
    requests: readonly R[],
    call: Call,
    ask: (features: PictureFeatures, request: R, asker: Asking) => Promise<T>,
  ): Promise<Settled<T>[]> {
    this.assertOpen();
    // One that came with a picture was let in before that was read, and is not refused half-way.
    const leave = this.pictures.has(call) ? nothing : lease.features.replica.calls.enter(stage);
    // So many at a time that the next batch is ready, and no more: between the batches of a long list others get
    // their turn.
    const atOnce = 2 * this.#parts.limits.decode.maxBatch;
    const turns = new Gate({ atOnce });
    const { signal } = call;
    const work = requests.map(async (request, i): Promise<Settled<T>> => {
      try {
        const value = await turns.pass(signal, () => {
          // What had to wait for its turn is no older than that: others came meanwhile.
          const startedAt = i < atOnce ? call.startedAt : performance.now();
          return this.#onPicture(lease, (features) => ask(features, request, { signal, startedAt }));
        });
        return { status: "fulfilled", value };
      } catch (reason) {
        return { status: "rejected", reason };
      }
    });
    const settled = await until(call.signal, Promise.all(work).finally(leave));
    if (this.#closing) {
      // What ended before the closing is delivered; the rest was refused for one reason.
      const refused = settled.find((it) => it.status === "rejected" && Sam3Error.is(it.reason, "DISPOSED"));
      if (refused?.status === "rejected") throw refused.reason;
    }
    return settled;
  }

  /** Works on a lease's features, and once more elsewhere when their device fails. Keeps them until the work has ended. */
  async #onPicture<T>(lease: Lease, work: (features: PictureFeatures) => Promise<T>): Promise<T> {
    const pin = lease.retain();
    try {
      return await work(pin.value as PictureFeatures);
    } catch (error) {
      if (!Sam3Error.is(error, "DEVICE_FAULT")) throw error;
    } finally {
      pin.release();
    }
    const again = await lease.replace(pin, () => {
      this.#parts.meter.deviceRetries++;
      this.logger.warn(`a picture is encoded again because ${pin.value.replica.name} failed`);
      return this.#features(lease.request, {});
    });
    try {
      return await work(again.value as PictureFeatures);
    } finally {
      again.release();
    }
  }
}
