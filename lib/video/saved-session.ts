import { createHash, randomBytes } from "node:crypto";
import { open, readFile, rename, rm } from "node:fs/promises";
import { z } from "zod";
import { describe, issuesInOneLine } from "../describe.js";
import { Sam3Error } from "../errors.js";

/**
 * A session in a file: eight letters, the format's version and the header's length as 32-bit numbers (little-endian), the
 * header as JSON, what objects remember as the addon's blocks one after the other, and the SHA-256 of all of that.
 */
const MAGIC = Buffer.from("SAM3SESS");
const VERSION = 3;
const FIXED_BYTES = MAGIC.length + 8;
const HASH_BYTES = 32;

const index = z.int().min(0);
const id = z.int().min(0);
const numbers = z.array(z.number());
const spans = z.array(z.tuple([index, index]));
const input = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("points"),
    points: numbers,
    labels: z.array(z.int()),
    alone: z.boolean(),
  }),
  z.strictObject({ kind: z.literal("mask"), counts: z.string() }),
]);
const headerSchema = z.strictObject({
  bundle: z.strictObject({ id: z.string(), name: z.string() }),
  /** Null for a live session. */
  video: z.strictObject({ frameCount: index.nullable() }).nullable(),
  size: z.strictObject({ width: index, height: index }),
  rules: z.record(z.string(), z.union([z.number(), z.boolean()])),
  correctionsCondition: z.boolean(),
  nextPrompt: id,
  framesDone: index,
  reverse: z.boolean().nullable(),
  newest: z.strictObject({ index, time: z.number() }).nullable(),
  state: z.strictObject({
    nextId: id,
    tracks: z.array(
      z.strictObject({
        id,
        prompt: id,
        score: z.number(),
        firstFrame: index,
        settled: z.boolean(),
        unmatched: index,
        seenInRow: index,
        confirmed: z.boolean(),
        keepAlive: z.int(),
        sharedWith: z.array(z.strictObject({ id, frames: index })),
        lastOccluded: z.int().nullable(),
      }),
    ),
  }),
  prompts: z.array(
    z.strictObject({
      id,
      text: z.string(),
      everywhere: z.boolean(),
      firstFrame: index,
      exemplars: z.array(z.strictObject({ frame: index, boxes: numbers, labels: z.array(z.int()) })),
    }),
  ),
  tracks: z.array(
    z.strictObject({
      id,
      prompt: id.nullable(),
      score: z.number().nullable(),
      firstFrame: index,
      since: z.strictObject({ frame: index, reverse: z.boolean() }).nullable(),
      lastSeen: index,
      late: z.boolean(),
      tracked: spans,
      unconfirmed: spans,
      inputs: z.array(z.strictObject({ frame: index, input })),
      memories: z.array(
        z.strictObject({ frame: index, conditioning: z.boolean(), effectiveIou: z.number(), block: index }),
      ),
    }),
  ),
  results: z.array(
    z.strictObject({
      index,
      time: z.number(),
      prompts: z.array(id),
      own: z.array(id),
      removed: z.array(id),
      objects: z.array(
        z.strictObject({ id, counts: z.string(), trackScore: z.number(), suppressed: z.boolean() }),
      ),
    }),
  ),
  /** Bytes of every block, in their order. */
  blocks: z.array(index),
});

/** Everything of a session but its device memory. */
export type SavedHeader = z.infer<typeof headerSchema>;

/** A session as it is in a file. */
export interface SavedSession {
  readonly header: SavedHeader;
  /** What objects remember, each as the addon gave it. */
  readonly blocks: readonly Uint8Array[];
}

/**
 * Writes a session to a file, all of it or nothing.
 *
 * @throws {Sam3Error} `DISK_FULL`, `OUTPUT_FAILED`
 */
export async function writeSavedSession(path: string, { header, blocks }: SavedSession): Promise<number> {
  const json = Buffer.from(JSON.stringify(header));
  const fixed = Buffer.alloc(8);
  fixed.writeUInt32LE(VERSION, 0);
  fixed.writeUInt32LE(json.length, 4);
  const hash = createHash("sha256");
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  let bytes = 0;
  try {
    const file = await open(temporary, "wx");
    try {
      for (const piece of [MAGIC, fixed, json, ...blocks]) {
        hash.update(piece);
        await file.writeFile(piece);
        bytes += piece.length;
      }
      await file.writeFile(hash.digest());
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    return bytes + HASH_BYTES;
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => {});
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === "ENOSPC") throw new Sam3Error("DISK_FULL", `The disk is full: ${message}`, { cause });
    throw new Sam3Error("OUTPUT_FAILED", `The session could not be saved as ${describe(path)}: ${message}`, {
      cause,
    });
  }
}

/**
 * Reads a session from a file.
 *
 * @throws {Sam3Error} `SESSION_NOT_FOUND` where there is no such file, `SESSION_INVALID` for one that is none, is
 *   damaged, or of another version
 */
export async function readSavedSession(path: string, signal: AbortSignal): Promise<SavedSession> {
  const bytes = await readFile(path, { signal }).catch((cause: NodeJS.ErrnoException) => {
    signal.throwIfAborted();
    throw new Sam3Error(
      cause.code === "ENOENT" ? "SESSION_NOT_FOUND" : "SESSION_INVALID",
      `The saved session ${describe(path)} cannot be read: ${cause.message}`,
      { cause },
    );
  });
  const invalid = (why: string, cause?: unknown) =>
    new Sam3Error("SESSION_INVALID", `${describe(path)} ${why}.`, { cause });
  if (bytes.length < FIXED_BYTES + HASH_BYTES || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw invalid("is no saved session");
  }
  const version = bytes.readUInt32LE(MAGIC.length);
  if (version !== VERSION) {
    throw invalid(`is a saved session of version ${version}; this package reads version ${VERSION}`);
  }
  const content = bytes.subarray(0, bytes.length - HASH_BYTES);
  if (!createHash("sha256").update(content).digest().equals(bytes.subarray(content.length))) {
    throw invalid("is damaged or was cut off: its content does not have the hash it was written with");
  }
  const end = FIXED_BYTES + bytes.readUInt32LE(MAGIC.length + 4);
  let header: SavedHeader;
  try {
    header = headerSchema.parse(JSON.parse(content.subarray(FIXED_BYTES, end).toString()));
  } catch (cause) {
    const why = cause instanceof z.ZodError ? issuesInOneLine(cause) : String(cause);
    throw invalid(`has a header that cannot be read: ${why}`, cause);
  }
  const blocks: Uint8Array[] = [];
  let at = end;
  for (const length of header.blocks) {
    blocks.push(content.subarray(at, at + length));
    at += length;
  }
  const used = header.tracks.flatMap(({ memories }) => memories.map(({ block }) => block));
  if (at !== content.length || used.some((block) => block >= blocks.length)) {
    throw invalid("has blocks that do not fit its header");
  }
  return { header, blocks };
}
