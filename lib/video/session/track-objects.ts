import type { NativeTracked, NativeTrackItem } from "../../native/addon.js";
import type { MemoryBank } from "../rules/memory-bank.js";
import { selectMemories } from "../rules/select-memories.js";
import type { FrameWork, Tracked } from "./frame-work.js";
import type { Handles } from "./handles.js";
import { handlesOf } from "./seeded.js";
import type { ObjectInput, SessionTrack } from "./session-track.js";
import type { TrackMemory } from "./track-memories.js";
import type { TrackerCalls } from "./tracker-calls.js";

/** Tracks every object to the frame, as one batch; those with a mask for this frame take it as it is. */
export async function trackObjects(
  calls: TrackerCalls,
  work: FrameWork,
  scope: Handles,
): Promise<ReadonlyMap<SessionTrack, Tracked>> {
  const all = [...work.tracks, ...work.objects];
  const masked = all.filter((track) => track.inputs.get(work.frame)?.kind === "mask");
  const others = all.filter((track) => !masked.includes(track));
  const tracked = new Map<SessionTrack, Tracked>();
  const put = (list: readonly SessionTrack[], answer: NativeTracked) => {
    scope.addAll(handlesOf(answer));
    list.forEach((track, row) => {
      tracked.set(track, {
        track,
        raw: { masks: answer.masks, row },
        cleaned: { masks: answer.cleaned, row },
        pointers: { pointers: answer.pointers, pointerRow: row },
        objectScore: answer.objectScores[row] ?? 0,
        quality: answer.quality[row] ?? 0,
        prompted: track.inputs.has(work.frame),
      });
    });
  };
  if (others.length > 0) {
    const items: NativeTrackItem[] = [];
    for (const track of others) items.push(await itemOf(calls, work, track));
    put(others, await calls.track({ features: work.features, items, cleanArea: work.rules.holeArea }));
  }
  if (masked.length > 0) {
    const items = masked.map((track) => {
      const input = track.inputs.get(work.frame);
      return { counts: input?.kind === "mask" ? input.counts : new Uint32Array(0) };
    });
    put(masked, await calls.seed({ features: work.features, items }));
  }
  return tracked;
}

/** What one object attends to on the frame, on the device. */
async function itemOf(calls: TrackerCalls, work: FrameWork, track: SessionTrack): Promise<NativeTrackItem> {
  const input = track.inputs.get(work.frame);
  const { points, labels } = shownPoints(input, work.rules.maxPoints);
  if (input?.kind === "points" && input.alone) {
    return {
      memories: [],
      rows: new Int32Array(0),
      pointers: [],
      ages: new Float32Array(0),
      points,
      labels,
    };
  }
  const { memories, pointers } = selectMemories(work.rules, knownBank(track, work), work);
  const needed = [...new Set([...memories, ...pointers].map(({ frame }) => frame))];
  await bringBack(calls, track, needed);
  const handle = (frame: number) => {
    const entry = track.memories.get(frame);
    if (!entry) throw new Error(`object ${track.id} has no memory of frame ${frame}`);
    return entry.memory;
  };
  return {
    memories: memories.map(({ frame }) => handle(frame)),
    rows: Int32Array.from(memories, ({ row }) => row),
    pointers: pointers.map(({ frame }) => handle(frame)),
    ages: Float32Array.from(pointers, ({ age }) => age),
    points,
    labels,
  };
}

/** Points and labels of an object on the frame; of many the first half of what is taken and the newest. */
function shownPoints(
  input: ObjectInput | undefined,
  most: number,
): Pick<NativeTrackItem, "points" | "labels"> {
  if (input?.kind !== "points") return { points: new Float32Array(0), labels: new Int32Array(0) };
  const { points, labels } = input;
  if (most === 0 || labels.length <= most) return { points, labels };
  const first = Math.floor(most / 2);
  const rest = labels.length - (most - first);
  return {
    points: Float32Array.of(...points.subarray(0, 2 * first), ...points.subarray(2 * rest)),
    labels: Int32Array.of(...labels.subarray(0, first), ...labels.subarray(rest)),
  };
}

/**
 * What was remembered before this frame: where a part of the clip is computed a second time, there are frames that the pass
 * will come to only later, and it shall come out as it did the first time. Frames that were prompted, or showed the
 * object first, count from everywhere.
 */
function knownBank(track: SessionTrack, { frame, reverse }: FrameWork): MemoryBank {
  const { conditioning, tracked } = track.memories.bank;
  const isBehind = (at: number) => (reverse ? at > frame : at < frame);
  return {
    conditioning: conditioning.filter(
      (at) => isBehind(at) || at === track.firstFrame || track.inputs.has(at),
    ),
    tracked,
  };
}

/** Copies memories that were moved to the host back to the device. */
async function bringBack(
  calls: TrackerCalls,
  { memories }: SessionTrack,
  frames: readonly number[],
): Promise<void> {
  const away = frames.filter((frame) => memories.get(frame)?.memory.tier === "host");
  if (away.length === 0) return;
  const old = away.map((frame) => (memories.get(frame) as TrackMemory).memory);
  const back = await calls.move(old, "device");
  away.forEach((frame, i) => {
    const [was, is] = [old[i], back[i]];
    if (was && is) memories.replace(frame, was, is);
  });
}
