import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { Sam3Error } from "../../errors.js";
import type { FrameFormat, FrameSink } from "./frame-sink.js";

/** Writes each frame as `000123.jpg`, named after its index, into a folder that is made where it is missing. */
export async function openFolderSink(folder: string, { width, height }: FrameFormat): Promise<FrameSink> {
  await makeFolder(folder);
  return {
    write: async (index, rgb) => {
      const picture = sharp(rgb, { raw: { width, height, channels: 3 }, limitInputPixels: false });
      const bytes = await picture.jpeg({ quality: 92, chromaSubsampling: "4:4:4" }).toBuffer();
      await writeFile(join(folder, `${String(index).padStart(6, "0")}.jpg`), bytes).catch((cause) => {
        throw cannotWrite(folder, cause);
      });
    },
    close: async () => {},
    // Every picture is whole.
    abort: async () => {},
  };
}

/** Makes a folder where it is missing. Throws `OUTPUT_FAILED`. */
export async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true }).catch((cause) => {
    throw cannotWrite(folder, cause);
  });
}

function cannotWrite(folder: string, cause: unknown): Sam3Error {
  const why = (cause as NodeJS.ErrnoException).code ?? String(cause);
  return new Sam3Error("OUTPUT_FAILED", `${folder} cannot be written to (${why}); choose another place`, {
    cause,
  });
}
