import type { Box, Mask } from "./mask.js";
import type { MaskPolygon } from "./polygons.js";
import { Turn } from "./turn.js";

/** What is drawn of an object. */
export interface DrawnObject {
  readonly text: string;
  readonly score: number;
  readonly box: Box;
  readonly mask: Mask;
  /** Chooses its colour, for objects that keep it from frame to frame; its place in the list when left out. */
  readonly colour?: number | undefined;
}

/** A click that is shown. */
export interface DrawnPoint {
  readonly x: number;
  readonly y: number;
  readonly label: "positive" | "negative";
}

/** How it is drawn. */
export interface OverlayStyle {
  /** Size of the drawing in pixels. */
  readonly width: number;
  readonly height: number;
  /** Pixels of the drawing for one pixel of the picture. */
  readonly scale: number;
  readonly boxes: boolean;
  readonly labels: boolean;
  readonly opacity: number;
  /** Clicks, in pixels of the picture. */
  readonly points: readonly DrawnPoint[];
}

// Far apart in hue and alike in strength, so that neighbours differ on light and on dark pictures.
const COLOURS = [
  "#ff3b5c",
  "#22b8ff",
  "#ffb000",
  "#3ddc63",
  "#b26bff",
  "#ff7a1a",
  "#00d5c0",
  "#ff5cd1",
  "#9be400",
  "#5b7cff",
  "#ffe14d",
  "#e07b9a",
] as const;

/** An SVG of translucent masks with outlines, boxes and labels; large objects lie below small ones. */
export async function overlaySvg(objects: readonly DrawnObject[], style: OverlayStyle): Promise<string> {
  const { width, height } = style;
  const order = objects
    .map((object, i) => ({ object, colour: COLOURS[(object.colour ?? i) % COLOURS.length] as string }))
    .sort((a, b) => b.object.mask.area - a.object.mask.area);
  const shapes: string[] = [];
  const turn = new Turn();
  for (const { object, colour } of order) {
    shapes.push(shapeElements(object, colour, style));
    await turn.pass();
  }
  const labels = style.labels ? labelElements(order, style) : [];
  const points = style.points.map((point) => pointElement(point, style));
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">${shapes.join("")}${points.join("")}${labels.join("")}</svg>`;
}

function shapeElements({ mask, box }: DrawnObject, colour: string, style: OverlayStyle): string {
  const { width, height, scale, opacity } = style;
  const line = Math.max(1.1, Math.max(width, height) / 520);
  // Detail below a pixel of the drawing is not seen; this much also takes the steps off an outline.
  const data = pathData(mask.toPolygons({ tolerance: 0.75 / scale }), scale);
  // A light rim keeps an outline apart from an object of its own colour.
  const rim = `<path d="${data}" fill="none" stroke="#ffffff" stroke-opacity="0.65" stroke-width="${fixed(line * 2.6)}" stroke-linejoin="round"/>`;
  const area = `<path d="${data}" fill="${colour}" fill-opacity="${opacity}" fill-rule="evenodd" stroke="${colour}" stroke-width="${fixed(line * 1.3)}" stroke-linejoin="round"/>`;
  return rim + area + (style.boxes ? boxElement(box, colour, scale, line) : "");
}

function pathData(polygons: readonly MaskPolygon[], scale: number): string {
  return polygons
    .flatMap(({ outer, holes }) => [outer, ...holes])
    .map((ring) => `M${ring.map(([x, y]) => `${fixed(x * scale)} ${fixed(y * scale)}`).join("L")}Z`)
    .join("");
}

function boxElement(box: Box, colour: string, scale: number, line: number): string {
  const [x1, y1, x2, y2] = box.map((value) => value * scale) as Box;
  return `<rect x="${fixed(x1)}" y="${fixed(y1)}" width="${fixed(x2 - x1)}" height="${fixed(y2 - y1)}" rx="${fixed(line * 1.5)}" fill="none" stroke="${colour}" stroke-width="${fixed(line)}" stroke-opacity="0.9"/>`;
}

