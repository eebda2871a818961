import type { Manifest } from "../bundle/manifest.js";

/** Bytes on the device that a session needs whatever it tracks: features of the frames that are under way. */
export function leastSessionBytes(manifest: Manifest, framesAhead: number): number {
  const { featureSize, width, tracker, dtype } = manifest;
  const cells = featureSize ** 2;
  // Three levels each: four, two and one times the grid; the tracker's finer ones are narrower (docs/bundle.md).
  const detector = width * cells * (16 + 4 + 1);
  const own = tracker.width * cells * (16 / 8 + 4 / 4 + 1);
  return (detector + own) * (dtype === "fp32" ? 4 : 2) * (framesAhead + 1);
}
