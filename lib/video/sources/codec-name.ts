import { open } from "node:fs/promises";

/** What a container says of its codec. */
export interface StoredCodec {
  /** In FFmpeg's words; `none` or `unknown` where FFmpeg knows of no such codec. */
  readonly codec: string;
  /** The container's own name, four letters mostly; empty where FFmpeg passes none on. */
  readonly tag: string;
}

/** What a codec is called in messages: by FFmpeg, or else by the file; `unknown` where neither says. */
export async function nameCodec(path: string, { codec, tag }: StoredCodec): Promise<string> {
  if (isKnown(codec)) return codec;
  // Bytes that are no letters are written as numbers in brackets; four zeros stand for no tag.
  if (tag !== "" && tag !== "[0][0][0][0]") return tag;
  return (await matroskaCodec(path)) ?? "unknown";
}

/** Whether FFmpeg has a name for a codec, though perhaps no decoder. */
export function isKnown(codec: string): boolean {
  return !/^(|none|unknown)$/.test(codec);
}

/** Matroska's CodecID of the first video track: FFmpeg only tells its log of those that it does not know. */
async function matroskaCodec(path: string): Promise<string | undefined> {
  const file = await open(path, "r");
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(1 << 16), 0, 1 << 16, 0);
    const head = buffer.toString("latin1", 0, bytesRead);
    if (!head.startsWith("\x1a\x45\xdf\xa3")) return undefined;
    // The element's number, its length in one byte, and a text that begins so for every video codec.
    for (const { 1: size = "", index } of head.matchAll(/\x86([\x82-\xbf])V_/g)) {
      const id = head.slice(index + 2, index + 2 + (size.charCodeAt(0) & 0x7f));
      const name = /^[\x21-\x7e]+/.exec(id)?.[0];
      if (name !== undefined) return name;
    }
    return undefined;
  } finally {
    await file.close();
  }
}
