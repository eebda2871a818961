import sharp from "sharp";

/** A shape on its way through a drawn clip. */
export interface Mover {
  readonly kind: "circle" | "square";
  readonly color: string;
  readonly size: number;
  /** Centre on frame 0. */
  readonly at: readonly [x: number, y: number];
  /** Pixels each frame. */
  readonly by: readonly [x: number, y: number];
  /** Frames on which it is there; all when left out. */
  readonly frames?: readonly [first: number, last: number];
}

export const CLIP = { width: 256, height: 192 };

/** Where a mover is on a frame; null where it is not there. */
function centreOf({ at, by, frames }: Mover, frame: number): readonly [number, number] | null {
  if (frames && (frame < frames[0] || frame > frames[1])) return null;
  return [at[0] + by[0] * frame, at[1] + by[1] * frame];
}

/** Frames of a clip, as PNGs; later movers lie over earlier ones. */
export function drawClip(movers: readonly Mover[], frames: number, size = CLIP): Promise<Buffer[]> {
  return Promise.all(Array.from({ length: frames }, (_, frame) => drawFrame(movers, frame, size)));
}

/** One frame. */
function drawFrame(movers: readonly Mover[], frame: number, { width, height } = CLIP): Promise<Buffer> {
  const shapes = movers.map((mover) => {
    const centre = centreOf(mover, frame);
    if (!centre) return "";
    const [x, y] = centre;
    const r = mover.size / 2;
    return mover.kind === "circle"
      ? `<circle cx="${x}" cy="${y}" r="${r}" fill="${mover.color}"/>`
      : `<rect x="${x - r}" y="${y - r}" width="${mover.size}" height="${mover.size}" fill="${mover.color}"/>`;
  });
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"><rect width="100%" height="100%" fill="#d8d8d8"/>${shapes.join("")}</svg>`;
  return sharp(Buffer.from(svg)).png().toBuffer();
}
