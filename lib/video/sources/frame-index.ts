import type { StoredPacket, StreamFacts, TimeBase } from "./decoder.js";

/** When each frame of a video is shown, and where decoding can begin. */
export class FrameIndex {
  readonly timeBase: TimeBase;
  /** One per frame, in the order of presentation. */
  readonly ticks: Float64Array;
  /** Ticks of frames that decoding can begin at, rising; empty where seeking would not be exact. */
  readonly #keys: Float64Array;
  /** Ticks from the start of the first frame to the end of the last. */
  readonly #span: number;

  private constructor(timeBase: TimeBase, ticks: Float64Array, keys: Float64Array, lastDuration: number) {
    this.timeBase = timeBase;
    this.ticks = ticks;
    this.#keys = keys;
    const last = ticks[ticks.length - 1] ?? 0;
    const tail = lastDuration || typicalGap(ticks);
    this.#span = ticks.length === 0 ? 0 : last - (ticks[0] as number) + tail;
  }

  /**
   * From packets, without decoding; undefined where packets do not say which frames there will be: a packet without a
   * time, two of the same time, or a container or codec that stores frames which are never shown.
   */
  static fromPackets(packets: readonly StoredPacket[], facts: StreamFacts): FrameIndex | undefined {
    if (!packetsAreFrames(facts) || packets.length === 0) return undefined;
    const shown = packets.filter((it) => !it.discard);
    if (shown.length === 0 || packets.some(({ tick }) => tick === null)) return undefined;
    const ticks = Float64Array.from(shown, ({ tick }) => tick as number).sort();
    if (!isRising(ticks)) return undefined;
    const last = shown.find(({ tick }) => tick === ticks[ticks.length - 1]);
    return new FrameIndex(facts.timeBase, ticks, keysOf(packets), last?.duration ?? 0);
  }

  /** From the frames themselves, after all of them were decoded once. */
  static fromTicks(
    ticks: readonly (number | null)[],
    packets: readonly StoredPacket[],
    facts: StreamFacts,
  ): FrameIndex {
    const known = Float64Array.from(filled(ticks));
    // Where a container gives no times, decoders guess them from what came before: a guess after a seek is another one.
    const timed = isRising(known) && packets.every(({ tick }) => tick !== null);
    const last = timed ? packets.find(({ tick }) => tick === known[known.length - 1]) : undefined;
    const keys = timed ? keysOf(packets) : new Float64Array();
    return new FrameIndex(facts.timeBase, known, keys, last?.duration ?? 0);
  }

  get count(): number {
    return this.ticks.length;
  }

  /** Seconds. */
  timeOf(index: number): number {
    return this.#seconds(this.ticks[index] as number);
  }

  /** Seconds from the start of the first frame to the end of the last. */
  get duration(): number {
    return this.#seconds(this.#span);
  }

  /** Frames divided by the time they cover. */
  get fps(): number | null {
    return this.count > 1 && this.#span > 0 ? this.count / this.duration : null;
  }

  /** Whether times between frames differ by more than a tick either way, which is what rounding does. */
  get variable(): boolean {
    let least = Number.POSITIVE_INFINITY;
    let most = 0;
    for (let i = 1; i < this.count; i++) {
      const gap = (this.ticks[i] as number) - (this.ticks[i - 1] as number);
      least = Math.min(least, gap);
      most = Math.max(most, gap);
    }
    return most - least > 2;
  }

  /** Ticks to begin decoding at for a frame, the nearest first; null is the beginning. At most three. */
  seeksFor(index: number): (number | null)[] {
    const target = this.ticks[index] as number;
    const at = lastAtMost(this.#keys, target);
    const seeks: (number | null)[] = [];
    // Of the very first keyframe nothing is gained. Some containers land late: then from further back.
    for (const back of [at, at - 1]) if (back > 0) seeks.push(this.#keys[back] as number);
    return [...seeks, null];
  }

  /** The first frame of `from`–`to` that decoding can begin at, or `from`. */
  firstKeyIn(from: number, to: number): number {
    for (let i = from; i <= to; i++) {
      const tick = this.ticks[i] as number;
      if (this.#keys[lastAtMost(this.#keys, tick)] === tick) return i;
    }
    return from;
  }

  #seconds(ticks: number): number {
    return (ticks * this.timeBase.num) / this.timeBase.den;
  }
}

/** Containers that store a time for each packet, and codecs with one packet for each frame. */
function packetsAreFrames({ container, codec }: StreamFacts): boolean {
  const isMov = container.startsWith("mov,");
  const timed = isMov || container.startsWith("matroska") || container === "flv";
  const codecs = ["h264", "hevc", "vp9", "av1", "mjpeg", "prores", "flv1", "vp6f"];
  // MPEG-4 in other containers may hold two frames in one packet.
  return timed && (codecs.includes(codec) || (isMov && codec === "mpeg4"));
}

function keysOf(packets: readonly StoredPacket[]): Float64Array {
  return Float64Array.from(
    packets.filter(({ key }) => key),
    ({ tick }) => tick as number,
  ).sort();
}

function isRising(ticks: Float64Array): boolean {
  for (let i = 1; i < ticks.length; i++) if (!((ticks[i] as number) > (ticks[i - 1] as number))) return false;
  return true;
}

/** Frames without a time get one a gap after the frame before. */
function filled(ticks: readonly (number | null)[]): number[] {
  const gap = typicalGap(Float64Array.from(ticks.filter((tick) => tick !== null))) || 1;
  const out: number[] = [];
  for (const tick of ticks) out.push(tick ?? (out.length === 0 ? 0 : (out[out.length - 1] as number) + gap));
  return out;
}

function typicalGap(ticks: Float64Array): number {
  if (ticks.length < 2) return 0;
  const gaps = new Float64Array(ticks.length - 1);
  for (let i = 0; i < gaps.length; i++) gaps[i] = (ticks[i + 1] as number) - (ticks[i] as number);
  return Math.max(0, gaps.sort()[gaps.length >> 1] as number);
}

/** Index of the last value at most `limit`, -1 where there is none. */
function lastAtMost(values: Float64Array, limit: number): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((values[middle] as number) <= limit) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
