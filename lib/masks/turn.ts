import { setImmediate } from "node:timers/promises";

/** Longest work in one go before other events get their turn, in milliseconds. */
const TURN_MS = 8;

/** Long work on the event loop asks between its steps whether others should have a turn. */
export class Turn {
  #since = performance.now();

  /** Lets other events go first when this turn has been long. Throws the signal's reason when it was aborted. */
  async pass(signal?: AbortSignal): Promise<void> {
    if (performance.now() - this.#since < TURN_MS) return;
    await setImmediate();
    signal?.throwIfAborted();
    this.#since = performance.now();
  }
}
