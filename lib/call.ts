import type { Logger } from "./logger.js";

/** What every call that takes time accepts. */
export interface CallOptions {
  /** Stops the call; its promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds the call may take, waiting included; after that it fails with `TIMEOUT`. 0 = as long as it takes. */
  readonly timeoutMs?: number | undefined;
  /** Name of the call in log lines; one is made up when left out. */
  readonly requestId?: string | undefined;
}

/** A public call on its way through the layers. */
export interface Call {
  /** Names the call in log lines. */
  readonly id: string;
  /** Aborts when the caller's signal does, and when the call's time is over; its reason is what to throw. */
  readonly signal: AbortSignal;
  /** Writes lines that carry the id. */
  readonly logger: Logger;
}
