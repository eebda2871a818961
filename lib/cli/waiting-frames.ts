import { Sam3Error } from "../errors.js";
import type { FrameResultJson } from "../video/frame-result.js";
import { createTemporaryFile, type OpenTemporaryFile } from "../video/sources/temporary-file.js";

/** Results that wait for their turn in a temporary file: of a frame only its place in it is held in memory. */
export class WaitingFrames {
  readonly #places: { readonly frame: number; readonly at: number; readonly bytes: number }[] = [];
  #file: Promise<OpenTemporaryFile> | undefined;
  #end = 0;

  get count(): number {
    return this.#places.length;
  }

  /** Throws `DISK_FULL` and `OUTPUT_FAILED`. */
  async add(frame: FrameResultJson): Promise<void> {
    const bytes = Buffer.from(JSON.stringify(frame));
    try {
      this.#file ??= createTemporaryFile();
      const { file } = await this.#file;
      // All of it, one after the other; reading below does not move the place.
      await file.writeFile(bytes);
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException;
      throw new Sam3Error(
        code === "ENOSPC" ? "DISK_FULL" : "OUTPUT_FAILED",
        `Results that wait to be drawn cannot be kept in a temporary file (${message}). Set TMPDIR to another folder.`,
        { cause },
      );
    }
    this.#places.push({ frame: frame.frame, at: this.#end, bytes: bytes.length });
    this.#end += bytes.length;
  }

  /** All of them, by rising frame. */
  async *inOrder(): AsyncGenerator<FrameResultJson, void, void> {
    if (!this.#file) return;
    const { file } = await this.#file;
    for (const { at, bytes } of this.#places.sort((a, b) => a.frame - b.frame)) {
      const buffer = Buffer.alloc(bytes);
      const { bytesRead } = await file.read(buffer, 0, bytes, at);
      if (bytesRead < bytes) {
        throw new Sam3Error(
          "OUTPUT_FAILED",
          "The temporary file of results that wait to be drawn was cut off.",
        );
      }
      yield JSON.parse(buffer.toString()) as FrameResultJson;
    }
  }

  /** Removes the file. */
  async dispose(): Promise<void> {
    const open = await this.#file?.catch(() => undefined);
    await open?.file.close();
    await open?.remove();
    this.#file = undefined;
  }
}
