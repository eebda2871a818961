import type { CacheStats } from "../cache/feature-cache.js";
import type { HistogramSnapshot } from "../metrics/histogram.js";
import type { CallCounts } from "../metrics/meter.js";
import type { NativeMemory } from "../native/addon.js";
import type { EngineParts } from "./engine.js";
import type { ReplicaState, Stage } from "./replica.js";

/** What `sam.stats()` tells. Times are milliseconds. */
export interface Sam3Stats {
  /** Public calls by operation. */
  readonly calls: Readonly<Record<string, CallCounts>>;
  /** Pictures that wait to be read or to be decoded. */
  readonly picturesWaiting: number;
  readonly replicas: readonly ReplicaStats[];
  readonly cache: CacheStats;
  /** Latency of public calls by operation. */
  readonly callMs: Readonly<Record<string, HistogramSnapshot>>;
  /** Work of batches on the device, by stage. */
  readonly workMs: Readonly<Record<string, HistogramSnapshot>>;
  /** Time that items waited for their batch, by stage. */
  readonly waitMs: Readonly<Record<string, HistogramSnapshot>>;
  /** Items in a batch, by stage. */
  readonly batchItems: Readonly<Record<string, HistogramSnapshot>>;
  /** Times that memory was too short and everything that could be spared was freed. */
  readonly memoryRecoveries: number;
  /** Work that was done again because its device failed. */
  readonly deviceRetries: number;
}

/** One replica in `sam.stats()`. */
export interface ReplicaStats {
  readonly name: string;
  /** `cpu` or `cuda:N`; null for one whose device is not there. */
  readonly device: string | null;
  readonly state: ReplicaState;
  /** Items that wait, by stage. */
  readonly queued: Readonly<Record<Stage, number>>;
  /** Items that run. */
  readonly running: number;
  readonly sessions: number;
  readonly modelBytes: number;
  readonly featureBytes: number;
  readonly loadMs: number;
  /** Memory of its device; null while nothing is loaded. */
  readonly memory: NativeMemory | null;
}

/** Reads everything there is to read. */
export function engineStats(
  { pool, cache, cacheEnabled, meter }: Pick<EngineParts, "pool" | "cache" | "cacheEnabled" | "meter">,
  picturesWaiting: number,
): Sam3Stats {
  return {
    calls: meter.calls(),
    picturesWaiting,
    replicas: pool.replicas.map((replica) => ({
      name: replica.name,
      device: replica.device?.id ?? null,
      state: replica.state,
      queued: {
        encodeImages: replica.queue.waiting("encodeImages"),
        encodeTexts: replica.queue.waiting("encodeTexts"),
        segmentConcepts: replica.queue.waiting("segmentConcepts"),
        segmentObjects: replica.queue.waiting("segmentObjects"),
      },
      running: replica.queue.running,
      sessions: replica.sessions,
      modelBytes: replica.modelBytes,
      featureBytes: replica.featureBytes,
      loadMs: replica.loadMs,
      memory: replica.memory() ?? null,
    })),
    cache: { enabled: cacheEnabled, ...cache.stats() },
    callMs: meter.histograms("call"),
    workMs: meter.histograms("work"),
    waitMs: meter.histograms("wait"),
    batchItems: meter.histograms("batch"),
    memoryRecoveries: meter.memoryRecoveries,
    deviceRetries: meter.deviceRetries,
  };
}
