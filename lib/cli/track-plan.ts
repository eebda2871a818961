import { stat } from "node:fs/promises";
import { extname, resolve, sep } from "node:path";
import { VIDEO_ENDINGS } from "../video/writer/video-container.js";
import { usage } from "./command.js";
import { readWhole } from "./read-values.js";
import { readTrackPrompts, type TrackPrompt, type TrackPromptOptions } from "./track-prompt.js";

/** What `sam3 track` was asked to do. */
export interface TrackPlan {
  readonly prompts: readonly TrackPrompt[];
  readonly direction: "forward" | "backward" | "both";
  readonly startFrame: number | undefined;
  readonly maxFrames: number | undefined;
  /** Where the overlay goes. */
  readonly out: string | undefined;
  /** Where JSON lines go; `-` is standard output. */
  readonly json: string | undefined;
}

/** Options of the command that decide its plan. */
export interface TrackPlanOptions extends TrackPromptOptions {
  readonly direction?: string;
  readonly start?: string;
  readonly "max-frames"?: string;
  readonly out?: string;
  readonly json?: string;
}

const NAME = { name: "track" };
const DIRECTIONS = ["forward", "backward", "both"] as const;

/** Reads the options. Throws `USAGE` and what reading prompts throws. */
export async function readTrackPlan(video: string, options: TrackPlanOptions): Promise<TrackPlan> {
  const { direction = "forward", start, out, json } = options;
  const known = DIRECTIONS.find((it) => it === direction);
  if (known === undefined) throw usage(`--direction ${direction} is none of ${DIRECTIONS.join(", ")}`, NAME);
  const startFrame = start === undefined ? undefined : readWhole(start);
  if (start !== undefined && startFrame === undefined) {
    throw usage(`--start ${start} is not the index of a frame`, NAME);
  }
  const most = options["max-frames"];
  const maxFrames = most === undefined ? undefined : readWhole(most);
  if (most !== undefined && (maxFrames === undefined || maxFrames < 1)) {
    throw usage(`--max-frames ${most} is not a number from 1 on`, NAME);
  }
  if (json === "") throw usage("--json is empty; name a file, or - for standard output", NAME);
  if (out !== undefined) await checkOut(out);
  for (const [name, path] of [
    ["--out", out],
    ["--json", json],
  ] as const) {
    if (path !== undefined && path !== "-") assertApart(video, path, name);
  }
  return {
    prompts: readTrackPrompts(options, startFrame ?? 0),
    direction: known,
    startFrame,
    maxFrames,
    out,
    json,
  };
}

async function checkOut(out: string): Promise<void> {
  if (out === "") throw usage("--out is empty; name a video file or a folder", NAME);
  const ending = extname(out).toLowerCase();
  const isFolder = await stat(out).then(
    (it) => it.isDirectory(),
    () => false,
  );
  if (ending !== "" && !VIDEO_ENDINGS.includes(ending)) {
    throw usage(`--out ${out} must end in ${VIDEO_ENDINGS.join(", ")} or be a folder`, NAME);
  }
  if (isFolder && ending !== "") throw usage(`--out ${out} is a folder with the name of a video`, NAME);
}

/** Neither the video nor a picture of a folder may be written over. */
function assertApart(video: string, path: string, option: string): void {
  const [read, written] = [resolve(video), resolve(path)];
  if (read === written || written.startsWith(read + sep)) {
    throw usage(`${option} ${path} would write into what is read`, NAME);
  }
}
