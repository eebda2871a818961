import { Sam3Error } from "../../errors.js";
import { decodeCounts, encodeCounts } from "../../masks/rle.js";
import { areaOf } from "../../masks/runs.js";
import type { NativeTrackMemory } from "../../native/addon.js";
import type { SavedHeader, SavedSession } from "../saved-session.js";
import type { FrameSpans } from "./frame-spans.js";
import type { FrameEntry } from "./result-store.js";
import type { SessionCore } from "./session-core.js";
import { type ObjectInput, SessionPrompt, SessionTrack } from "./session-track.js";
import type { TrackerCalls } from "./tracker-calls.js";

/** Names what a session was made with, so that it is not restored over something else. */
export interface SavedBundle {
  readonly id: string;
  readonly name: string;
}

/** Everything a session needs to go on elsewhere. */
export async function saveSession(
  core: SessionCore,
  calls: TrackerCalls,
  bundle: SavedBundle,
): Promise<SavedSession> {
  const memories: NativeTrackMemory[] = [];
  const tracks = [...core.tracks.values()].map((track) => ({
    id: track.id,
    prompt: track.prompt,
    score: track.score,
    firstFrame: track.firstFrame,
    since: track.since,
    lastSeen: track.lastSeen,
    late: track.late,
    tracked: savedSpans(track.tracked),
    unconfirmed: savedSpans(track.unconfirmed),
    inputs: [...track.inputs].map(([frame, input]) => ({ frame, input: savedInput(input) })),
    memories: [...track.memories.entries()].map(([frame, { memory, conditioning, effectiveIou }]) => {
      return { frame, conditioning, effectiveIou, block: memories.push(memory) - 1 };
    }),
  }));
  const blocks = memories.length > 0 ? await calls.save(memories) : [];
  const header: SavedHeader = {
    bundle: { id: bundle.id, name: bundle.name },
    video: core.source && { frameCount: core.frameCount },
    size: { width: core.size.width, height: core.size.height },
    rules: { ...core.rules },
    correctionsCondition: core.correctionsCondition,
    nextPrompt: core.nextPrompt,
    framesDone: core.framesDone,
    reverse: core.reverse,
    newest: core.newest ?? null,
    state: {
      nextId: core.state.nextId,
      tracks: core.state.tracks.map((track) => ({
        ...track,
        sharedWith: track.sharedWith.map((shared) => ({ ...shared })),
      })),
    },
    prompts: [...core.prompts.values()].map(({ id, text, everywhere, firstFrame, exemplars }) => ({
      id,
      text,
      everywhere,
      firstFrame,
      exemplars: [...exemplars].map(([frame, { boxes, labels }]) => {
        return { frame, boxes: [...boxes], labels: [...labels] };
      }),
    })),
    tracks,
    results: [...core.results.entries()].map(savedEntry),
    blocks: blocks.map(({ length }) => length),
  };
  return { header, blocks };
}

/**
 * Checks that a saved session is of this bundle and video.
 *
 * @throws {Sam3Error} `SESSION_INVALID`
 */
export function checkSaved({ header }: SavedSession, core: SessionCore, bundle: SavedBundle): void {
  const refuse = (why: string) => {
    throw new Sam3Error("SESSION_INVALID", `The saved session ${why}.`);
  };
  if (header.bundle.id !== bundle.id) {
    refuse(
      `was made with another model (${header.bundle.name}, ${header.bundle.id}) than this one (${bundle.name}, ${bundle.id})`,
    );
  }
  if (header.video === null && core.source) refuse("is one of live frames: restore it without a video");
  if (header.video !== null && !core.source) refuse("needs the video it was made with");
  if (!core.source || !header.video) return;
  const { width, height } = core.size;
  const was = `${header.size.width}×${header.size.height}, ${header.video.frameCount} frames`;
  const is = `${width}×${height}, ${core.frameCount} frames`;
  if (was !== is) refuse(`was made with another video (${was}) than this one (${is})`);
}

