import sharp from "sharp";
import type { Call } from "../call.js";
import type { Engine } from "../devices/engine.js";
import type { Lease } from "../devices/lease.js";
import type { CacheOutcome, DecodedPixels, PictureRequest } from "../devices/requests.js";
import { Sam3Error } from "../errors.js";
import { Mask } from "../masks/mask.js";
import { place, type Rect, unite } from "../masks/runs.js";
import type { NativeConceptObjects } from "../native/addon.js";
import { type CallProgress, steps } from "../progress.js";
import { answersTo, prepareConcept, withoutDuplicates } from "./ask-concepts.js";
import type { ConceptPrompt } from "./concept-prompt.js";
import { ConceptResult, type FoundText, foundText } from "./concept-result.js";
import { inParallel } from "./in-parallel.js";
import { mergeTiles } from "./merge-tiles.js";
import type { OpenedImage } from "./opened-image.js";
import { allFulfilled } from "./settle.js";
import { layOutTiles, readTileOptions, type TileOptions } from "./tile-layout.js";

/** Tiles under way at a time: enough for the encoder's batches, few enough to hold little. */
const TILES_AT_ONCE = 4;

/** What one tile, or the whole picture made small, had to say. */
interface Seen {
  readonly answers: readonly NativeConceptObjects[];
  readonly cache: CacheOutcome;
}

/**
 * Looks for a concept in the whole picture made small and in overlapping tiles of it, and puts together what they saw.
 * Of the picture it holds 8-bit pixels, once, while tiles are cut from them, and waits for room to hold them.
 */
export async function segmentTiled(
  engine: Engine,
  opened: OpenedImage,
  prompt: ConceptPrompt,
  options: {
    readonly tiles: TileOptions;
    readonly suppressDuplicates: number | undefined;
    readonly semantic: boolean;
    readonly report: (progress: CallProgress) => void;
  },
  call: Call,
): Promise<ConceptResult> {
  if (Array.isArray(prompt?.exemplars) && prompt.exemplars.length > 0) {
    throw new Sam3Error(
      "INVALID_PROMPT",
      "Tiles take text only: an exemplar is a place in one picture, and the other tiles are pictures without it.",
    );
  }
  const layout = readTileOptions(options.tiles, engine.manifest.resolution);
  const asked = prepareConcept(engine, prompt, opened);
  const tiles = layOutTiles(opened, layout);
  const step = steps(1 + tiles.length, options.report);
  const { contentHash } = opened.source;
  const ask = async (lease: Lease): Promise<Seen> => {
    try {
      const answers = allFulfilled(await answersTo(engine, lease, asked, options.semantic, call));
      step();
      return { answers, cache: lease.cache };
    } finally {
      lease.release();
    }
  };
  const image = { width: opened.width, height: opened.height };
  const encoding = new BusyTime();
  const acquire = (request: PictureRequest) => encoding.during(() => engine.acquire(request, call));
  const pixelBytes = opened.width * opened.height * 3;
  const { whole, seen, decodeMs, start } = await engine.pictures.cut(call.signal, pixelBytes, async () => {
    const start = performance.now();
    const pixels = decodedOnce(opened);
    const whole = await ask(await acquire({ key: contentHash, pixels: pixels.whole, pixelBytes }));
    const seen = await inParallel(tiles, TILES_AT_ONCE, async (tile) => {
      const key = `${contentHash} ${tile.x1},${tile.y1},${tile.x2},${tile.y2}`;
      const pixelBytes = (tile.x2 - tile.x1) * (tile.y2 - tile.y1) * 3;
      return ask(await acquire({ key, pixels: (signal) => pixels.cut(tile, signal), pixelBytes }));
    });
    return { whole, seen, decodeMs: pixels.decodeMs(), start };
  });

  const found: FoundText[] = [];
  for (const [i, text] of asked.entries()) {
    const large = whole.answers[i] as NativeConceptObjects;
    const answers = seen.map(({ answers }) => answers[i] as NativeConceptObjects);
    const findings = tiles.map((tile, t) => ({
      tile,
      objects: (answers[t] as NativeConceptObjects).objects,
    }));
    const objects =
      tiles.length === 0 ? large.objects : await mergeTiles(findings, large.objects, image, call.signal);
    const presence = Math.max(large.presence, ...answers.map((answer) => answer.presence));
    const merged = foundText(i, text, { ...large, presence, objects }, image);
    found.push(tiles.length === 0 ? merged : { ...merged, semantic: semanticOf(tiles, answers, image) });
  }
  const all = [whole, ...seen];
  return new ConceptResult(
    {
      image,
      timings: {
        decodeMs: opened.readMs + decodeMs,
        // Tiles are decoded, encoded and asked side by side: what is left of the whole when encoding is taken off.
        encodeMs: Math.max(0, encoding.ms - decodeMs),
        segmentMs: performance.now() - start - encoding.ms,
      },
      cache: all.every(({ cache }) => cache === whole.cache) ? whole.cache : "miss",
      source: opened.source,
      maxPixels: engine.maxPixels,
    },
    await withoutDuplicates(found, options.suppressDuplicates, call.signal),
  );
}

/** How long at least one of some overlapping pieces of work was under way. */
class BusyTime {
  ms = 0;
  #running = 0;
  #since = 0;

  async during<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running++ === 0) this.#since = performance.now();
    try {
      return await work();
    } finally {
      if (--this.#running === 0) this.ms += performance.now() - this.#since;
    }
  }
}

/** Every pixel that a tile's semantic map has; null where none was asked for. */
function semanticOf(
  tiles: readonly Rect[],
  answers: readonly NativeConceptObjects[],
  image: { readonly width: number; readonly height: number },
): Mask | null {
  const maps = answers.flatMap(({ semantic }, t) =>
    semantic === null ? [] : [place(semantic.counts, tiles[t] as Rect, image)],
  );
  if (maps.length === 0) return null;
  return Mask.fromRle({ size: [image.height, image.width], counts: maps.reduce(unite) });
}

/** The decoded picture, decoded when first asked for and kept for the tiles. */
function decodedOnce(opened: OpenedImage) {
  let decoding: Promise<DecodedPixels> | undefined;
  let decodeMs = 0;
  const whole = async (signal: AbortSignal): Promise<DecodedPixels> => {
    decoding ??= opened.pixels(signal);
    try {
      const pixels = await decoding;
      decodeMs = pixels.decodeMs;
      return pixels;
    } catch (error) {
      // Whoever comes next tries anew: this one may only have been stopped.
      decoding = undefined;
      throw error;
    }
  };
  const cut = async ({ x1, y1, x2, y2 }: Rect, signal: AbortSignal): Promise<DecodedPixels> => {
    const { data, width, height } = await whole(signal);
    const start = performance.now();
    const tile = await sharp(data, { raw: { width, height, channels: 3 }, limitInputPixels: false })
      .extract({ left: x1, top: y1, width: x2 - x1, height: y2 - y1 })
      .raw()
      .toBuffer();
    return { data: tile, width: x2 - x1, height: y2 - y1, decodeMs: performance.now() - start };
  };
  return { whole, cut, decodeMs: () => decodeMs };
}
