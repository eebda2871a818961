// Draws examples/shapes.mp4, the clip of the other examples, with the ffmpeg on the path or SAM3_FFMPEG:
// node examples/draw-clip.mjs
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import sharp from "sharp";

const [WIDTH, HEIGHT, FRAMES] = [320, 240, 48];

/** A frame as SVG: a red circle crosses a blue square, a yellow star comes in from the right on frame 20. */
export function drawFrame(n) {
  const star = Array.from({ length: 10 }, (_, i) => {
    const angle = -Math.PI / 2 + (Math.PI * i) / 5;
    const radius = i % 2 === 0 ? 30 : 13;
    return `${(radius * Math.cos(angle)).toFixed(1)},${(radius * Math.sin(angle)).toFixed(1)}`;
  }).join(" ");
  return Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}">
    <rect width="100%" height="100%" fill="#4c5763"/>
    <rect x="-28" y="-28" width="56" height="56" fill="#2457c5" transform="translate(160 ${150 + n * 0.4}) rotate(${3 * n})"/>
    <circle cx="${40 + 5 * n}" cy="${90 + 20 * Math.sin(n / 8)}" r="30" fill="#d92f34"/>
    <polygon points="${star}" fill="#f2c61f" transform="translate(${n < 20 ? -99 : 380 - 6 * (n - 20)} 60)"/>
  </svg>`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const to = fileURLToPath(new URL("shapes.mp4", import.meta.url));
  const input = ["-y", "-v", "error", "-f", "image2pipe", "-r", "12", "-c:v", "png", "-i", "-"];
  const ffmpeg = spawn(
    process.env.SAM3_FFMPEG || "ffmpeg",
    [
      ...input,
      "-c:v",
      "libx264",
      "-crf",
      "20",
      "-g",
      "12",
      "-pix_fmt",
      "yuv420p",
      "-movflags",
      "faststart",
      to,
    ],
    { stdio: ["pipe", "inherit", "inherit"] },
  );
  for (let n = 0; n < FRAMES; n++) ffmpeg.stdin.write(await sharp(drawFrame(n)).png().toBuffer());
  ffmpeg.stdin.end();
  const [code] = await once(ffmpeg, "close");
  process.exitCode = code;
}
