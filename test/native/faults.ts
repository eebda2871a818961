import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { findAddon } from "../../lib/native/load.js";

/** What befalls the forwards of a part, counted from 0 since it was armed: those from `from` on, `count` of them. */
export interface Fault {
  /**
   * `error` throws, `memory` and `device` say what libtorch says when memory is short or a device fails, `nan` makes the
   * input no numbers, `slow` waits for `ms` milliseconds and then works.
   */
  readonly kind: "error" | "memory" | "device" | "nan" | "slow";
  /** 0 unless given. */
  readonly from?: number;
  /** 1 unless given. */
  readonly count?: number;
  readonly ms?: number;
}

/** Parts of the bundle `faults` that can be made to fail. */
export type FaultyPart =
  | "image_encoder"
  | "text_encoder"
  | "concept_decoder"
  | "object_decoder"
  | "memory_encoder"
  | "memory_attention";

/** One for the whole process, worker threads too. */
export interface Faults {
  /** Arms a part, or arms it anew. */
  arm(part: FaultyPart, fault: Fault): void;
  /** Forwards of a part since it was armed, or since `reset`. */
  calls(part: FaultyPart): number;
  reset(): void;
}

/**
 * The board of faults, native/test/faults.cpp. To be loaded when libtorch is open (after `loadAddon`) and before the
 * bundle `faults` is: the bundle calls an operation that comes with it.
 */
export function loadFaults(): Faults {
  const file = join(dirname(findAddon().addon), "test", "faults.node");
  return createRequire(import.meta.url)(file) as Faults;
}
