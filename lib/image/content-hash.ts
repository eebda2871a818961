import type { ReadImage } from "./decode-image.js";

/** The hash is taken of pieces of this size: handing a piece over copies it, and that must not hold up other events. */
const PIECE_BYTES = 2 ** 20;

/**
 * Names a picture by its content, whatever path or buffer it came in: the SHA-256, in hex, of what kind it is and of the
 * SHA-256 of each of its pieces. Computed off the event loop.
 */
export async function contentHash(image: ReadImage): Promise<string> {
  const isFile = "bytes" in image;
  const bytes = isFile ? image.bytes : image.raw.data;
  const kind = isFile ? "file" : `raw ${image.raw.width} ${image.raw.height} ${image.raw.channels}`;
  const parts: Uint8Array[] = [Buffer.from(`${kind}\n`)];
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    parts.push(await sha256(bytes.subarray(at, at + PIECE_BYTES)));
  }
  return Buffer.from(await sha256(Buffer.concat(parts))).toString("hex");
}

async function sha256(bytes: Uint8Array | Uint8ClampedArray): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>));
}
