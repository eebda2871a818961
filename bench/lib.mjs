// What the benchmarks share.
import sharp from "sharp";

/** The value at a share of a sorted copy: 0 the least, 0.5 the median, 1 the most. */
export function at(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

/** Least, median and most, in milliseconds. */
export function spread(values) {
  return [0, 0.5, 1].map((share) => at(values, share).toFixed(1)).join(" / ");
}

/** `1.8 times` from two lists of times of the same run: how much longer the first took, by their medians. */
export function ratio(longer, shorter) {
  return `${(at(longer, 0.5) / at(shorter, 0.5)).toFixed(2)} times`;
}

/** Milliseconds that work takes. */
export async function timed(work) {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** PNG files of plain shapes, all different. */
export function scenes(count, width = 640, height = 480) {
  const colours = ["#e02020", "#20b020", "#2040e0", "#f0e020", "#8020a0", "#f09020", "#20d0e0"];
  return Promise.all(
    Array.from({ length: count }, (_, n) => {
      const shapes = Array.from({ length: 6 }, (_, i) => {
        const x = ((n * 37 + i * 131) % 80) / 100 + 0.1;
        const y = ((n * 53 + i * 71) % 80) / 100 + 0.1;
        return `<circle cx="${x * width}" cy="${y * height}" r="${height / 12}" fill="${colours[(n + i) % 7]}"/>`;
      });
      const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"><rect width="100%" height="100%" fill="#c8c8c0"/>${shapes.join("")}</svg>`;
      return sharp(Buffer.from(svg)).flatten().png().toBuffer();
    }),
  );
}

/** One line that says what the figures belong to. */
export function about({ name, resolution, dtype, device, deviceName }) {
  return `${name}, ${resolution} px, ${dtype} on ${device} (${deviceName})`;
}
