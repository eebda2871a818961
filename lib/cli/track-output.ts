import { type FileHandle, mkdir, open } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { Sam3Error } from "../errors.js";
import { Mask } from "../masks/mask.js";
import type { FrameResult, FrameResultJson } from "../video/frame-result.js";
import type { VideoInfo } from "../video/sources/video-source.js";
import type { OverlayWriter } from "../video/writer/overlay-writer.js";
import type { Io } from "./command.js";
import { WaitingFrames } from "./waiting-frames.js";

/** The first line that `--json` writes. */
export interface TrackHeader {
  readonly file: string;
  readonly model: string;
  readonly video: VideoInfo;
  readonly prompts: readonly { readonly prompt: number; readonly text: string }[];
}

/** Writes JSON lines as they come: to standard output, or to a file. */
export class JsonLines {
  readonly #io: Io;
  readonly #to: string;
  #file: FileHandle | undefined;

  constructor(to: string, io: Io) {
    this.#to = to;
    this.#io = io;
  }

  async write(value: TrackHeader | FrameResultJson): Promise<void> {
    const line = `${JSON.stringify(value)}\n`;
    if (this.#to === "-") {
      this.#io.out(line);
      return;
    }
    try {
      await mkdir(dirname(resolve(this.#to)), { recursive: true });
      this.#file ??= await open(this.#to, "w");
      await this.#file.writeFile(line);
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      throw new Sam3Error("OUTPUT_FAILED", `${this.#to} cannot be written (${code}); choose another place`, {
        cause,
      });
    }
  }

  async close(): Promise<void> {
    await this.#file?.close();
  }
}

/** Draws results as they come; those that go backward wait until all are there. */
export class OverlayOutput {
  readonly #writer: OverlayWriter;
  readonly #forward: boolean;
  readonly #waiting = new WaitingFrames();

  constructor(writer: OverlayWriter, forward: boolean) {
    this.#writer = writer;
    this.#forward = forward;
  }

  async write(frame: FrameResult): Promise<void> {
    if (this.#forward) await this.#writer.write(frame);
    else await this.#waiting.add(frame.toJSON());
  }

  /** @param onFrame is called with how many of the waiting frames were drawn, and how many there are */
  async close(onFrame: (done: number, total: number) => void): Promise<void> {
    let done = 0;
    for await (const { frame, objects } of this.#waiting.inOrder()) {
      await this.#writer.write({
        index: frame,
        objects: objects.map(({ id, text, score, mask }) => ({ id, text, score, mask: Mask.fromRle(mask) })),
      });
      onFrame(++done, this.#waiting.count);
    }
    await this.#waiting.dispose();
    await this.#writer.close();
  }

  async abort(): Promise<void> {
    await this.#waiting.dispose();
    await this.#writer.abort();
  }
}
