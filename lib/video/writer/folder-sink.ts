import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { Sam3Error } from "../../errors.js";
import type { FrameFormat, FrameSink } from "./frame-sink.js";

/** Writes each frame as `000123.jpg`, named after its index, into a folder that is made where it is missing. */
export async function openFolderSink(folder: string, { width, height }: FrameFormat): Promise<FrameSink> {
  const failed = (cause: unknown) =>
    new Sam3Error(
      "OUTPUT_FAILED",
      `${folder} cannot be written to (${(cause as NodeJS.ErrnoException).code ?? String(cause)}); choose another place`,
      { cause },
    );
  await mkdir(folder, { recursive: true }).catch((cause) => {
    throw failed(cause);
  });
  return {
    write: async (index, rgb) => {
      const picture = sharp(rgb, { raw: { width, height, channels: 3 }, limitInputPixels: false });
      const bytes = await picture.jpeg({ quality: 92, chromaSubsampling: "4:4:4" }).toBuffer();
      await writeFile(join(folder, `${String(index).padStart(6, "0")}.jpg`), bytes).catch((cause) => {
        throw failed(cause);
      });
    },
    close: async () => {},
    // Every picture is whole.
    abort: async () => {},
  };
}
