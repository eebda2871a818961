import { createInterface } from "node:readline";
import type { StoredPacket, TimeBase } from "../decoder.js";
import { readTimeBase } from "./banner.js";
import type { Child } from "./child.js";

/** Flags of FFmpeg's packets. */
const KEY = 1;
const DISCARD = 4;
/** What old versions write for a packet without a time; the number is too large to be exact, so it is compared as text. */
const NO_TIME = new Set(["-9223372036854775808", "NOPTS"]);

/** Packets as `framecrc` lists them: `stream, dts, pts, duration, size, checksum[, F=flags]`. */
export async function readPackets(
  child: Child,
): Promise<{ readonly timeBase: TimeBase | undefined; readonly packets: StoredPacket[] }> {
  const packets: StoredPacket[] = [];
  let timeBase: TimeBase | undefined;
  for await (const line of createInterface({ input: child.stdout, crlfDelay: Number.POSITIVE_INFINITY })) {
    if (line.startsWith("#")) timeBase ??= readTimeBase(line);
    else {
      const packet = readPacket(line);
      if (packet !== undefined) packets.push(packet);
    }
  }
  return { timeBase, packets };
}

function readPacket(line: string): StoredPacket | undefined {
  const [stream, , pts, duration, , , flag] = line.split(",").map((cell) => cell.trim());
  if (stream !== "0" || pts === undefined) return undefined;
  // Flags are only written where they are not those of a plain keyframe.
  const flags = flag?.startsWith("F=") ? Number(flag.slice(2)) : KEY;
  return {
    tick: NO_TIME.has(pts) ? null : Number(pts),
    duration: Number(duration) || 0,
    key: (flags & KEY) !== 0,
    discard: (flags & DISCARD) !== 0,
  };
}
