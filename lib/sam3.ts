import { CacheControl } from "./cache/cache-control.js";
import { captureCaller, forCaller } from "./caller.js";
import type { Health } from "./devices/device-pool.js";
import type { Engine } from "./devices/engine.js";
import type { Sam3Stats } from "./devices/engine-stats.js";
import { ImagePredictor } from "./image/image-predictor.js";
import { INSPECT } from "./inspect.js";
import { loadEngine, type ModelFacts } from "./load-engine.js";
import { type MetricsOptions, PrometheusExport } from "./metrics/prometheus.js";
import { loadAddon } from "./native/load.js";
import type { LoadOptions } from "./options.js";
import { VideoSessionManager } from "./video/video-session-manager.js";

/**
 * A loaded model: the one door to everything else, and everything dies with it.
 *
 * @example
 * ```ts
 * import { Sam3 } from "sam3-node";
 *
 * await using sam = await Sam3.load({ model: "mini" });
 * const { objects } = await sam.image.segmentConcept("shapes.png", { text: "red circle" });
 * ```
 */
export class Sam3 {
  /** Segments single pictures. */
  readonly image: ImagePredictor;
  /** Tracks objects through videos. */
  readonly video: VideoSessionManager;
  /** What is known of the model: name, resolution, device, … */
  readonly model: ModelFacts;
  /** The features that are kept for later calls. */
  readonly cache: CacheControl;
  readonly #engine: Engine;
  readonly #metrics: PrometheusExport;
  #closed = false;

  private constructor(engine: Engine, facts: ModelFacts) {
    this.#engine = engine;
    this.model = facts;
    this.image = new ImagePredictor(engine);
    this.video = new VideoSessionManager(engine);
    this.cache = new CacheControl(engine);
    this.#metrics = new PrometheusExport(engine.meter, engine);
  }

  /**
   * A Sam3 over an engine that is loaded; the tests' way in.
   *
   * @internal
   */
  static over({ engine, facts }: { engine: Engine; facts: ModelFacts }): Sam3 {
    return new Sam3(engine, facts);
  }

  /**
   * Loads a model onto a device. Everything may be left out: then the environment is asked, then the defaults hold
   * (`docs/settings.md` lists them).
   *
   * @throws {Sam3Error} `INVALID_SETTING`, `INVALID_ARGUMENT`, `BUNDLE_NOT_FOUND`, `BUNDLE_INVALID`,
   *   `BUNDLE_PART_MISSING`, `BUNDLE_HASH_MISMATCH`, `BUNDLE_TOO_NEW`, `LIBTORCH_NOT_FOUND`, `LIBTORCH_VERSION`,
   *   `ADDON_NOT_FOUND`, `ADDON_LOAD_FAILED`, `DEVICE_UNKNOWN`, `DEVICE_MEMORY`, `DEVICE_FAULT`, `OUT_OF_MEMORY`;
   *   the signal's reason when it was aborted
   * @example
   * ```ts
   * const sam = await Sam3.load({
   *   model: "/models/sam3",
   *   devices: ["cuda:0", { device: "cuda:1", required: false }],
   *   onProgress: ({ stage, done, total }) => console.log(stage, done, total),
   *   signal: AbortSignal.timeout(60_000),
   * });
   * ```
   */
  static load(options: LoadOptions = {}): Promise<Sam3> {
    const caller = captureCaller(Sam3.load);
    return forCaller(caller, options?.signal, async () => {
      return Sam3.over(await loadEngine(options, process.env, loadAddon));
    });
  }

  /** How it is doing: `ready`, `degraded` or `unavailable`, and why. Cheap; made for a service's health check. */
  health(): Health {
    return this.#engine.health();
  }

  /** Queues, calls, latencies, cache and device memory, as they are now. */
  stats(): Sam3Stats {
    return this.#engine.stats();
  }

  /**
   * The same as Prometheus' text, through prom-client, which you install. Histograms begin with the first call. `close`
   * takes it out of the registry again, so that the next `Sam3` can have its place.
   *
   * @throws {Sam3Error} `UNSUPPORTED` where prom-client is not installed, `INVALID_ARGUMENT`
   * @example
   * ```ts
   * import { register } from "prom-client";
   * server.get("/metrics", async (_, reply) => reply.send(await sam.metrics({ registry: register })));
   * ```
   */
  async metrics(options: MetricsOptions = {}): Promise<string> {
    return this.#metrics.text(options);
  }

  /**
   * Frees the model, every video session and every encoded image. What runs ends first, what waits is rejected with `DISPOSED`. More than
   * once does nothing.
   */
  async close(): Promise<void> {
    this.#closed = true;
    try {
      await this.video.closeAllBecause("The Sam3 of the session was closed.");
      await this.#engine.close();
    } finally {
      // Last, so that what is still being answered is seen.
      this.#metrics.close();
    }
  }

  /** `close`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  [INSPECT](): string {
    const { name, resolution, dtype, device } = this.model;
    return `Sam3 { ${name}, ${resolution} px, ${dtype} on ${device}${this.#closed ? ", closed" : ""} }`;
  }
}
