import type { VideoDecoders } from "../video/sources/list-decoders.js";

/** What a line is about, and what was found. */
export type Line = [label: string, text: string];

/** What decodes video files, for `sam3 doctor`. */
export function videoLines({ nodeAv, ffmpeg, order }: VideoDecoders): Line[] {
  const place = (name: "node-av" | "ffmpeg") => {
    const at = order.indexOf(name);
    return at === 0
      ? "is used"
      : at > 0
        ? "is used for what the first one cannot decode"
        : "is not used, as set";
  };
  const program = ffmpeg?.version
    ? `ffmpeg ${ffmpeg.version} in ${ffmpeg.path}, ${place("ffmpeg")}`
    : `${ffmpeg?.path} is no ffmpeg that runs`;
  return [
    [
      "video",
      nodeAv
        ? `node-av ${nodeAv.version ?? "of unknown version"} with FFmpeg ${nodeAv.ffmpeg}, ${place("node-av")}`
        : "node-av not installed: npm install node-av",
    ],
    ["", ffmpeg ? program : "no ffmpeg on the path"],
    ...(order.length === 0
      ? [["", "so video files cannot be decoded; folders of pictures can"] satisfies Line]
      : []),
  ];
}
