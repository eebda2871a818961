import type { SessionCore } from "./session-core.js";
import type { TrackerCalls } from "./tracker-calls.js";

/** Moves what was remembered longest ago to main memory, where the device's budget is passed. */
export async function offload(core: SessionCore, calls: TrackerCalls): Promise<void> {
  let over = core.memoryBytes("device") - core.budgets.deviceBytes;
  if (over <= 0 || core.place.replica.device?.id === "cpu") return;
  const oldest = [...core.tracks.values()]
    .flatMap((track) =>
      [...track.memories.entries()].map(([frame, { memory }]) => ({ track, frame, memory })),
    )
    .filter(({ memory }) => memory.tier === "device")
    .sort((a, b) => a.frame - b.frame);
  const moving: typeof oldest = [];
  for (const one of core.reverse ? oldest.reverse() : oldest) {
    if (over <= 0) break;
    moving.push(one);
    over -= one.memory.bytes;
  }
  const moved = await calls.move(
    moving.map(({ memory }) => memory),
    "host",
  );
  moving.forEach(({ track, frame, memory }, i) => {
    const there = moved[i];
    if (there) track.memories.replace(frame, memory, there);
  });
}
