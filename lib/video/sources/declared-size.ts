import { open, stat } from "node:fs/promises";

/**
 * How many bytes a file should have by what its own head says; undefined where it does not say. A shorter file was cut
 * off: demuxers take the end of the file for the end of the video and say nothing.
 */
export async function declaredSize(path: string): Promise<number | undefined> {
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    const read = async (at: number, length: number) => {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, at);
      return buffer.subarray(0, bytesRead);
    };
    const head = await read(0, 64);
    if (head.length < 64) return undefined;
    const tag = head.toString("latin1", 4, 8);
    if (["ftyp", "moov", "mdat", "free", "wide", "skip"].includes(tag)) return await sizeOfBoxes(read, size);
    if (head.toString("latin1", 0, 4) === "RIFF") return await sizeOfRiff(read, size);
    if (head.readUInt32BE(0) === 0x1a45dfa3) return sizeOfMatroska(await read(0, 4096));
    if (head.readUInt32BE(0) === 0x3026b275) return sizeOfAsf(await read(0, 8192));
    if (head.toString("latin1", 0, 3) === "FLV") return sizeOfFlv(await read(0, 8192));
    return undefined;
  } finally {
    await file.close();
  }
}

/** Whether a file is shorter than it should be. */
export async function isCutOff(path: string, declared: number | undefined): Promise<boolean> {
  return declared !== undefined && (await stat(path)).size < declared;
}

type Read = (at: number, length: number) => Promise<Buffer>;

/** MP4 and MOV: boxes one after the other, each with its size; the last one may go to the end. */
async function sizeOfBoxes(read: Read, size: number): Promise<number | undefined> {
  let at = 0;
  for (let boxes = 0; at + 8 <= size && boxes < 100_000; boxes++) {
    const head = await read(at, 16);
    let length = head.readUInt32BE(0);
    if (length === 0) return undefined;
    if (length === 1 && head.length === 16) length = Number(head.readBigUInt64BE(8));
    if (length < 8) return undefined;
    at += length;
  }
  return at;
}

/** AVI: RIFF chunks one after the other, where it is larger than 1 GB. */
async function sizeOfRiff(read: Read, size: number): Promise<number | undefined> {
  let at = 0;
  while (at + 8 <= size) {
    const head = await read(at, 8);
    if (head.toString("latin1", 0, 4) !== "RIFF") return at;
    const length = head.readUInt32LE(4);
    // Written by something that did not come to its end, or to a pipe.
    if (length === 0 || length === 0xffffffff) return undefined;
    at += 8 + length + (length % 2);
  }
  return at;
}

/** Matroska and WebM: the segment's size, unless it is unknown. */
function sizeOfMatroska(head: Buffer): number | undefined {
  const ebml = readVint(head, 4);
  if (ebml === undefined || ebml.value === undefined) return undefined;
  const segment = 4 + ebml.length + ebml.value;
  if (segment + 12 > head.length || head.readUInt32BE(segment) !== 0x18538067) return undefined;
  const size = readVint(head, segment + 4);
  return size?.value === undefined ? undefined : segment + 4 + size.length + size.value;
}

/** A size of EBML; its value is undefined where all bits are set, which means unknown. */
function readVint(bytes: Buffer, at: number): { length: number; value: number | undefined } | undefined {
  const first = bytes[at];
  if (first === undefined || first === 0) return undefined;
  const length = Math.clz32(first) - 23;
  if (at + length > bytes.length) return undefined;
  let value = first & (0xff >> length);
  let unknown = value === 0xff >> length;
  for (let i = 1; i < length; i++) {
    const byte = bytes[at + i] as number;
    unknown &&= byte === 0xff;
    value = value * 256 + byte;
  }
  return { length, value: unknown ? undefined : value };
}

/** WMV: the file size of its file properties. */
function sizeOfAsf(head: Buffer): number | undefined {
  const properties = head.indexOf(Buffer.from("a1dcab8c47a9cf118ee400c00c205365", "hex"));
  if (properties === -1 || properties + 48 > head.length) return undefined;
  return Number(head.readBigUInt64LE(properties + 40)) || undefined;
}

/** FLV: `filesize` of its metadata, where whoever wrote it put one in. */
function sizeOfFlv(head: Buffer): number | undefined {
  const key = Buffer.from("\0\u0008filesize\0", "latin1");
  const at = head.indexOf(key);
  if (at === -1 || at + key.length + 8 > head.length) return undefined;
  return head.readDoubleBE(at + key.length) || undefined;
}
