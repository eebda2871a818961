import sharp from "sharp";

/** A picture of plain shapes, the same for the same number, of any size: what mini knows, drawn with anti-aliasing. */
export async function drawScene(seed: number, width: number, height: number): Promise<Buffer> {
  const colours = ["#e02020", "#20b020", "#2040e0", "#f0e020", "#8020a0", "#f09020", "#20d0e0"];
  const shapes = Array.from({ length: 4 }, (_, i) => {
    const colour = colours[(seed + i * 3) % colours.length];
    const x = width * (0.2 + 0.6 * (i % 2)) + (seed % 5) * 3;
    const y = height * (0.25 + 0.5 * Math.floor(i / 2));
    const r = Math.min(width, height) * (0.1 + 0.02 * ((seed + i) % 4));
    return i % 2 === seed % 2
      ? `<circle cx="${x}" cy="${y}" r="${r}" fill="${colour}"/>`
      : `<rect x="${x - r}" y="${y - r}" width="${2 * r}" height="${2 * r}" fill="${colour}" transform="rotate(${seed * 7} ${x} ${y})"/>`;
  });
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"><rect width="100%" height="100%" fill="#c8c8c0"/>${shapes.join("")}</svg>`;
  return sharp(Buffer.from(svg)).flatten().png().toBuffer();
}
