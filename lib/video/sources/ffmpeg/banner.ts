import type { TimeBase } from "../decoder.js";

/** What ffmpeg says of a file while it opens it. */
export interface Banner {
  container: string;
  /** Seconds; what ffmpeg adds to every `-ss`. */
  start: number;
  codec: string;
  /** The container's own name of the codec; empty where not said. */
  tag: string;
  /** Pixel format, matrix and range in FFmpeg's words; `unknown` where not said. */
  format: string;
  matrix: string;
  range: string;
  rotation: 0 | 90 | 180 | 270;
  hasVideo: boolean;
  hasAudio: boolean;
}

const STREAM = /^\s+Stream #0:\d+(?:\[[^\]]*\])?(?:\([^)]*\))?: (Video|Audio): (.*)$/;

/** Reads ffmpeg's lines on its first input, one after the other. */
export class BannerReader {
  readonly banner: Banner = {
    container: "",
    start: 0,
    codec: "",
    tag: "",
    format: "unknown",
    matrix: "unknown",
    range: "unknown",
    rotation: 0,
    hasVideo: false,
    hasAudio: false,
  };
  #inInput = false;
  #inVideo = false;

  read(line: string): void {
    const input = /^Input #0, (.+), from '/.exec(line);
    if (input) {
      this.#inInput = true;
      this.banner.container = input[1] as string;
    } else if (/^(Output #|Stream mapping:)/.test(line)) {
      this.#inInput = false;
    } else if (this.#inInput) {
      this.#readInput(line);
    }
  }

  #readInput(line: string): void {
    const start = /^ {2}Duration: .*start: (-?[\d.]+)/.exec(line);
    if (start) this.banner.start = Number(start[1]);
    const stream = STREAM.exec(line);
    if (stream) {
      const [, kind, text = ""] = stream;
      // A cover picture is no video.
      const video = kind === "Video" && !/\(attached pic\)/.test(text);
      this.#inVideo = video && !this.banner.hasVideo;
      if (kind === "Audio") this.banner.hasAudio = true;
      if (this.#inVideo) this.#readVideo(text);
    }
    const turned = this.#inVideo ? /^\s+display ?matrix: rotation of (-?[\d.]+) degrees/i.exec(line) : null;
    // FFmpeg counts counter-clockwise.
    if (turned) this.banner.rotation = quarters(-Number(turned[1]));
  }

  #readVideo(text: string): void {
    this.banner.hasVideo = true;
    // `h264 (High) (avc1 / 0x31637661), yuv420p(tv, bt709, progressive), 1280x720 …`
    this.banner.codec = /^\S+?(?=[ ,]|$)/.exec(text)?.[0] ?? "";
    this.banner.tag = /^[^,]* \(([^()]+) \/ 0x[0-9A-F]+\)/i.exec(text)?.[1] ?? "";
    const format = /, ([a-z][a-z0-9]+)(?:\(([^)]*)\))?, \d+x\d+/.exec(text);
    if (format === null) return;
    this.banner.format = format[1] as string;
    const words = (format[2] ?? "").split(",").map((word) => word.trim());
    this.banner.range = words.find((word) => word === "tv" || word === "pc") ?? "unknown";
    // Matrix, primaries and transfer are one word where they are the same, else `matrix/primaries/transfer`.
    const colours = words.find((word) => /^(bt|smpte|fcc|ycgco|unknown\/|gbr|reserved)/.test(word));
    this.banner.matrix = colours?.split("/")[0] ?? "unknown";
  }
}

function quarters(degrees: number): 0 | 90 | 180 | 270 {
  return ((((Math.round(degrees / 90) % 4) + 4) % 4) * 90) as 0 | 90 | 180 | 270;
}

/** One line of FFmpeg's `showinfo` filter. */
export interface ShownFrame {
  readonly tick: number | null;
  readonly width: number;
  readonly height: number;
}

/** Reads a line of `showinfo`; undefined where it is another line. */
export function readShown(line: string): ShownFrame | undefined {
  const found = /^\[Parsed_showinfo_\d+ @ [^\]]*\] n: *\d+ pts: *(-?\d+|NOPTS) .* s:(\d+)x(\d+) /.exec(line);
  if (found === null) return undefined;
  return {
    tick: found[1] === "NOPTS" ? null : Number(found[1]),
    width: Number(found[2]),
    height: Number(found[3]),
  };
}

/** Reads `#tb 0: 1/12800` of FFmpeg's `framecrc` form. */
export function readTimeBase(line: string): TimeBase | undefined {
  const found = /^#tb 0: (\d+)\/(\d+)/.exec(line);
  return found === null ? undefined : { num: Number(found[1]), den: Number(found[2]) };
}
