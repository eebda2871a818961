import { fork } from "node:child_process";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { fileURLToPath } from "node:url";

/** How often the timer behind the measurement fires, in milliseconds. */
const RESOLUTION = 5;

/** Lag of an event loop in milliseconds: how much later than wanted a timer fires. */
export interface Lag {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** Begins to measure this event loop; call what is returned to end it. */
export function measureLag(): () => Lag {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION });
  histogram.enable();
  return () => {
    histogram.disable();
    const lag = (share: number) => Math.max(0, histogram.percentile(share) / 1e6 - RESOLUTION);
    return { p50: lag(50), p99: lag(99), max: lag(100) };
  };
}

/**
 * Measures the event loop of another process that does nothing, meanwhile. Its lag is what the machine does to every
 * program: processors that are busy with others. Node cannot tell that from work of one's own, so the difference of the
 * two is what is our own doing.
 */
export async function measureIdleProcess(): Promise<() => Promise<Lag>> {
  const child = fork(fileURLToPath(new URL("./idle-process.mjs", import.meta.url)), [`${RESOLUTION}`]);
  const answer = () => new Promise<Lag>((resolve) => child.once("message", (lag) => resolve(lag as Lag)));
  await answer();
  return async () => {
    const lag = answer();
    child.send("end");
    return lag;
  };
}