/** A dot with a plus or a minus, green or red. */
function pointElement({ x, y, label }: DrawnPoint, { width, height, scale }: OverlayStyle): string {
  const r = Math.min(14, Math.max(4, Math.max(width, height) / 110));
  const [cx, cy, arm] = [x * scale, y * scale, r * 0.55];
  const upright = label === "positive" ? `M${fixed(cx)} ${fixed(cy - arm)}V${fixed(cy + arm)}` : "";
  return `<circle cx="${fixed(cx)}" cy="${fixed(cy)}" r="${fixed(r)}" fill="${label === "positive" ? "#12a150" : "#d92d3a"}" stroke="#ffffff" stroke-width="${fixed(r * 0.25)}"/><path d="M${fixed(cx - arm)} ${fixed(cy)}H${fixed(cx + arm)}${upright}" stroke="#ffffff" stroke-width="${fixed(r * 0.3)}" fill="none"/>`;
}

interface Placed {
  readonly x: number;
  readonly y: number;
  readonly width: number;
}

/** One small tag for each object, above its box where there is room, moved down where another tag is. */
function labelElements(
  order: readonly { object: DrawnObject; colour: string }[],
  style: OverlayStyle,
): string[] {
  const { width, height, scale } = style;
  const font = Math.min(26, Math.max(9, Math.max(width, height) / 52));
  const tag = font * 1.45;
  const placed: Placed[] = [];
  // Best score first: it gets the best place.
  const byScore = [...order].sort((a, b) => b.object.score - a.object.score);
  return byScore.map(({ object, colour }) => {
    const words = `${shorten(object.text)} ${object.score.toFixed(2)}`;
    const tagWidth = textWidth(words, font) + font * 0.8;
    const x = clamp(object.box[0] * scale, 0, width - tagWidth);
    let y = object.box[1] * scale - tag;
    if (y < 0) y = object.box[1] * scale;
    const overlaps = () =>
      placed.some(
        (other) => x < other.x + other.width && other.x < x + tagWidth && Math.abs(other.y - y) < tag,
      );
    for (let tries = 0; tries < 20 && overlaps(); tries++) y += tag;
    y = clamp(y, 0, height - tag);
    placed.push({ x, y, width: tagWidth });
    return `<rect x="${fixed(x)}" y="${fixed(y)}" width="${fixed(tagWidth)}" height="${fixed(tag)}" rx="${fixed(font * 0.25)}" fill="${colour}"/><text x="${fixed(x + font * 0.4)}" y="${fixed(y + font * 1.07)}" font-family="DejaVu Sans, Verdana, Arial, sans-serif" font-size="${fixed(font)}" fill="${inkOn(colour)}">${escapeXml(words)}</text>`;
  });
}

function shorten(text: string): string {
  const characters = [...text.replace(/\s+/g, " ").trim()];
  return characters.length > 32 ? `${characters.slice(0, 31).join("")}…` : characters.join("");
}

/** Width in pixels, guessed from the kinds of letters a little too wide rather than too narrow. */
function textWidth(text: string, font: number): number {
  let units = 0;
  for (const c of text) {
    if (/[ijl.,:;'|!()[\] ]/.test(c)) units += 0.37;
    else if (/[mwMW@%]/.test(c)) units += 0.98;
    else if ((c.codePointAt(0) as number) >= 0x2e80) units += 1.05;
    else if (/\p{Lu}/u.test(c)) units += 0.73;
    else units += 0.63;
  }
  return units * font;
}

/** Black or white, whichever is easier to read on a colour. */
function inkOn(colour: string): string {
  const value = Number.parseInt(colour.slice(1), 16);
  const light = 0.299 * (value >> 16) + 0.587 * ((value >> 8) & 0xff) + 0.114 * (value & 0xff);
  return light > 140 ? "#111111" : "#ffffff";
}

function escapeXml(text: string): string {
  return (
    text
      // biome-ignore lint/suspicious/noControlCharactersInRegex: XML has no way to write them
      .replace(/[\u0000-\u001f\ud800-\udfff\ufffe\uffff]/gu, " ")
      .replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c] as string)
  );
}

function clamp(value: number, low: number, high: number): number {
  return Math.max(low, Math.min(value, Math.max(low, high)));
}

function fixed(value: number): string {
  return String(Math.round(value * 100) / 100);
}
