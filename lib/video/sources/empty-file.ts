import { readFile, stat } from "node:fs/promises";

/** A file without a frame is small; a larger one is something else. */
const MOST_BYTES = 1 << 20;

/**
 * Whether a file is a Matroska, WebM or FLV with a video stream and no frame in it: FFmpeg cannot open those, and says of
 * them what it says of damaged ones.
 */
export async function holdsNoFrames(path: string): Promise<boolean> {
  if ((await stat(path)).size > MOST_BYTES) return false;
  const bytes = await readFile(path);
  return isEmptyMatroska(bytes.toString("latin1")) || isEmptyFlv(bytes);
}

/** Tracks, one of them with the name of a video codec, and no cluster, which is what frames are in. */
function isEmptyMatroska(text: string): boolean {
  return (
    text.startsWith("\x1a\x45\xdf\xa3") &&
    text.includes("\x16\x54\xae\x6b") &&
    /\x86[\x82-\xbf]V_/.test(text) &&
    !text.includes("\x1f\x43\xb6\x75")
  );
}

/** Tags one after the other, whole, none of them with a picture. */
function isEmptyFlv(bytes: Buffer): boolean {
  if (bytes.length < 13 || bytes.toString("latin1", 0, 3) !== "FLV") return false;
  let at = 13;
  while (at + 11 <= bytes.length) {
    const kind = bytes[at];
    if (kind === 8 || kind === 9) return false;
    // Its head, its content, and its length once more.
    at += 11 + bytes.readUIntBE(at + 1, 3) + 4;
  }
  return at === bytes.length;
}