/** Puts a saved session into one that was just made. */
export async function restoreSession(
  core: SessionCore,
  calls: TrackerCalls,
  { header, blocks }: SavedSession,
  encode: (text: string) => Int32Array,
): Promise<void> {
  const memories = blocks.length > 0 ? await restoreBlocks(calls, blocks) : [];
  for (const saved of header.tracks) {
    const track = new SessionTrack(saved, saved);
    for (const { frame, input } of saved.inputs) track.inputs.set(frame, restoredInput(input, core.size));
    for (const { frame, conditioning, effectiveIou, block } of saved.memories) {
      const memory = memories[block];
      if (memory) track.memories.set(frame, { memory, conditioning, effectiveIou });
    }
    core.tracks.set(track.id, track);
  }
  for (const { exemplars, ...facts } of header.prompts) {
    const prompt = new SessionPrompt({ ...facts, ids: encode(facts.text) });
    for (const { frame, boxes, labels } of exemplars) {
      prompt.exemplars.set(frame, { boxes: Float32Array.from(boxes), labels: Uint8Array.from(labels) });
    }
    core.prompts.set(prompt.id, prompt);
  }
  const { width, height } = header.size;
  for (const saved of header.results) core.results.put(restoredEntry(saved, width * height));
  core.size = { width, height };
  core.state = header.state;
  core.nextPrompt = header.nextPrompt;
  core.framesDone = header.framesDone;
  core.reverse = header.reverse;
  core.newest = header.newest ?? undefined;
}

async function restoreBlocks(
  calls: TrackerCalls,
  blocks: readonly Uint8Array[],
): Promise<readonly NativeTrackMemory[]> {
  try {
    return await calls.restore(blocks);
  } catch (cause) {
    if ((cause as { code?: unknown }).code !== "INVALID_ARGUMENT") throw cause;
    const said = cause instanceof Error ? cause.message : String(cause);
    throw new Sam3Error("SESSION_INVALID", `What the saved session remembers cannot be read: ${said}`, {
      cause,
    });
  }
}

type SavedInput = SavedHeader["tracks"][number]["inputs"][number]["input"];
type SavedEntry = SavedHeader["results"][number];

function savedSpans({ spans }: FrameSpans): [number, number][] {
  return spans.map(([first, last]) => [first, last]);
}

function savedInput(input: ObjectInput): SavedInput {
  if (input.kind === "mask") return { kind: "mask", counts: encodeCounts(input.counts) };
  return { kind: "points", points: [...input.points], labels: [...input.labels], alone: input.alone };
}

function restoredInput(input: SavedInput, { width, height }: SessionCore["size"]): ObjectInput {
  if (input.kind === "mask") return { kind: "mask", counts: decodeCounts(input.counts, width * height) };
  const { points, labels, alone } = input;
  return { kind: "points", points: Float32Array.from(points), labels: Int32Array.from(labels), alone };
}

function savedEntry({ index, time, prompts, own, objects, removed }: FrameEntry): SavedEntry {
  return {
    index,
    time,
    prompts: [...prompts],
    own: [...own],
    removed: [...removed],
    objects: [...objects.values()].map(({ id, counts, trackScore, suppressed }) => {
      return { id, counts: encodeCounts(counts), trackScore, suppressed };
    }),
  };
}

function restoredEntry(
  { index, time, prompts, own, objects, removed }: SavedEntry,
  pixels: number,
): FrameEntry {
  return {
    index,
    time,
    prompts: new Set(prompts),
    own: new Set(own),
    removed: new Set(removed),
    objects: new Map(
      objects.map(({ id, counts: text, trackScore, suppressed }) => {
        const counts = decodeCounts(text, pixels);
        return [id, { id, counts, area: areaOf(counts), trackScore, suppressed }];
      }),
    ),
  };
}
