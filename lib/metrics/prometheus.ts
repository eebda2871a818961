import type { Sam3Stats } from "../devices/engine-stats.js";
import { Sam3Error } from "../errors.js";
import { boundsOf, type Measure, type Meter } from "./meter.js";

/** The part of prom-client's `Registry` that is used; pass your own to have everything in one place. */
export interface MetricsRegistry {
  metrics(): Promise<string>;
  getSingleMetric(name: string): unknown;
  removeSingleMetric(name: string): void;
}

/** What `sam.metrics` takes. */
export interface MetricsOptions {
  /** A prom-client registry to register in; one of its own when left out. */
  readonly registry?: MetricsRegistry | undefined;
  /** Put before every name; `"sam3_"` when left out. */
  readonly prefix?: string | undefined;
}

/** The part of prom-client that is used. */
interface PromClient {
  readonly Registry: new () => MetricsRegistry;
  readonly Gauge: new (options: PromOptions) => PromSum;
  readonly Counter: new (options: PromOptions) => PromSum;
  readonly Histogram: new (options: PromOptions & { readonly buckets: readonly number[] }) => PromHistogram;
}

interface PromOptions {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly string[];
  readonly registers: readonly MetricsRegistry[];
  readonly collect?: () => void;
}

type Labels = Readonly<Record<string, string>>;

/** What a gauge and a counter have in common. */
interface PromSum {
  inc(labels: Labels, value: number): void;
  reset(): void;
}

interface PromHistogram {
  observe(labels: Labels, value: number): void;
}

type Values = (stats: Sam3Stats) => Iterable<readonly [Labels, number]>;

const GAUGES: Readonly<Record<string, { help: string; labels: readonly string[]; values: Values }>> = {
  calls_in_flight: {
    help: "Public calls that run",
    labels: ["operation"],
    values: ({ calls }) => Object.entries(calls).map(([operation, it]) => [{ operation }, it.inFlight]),
  },
  pictures_waiting: {
    help: "Pictures that wait to be read or decoded",
    labels: [],
    values: ({ picturesWaiting }) => [[{}, picturesWaiting]],
  },
  queue_items: {
    help: "Items that wait for a batch",
    labels: ["replica", "stage"],
    values: ({ replicas }) =>
      replicas.flatMap(({ name, queued }) =>
        Object.entries(queued).map(([stage, items]) => [{ replica: name, stage }, items] as const),
      ),
  },
  running_items: {
    help: "Items that run on the device",
    labels: ["replica"],
    values: ({ replicas }) => replicas.map(({ name, running }) => [{ replica: name }, running]),
  },
  replica_up: {
    help: "1 for a replica that is loaded and works",
    labels: ["replica", "state"],
    values: ({ replicas }) =>
      replicas.map(({ name, state }) => [{ replica: name, state }, state === "ready" ? 1 : 0]),
  },
  device_memory_bytes: {
    help: "Memory of a replica's device, and what the replica holds of it",
    labels: ["replica", "kind"],
    values: ({ replicas }) =>
      replicas.flatMap(({ name, memory }) =>
        Object.entries(memory ?? {}).flatMap(([kind, bytes]) =>
          bytes === null ? [] : [[{ replica: name, kind: kind.replace("Bytes", "") }, bytes] as const],
        ),
      ),
  },
  cache_bytes: {
    help: "Bytes of kept features",
    labels: ["tier"],
    values: ({ cache }) => [
      [{ tier: "device" }, cache.bytes],
      [{ tier: "host" }, cache.hostBytes],
    ],
  },
  cache_entries: {
    help: "Kept features",
    labels: ["tier"],
    values: ({ cache }) => [
      [{ tier: "device" }, cache.entries],
      [{ tier: "host" }, cache.hostEntries],
    ],
  },
};

const COUNTERS: typeof GAUGES = {
  calls_total: {
    help: "Public calls that ended, by how: ok, aborted or an error code",
    labels: ["operation", "outcome"],
    values: ({ calls }) =>
      Object.entries(calls).flatMap(([operation, { ok, aborted, failed }]) =>
        Object.entries({ ok, aborted, ...failed }).map(
          ([outcome, count]) => [{ operation, outcome }, count] as const,
        ),
      ),
  },
  cache_requests_total: {
    help: "Features that were asked for, by whether they were there",
    labels: ["kind", "outcome"],
    values: ({ cache }) => [
      [{ kind: "picture", outcome: "hit" }, cache.hits],
      [{ kind: "picture", outcome: "miss" }, cache.misses],
      [{ kind: "text", outcome: "hit" }, cache.textHits],
      [{ kind: "text", outcome: "miss" }, cache.textMisses],
    ],
  },
  cache_evictions_total: {
    help: "Features thrown out for room",
    labels: [],
    values: ({ cache }) => [[{}, cache.evictions]],
  },
  memory_recoveries_total: {
    help: "Times that memory was too short and the cache was emptied",
    labels: [],
    values: ({ memoryRecoveries }) => [[{}, memoryRecoveries]],
  },
  device_retries_total: {
    help: "Work that was done again because its device failed",
    labels: [],
    values: ({ deviceRetries }) => [[{}, deviceRetries]],
  },
};

const HISTOGRAMS: Readonly<Record<string, { measure: Measure; help: string; label: string }>> = {
  call_seconds: { measure: "call", help: "Duration of public calls", label: "operation" },
  stage_seconds: { measure: "work", help: "Work of batches on the device", label: "stage" },
  queue_seconds: { measure: "wait", help: "Time that items waited for their batch", label: "stage" },
  batch_items: { measure: "batch", help: "Items in a batch", label: "stage" },
};

