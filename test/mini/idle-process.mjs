// Does nothing and says at the end how late its timer was: node idle-process.mjs <resolution in ms>, by fork().
import { monitorEventLoopDelay } from "node:perf_hooks";

const resolution = Number(process.argv[2]);
const histogram = monitorEventLoopDelay({ resolution });
process.once("message", () => {
  histogram.disable();
  const lag = (share) => Math.max(0, histogram.percentile(share) / 1e6 - resolution);
  process.send({ p50: lag(50), p99: lag(99), max: lag(100) }, () => process.disconnect());
});
histogram.enable();
process.send("ready");
