// Draws examples/shapes.png, the picture of `npm run demo`: node examples/draw-shapes.mjs
import sharp from "sharp";

const [WIDTH, HEIGHT] = [960, 640];

const COLOURS = {
  red: "#d92f34",
  green: "#2e9e4f",
  blue: "#2457c5",
  yellow: "#f2c61f",
  purple: "#7d3aa8",
  orange: "#ee7d22",
  white: "#fafafa",
  cyan: "#25bfd0",
};

/** Corner points around the centre: `count` of them, alternating between the radii. */
function around(count, radii, turn = -90) {
  return Array.from({ length: count }, (_, i) => {
    const angle = ((turn + (360 * i) / count) * Math.PI) / 180;
    const radius = radii[i % radii.length];
    return `${(radius * Math.cos(angle)).toFixed(2)},${(radius * Math.sin(angle)).toFixed(2)}`;
  }).join(" ");
}

const SHAPES = {
  circle: (fill) => `<circle r="1" fill="${fill}"/>`,
  square: (fill) => `<rect x="-0.85" y="-0.85" width="1.7" height="1.7" fill="${fill}"/>`,
  triangle: (fill) => `<polygon points="${around(3, [1.1])}" fill="${fill}"/>`,
  star: (fill) => `<polygon points="${around(10, [1.1, 0.45])}" fill="${fill}"/>`,
  cross: (fill) => `<path d="M-.3-1h.6v.7h.7v.6h-.7v.7h-.6v-.7h-.7v-.6h.7z" fill="${fill}"/>`,
  ring: (fill) => `<circle r=".78" fill="none" stroke="${fill}" stroke-width=".42"/>`,
};

// shape, colour, centre, half its size, degrees
const SCENE = [
  ["square", "blue", 150, 165, 92, 14],
  ["circle", "red", 375, 140, 74, 0],
  ["star", "yellow", 590, 175, 96, -8],
  ["triangle", "green", 815, 170, 92, 12],
  ["ring", "purple", 180, 455, 98, 0],
  ["cross", "cyan", 400, 410, 86, 22],
  ["circle", "red", 590, 500, 66, 0],
  ["square", "orange", 800, 450, 88, -18],
];

const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}">
  <defs><linearGradient id="ground" x1="0" y1="0" x2="1" y2="1">
    <stop offset="0" stop-color="#5d6b78"/><stop offset="1" stop-color="#39424c"/>
  </linearGradient></defs>
  <rect width="${WIDTH}" height="${HEIGHT}" fill="url(#ground)"/>
  ${SCENE.map(([shape, colour, x, y, size, turn]) => `<g transform="translate(${x} ${y}) rotate(${turn}) scale(${size})">${SHAPES[shape](COLOURS[colour])}</g>`).join("\n  ")}
</svg>`;

await sharp(Buffer.from(svg))
  .png({ compressionLevel: 9, palette: false })
  .toFile(new URL("shapes.png", import.meta.url).pathname);