/** Everything that is registered, without the prefix. */
const NAMES = [GAUGES, COUNTERS, HISTOGRAMS].flatMap((table) => Object.keys(table));

/** Whose figures are exported. */
interface Measured {
  stats(): Sam3Stats;
}

// The safety net for what was never closed: its names are given back, or its registry would refuse them for ever.
const abandoned = new FinalizationRegistry<(() => void)[]>(doAll);

/**
 * Registers everything this package measures in registries of prom-client, each once, until `close`. Registries often
 * live as long as the process, so what is registered knows whom it measures only weakly.
 */
export class PrometheusExport {
  readonly #meter: Meter;
  readonly #measured: WeakRef<Measured>;
  readonly #registered = new WeakSet<MetricsRegistry>();
  /** What takes out again what was registered. */
  readonly #undo: (() => void)[] = [];
  readonly #import: () => Promise<unknown>;
  #own: MetricsRegistry | undefined;
  #closed = false;

  /** @param load imports prom-client; the tests put another in its place */
  constructor(meter: Meter, measured: Measured, load: () => Promise<unknown> = () => import("prom-client")) {
    this.#meter = meter;
    this.#measured = new WeakRef(measured);
    this.#import = load;
    abandoned.register(measured, this.#undo, this);
  }

  /**
   * Prometheus' text format. Histograms begin with the first call; counters count from loading. Once it was closed,
   * what else the registry has.
   *
   * @throws {Sam3Error} `UNSUPPORTED` where prom-client is not installed, `INVALID_ARGUMENT`
   */
  async text(options: MetricsOptions = {}): Promise<string> {
    const client = await this.#client();
    const { prefix = "sam3_" } = options ?? {};
    if (typeof prefix !== "string" || !/^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(prefix)) {
      throw new Sam3Error(
        "INVALID_ARGUMENT",
        "prefix must begin with a letter and go on with letters, digits and _.",
      );
    }
    this.#own ??= new client.Registry();
    const registry = options?.registry ?? this.#own;
    if (!isRegistry(registry)) {
      throw new Sam3Error("INVALID_ARGUMENT", "registry must be a Registry of prom-client.");
    }
    if (!this.#closed && !this.#registered.has(registry)) this.#register(client, registry, prefix);
    return registry.metrics();
  }

  /** Takes everything out of the registries. More than once does nothing. */
  close(): void {
    this.#closed = true;
    abandoned.unregister(this);
    doAll(this.#undo);
  }

  async #client(): Promise<PromClient> {
    try {
      const found = (await this.#import()) as PromClient & { readonly default?: PromClient };
      return found.default ?? found;
    } catch (cause) {
      throw new Sam3Error(
        "UNSUPPORTED",
        "Metrics need the package prom-client, which is not installed. Install it: npm install prom-client",
        { cause },
      );
    }
  }

  #register(client: PromClient, registry: MetricsRegistry, prefix: string): void {
    const taken = NAMES.find((name) => registry.getSingleMetric(prefix + name) !== undefined);
    if (taken !== undefined) {
      throw new Sam3Error(
        "INVALID_ARGUMENT",
        `The registry already has "${prefix + taken}", perhaps of another Sam3. Give each a prefix of its own.`,
      );
    }
    this.#registered.add(registry);
    const registers = [registry];
    const remember = (name: string, metric: unknown) =>
      this.#undo.push(() => {
        // The registry may have been emptied since, and have another's metric of that name.
        if (registry.getSingleMetric(name) === metric) registry.removeSingleMetric(name);
      });
    const stats = this.#look();
    const read = (Metric: PromClient["Gauge" | "Counter"], table: typeof GAUGES) => {
      for (const [name, { help, labels, values }] of Object.entries(table)) {
        const metric: PromSum = new Metric({
          name: prefix + name,
          help,
          labelNames: labels,
          registers,
          collect: () => {
            metric.reset();
            const known = stats();
            if (known) for (const [label, value] of values(known)) metric.inc(label, value);
          },
        });
        remember(prefix + name, metric);
      }
    };
    read(client.Gauge, GAUGES);
    read(client.Counter, COUNTERS);
    for (const [name, { measure, help, label }] of Object.entries(HISTOGRAMS)) {
      // Prometheus counts in seconds.
      const scale = measure === "batch" ? 1 : 1000;
      const histogram = new client.Histogram({
        name: prefix + name,
        help,
        labelNames: [label],
        registers,
        buckets: boundsOf(measure).map((bound) => bound / scale),
      });
      remember(prefix + name, histogram);
      this.#undo.push(
        this.#meter.listen((what, where, value) => {
          if (what === measure) histogram.observe({ [label]: where }, value / scale);
        }),
      );
    }
  }

  /** Reads the stats, for every metric of a scrape from one look; nothing once whom they are of is gone. */
  #look(): () => Sam3Stats | undefined {
    let look: { stats: Sam3Stats | undefined; at: number } | undefined;
    return () => {
      const now = performance.now();
      if (!look || now - look.at > 5) look = { stats: this.#measured.deref()?.stats(), at: now };
      return look.stats;
    };
  }
}

function isRegistry(registry: Partial<MetricsRegistry> | null): registry is MetricsRegistry {
  return (["metrics", "getSingleMetric", "removeSingleMetric"] as const).every(
    (method) => typeof registry?.[method] === "function",
  );
}

function doAll(steps: (() => void)[]): void {
  for (const step of steps.splice(0)) step();
}
