import { Sam3Error, type Sam3ErrorCode } from "../errors.js";
import { readSettings } from "../options.js";
import { HERE } from "../video/sources/choose-decoder.js";
import { openVideo } from "../video/sources/open-video.js";
import { lookAt, takeVideo } from "../video/sources/video-input.js";
import type { VideoInfo, VideoSource } from "../video/sources/video-source.js";
import type { VideoSession } from "../video/video-session.js";
import { OverlayWriter } from "../video/writer/overlay-writer.js";
import { defineCommand, type Io, usage } from "./command.js";
import { loadModel } from "./load-model.js";
import { ProgressBar } from "./progress.js";
import { JsonLines, OverlayOutput } from "./track-output.js";
import { readTrackPlan, type TrackPlan } from "./track-plan.js";
import { TrackSummary } from "./track-summary.js";

/** `sam3 track`: every instance of concepts, or single objects that are shown, through a video. */
export const trackCommand = defineCommand({
  name: "track",
  summary: "Tracks through a video what is said in words, or single objects shown by clicks and boxes.",
  usage: [
    "sam3 track <video|folder> --text <words> [options]",
    "sam3 track <video|folder> --point frame,x,y [--point …] [options]",
  ],
  options: {
    text: { type: "string", multiple: true, value: "<words>", help: "what to track" },
    point: {
      type: "string",
      multiple: true,
      value: "frame,x,y[:negative][@object]",
      help: "pixel of a frame that belongs to an object, or that does not",
    },
    box: {
      type: "string",
      multiple: true,
      value: "frame,x1,y1,x2,y2[:negative][@object]",
      help: "box around an object (with @), or around an example of the concept",
    },
    direction: { type: "string", value: "<forward|backward|both>", help: "which way (default forward)" },
    start: {
      type: "string",
      value: "<frame>",
      help: "where to begin (default the first frame with a prompt)",
    },
    "max-frames": { type: "string", value: "<n>", help: "most frames in each direction" },
    model: {
      type: "string",
      value: "<bundle|mini>",
      help: "bundle folder, or the model that comes with the package",
    },
    device: { type: "string", value: "<device>", help: "auto, cpu, cuda or cuda:N (default auto)" },
    immediate: { type: "boolean", help: "decide each frame by itself, without 15 frames of hindsight" },
    "allow-untrained": { type: "boolean", help: "use a model whose tracker was not trained for video" },
    out: {
      type: "string",
      value: "<video|folder>",
      help: "write the video, or pictures, with the objects drawn on it",
    },
    json: { type: "string", value: "<file|->", help: "write JSON lines: the video, then each frame" },
  },
  notes: [
    "Clicks without @object show one object; @1, @2, … show several, and the same one on several frames. A box with\n" +
      "@object shows that object; one without is an example for every --text, on its frame.",
    "Video files need the package node-av or an ffmpeg (on the path, or named by SAM3_FFMPEG); folders need neither.",
  ],
  run: async (operands, options, io) => {
    const [file, ...more] = operands;
    if (file === undefined) throw usage("no video is named", NAME);
    if (more.length > 0) throw usage("one video at a time", NAME);
    const plan = await readTrackPlan(file, options);
    const bar = new ProgressBar(io.interactive ? io.err : undefined, process.stderr.columns);
    try {
      return await track({ file, plan, options, bar, io });
    } finally {
      bar.clear();
    }
  },
});

const NAME = { name: "track" };
/** What says that the video itself cannot be read any further: what was tracked until there is all that can be had. */
const BREAKS: readonly Sam3ErrorCode[] = [
  "VIDEO_TRUNCATED",
  "VIDEO_INVALID",
  "FRAME_SIZE",
  "IMAGE_INVALID",
  "IMAGE_NOT_FOUND",
  "IMAGE_TOO_LARGE",
];

interface Job {
  readonly file: string;
  readonly plan: TrackPlan;
  readonly options: {
    readonly model?: string;
    readonly device?: string;
    readonly immediate?: boolean;
    readonly "allow-untrained"?: boolean;
  };
  readonly bar: ProgressBar;
  readonly io: Io;
}

async function track(job: Job): Promise<number> {
  const { file, plan, options, bar, io } = job;
  const { signal } = io;
  // What is wrong with the video or the place shows before the model is loaded.
  const taken = takeVideo(file);
  if (taken.kind === "path") await lookAt(taken.path);
  const output = plan.out === undefined ? undefined : await openOverlay(job, plan.out);
  let broken: Sam3Error | undefined;
  try {
    await using sam = await loadModel(job);
    await using session = await sam.video.open(file, {
      signal,
      ...(options.immediate ? { temporalDisambiguation: false } : {}),
      ...(options["allow-untrained"] ? { allowUntrained: true } : {}),
    });
    const info = session.info as VideoInfo;
    await prompt(session, plan, signal);
    const summary = new TrackSummary();
    const found = { session, info, model: sam.model.name, output: output?.overlay, summary };
    broken = await propagate(job, found).then(
      () => undefined,
      (error: unknown) => {
        if (Sam3Error.is(error) && BREAKS.includes(error.code)) return error;
        throw error;
      },
    );
    await output?.overlay.close((done, total) => bar.update("drawing", done, total, String));
    bar.clear();
    if (plan.json !== "-") io.out(`${file}: ${summary.toText(info)}`);
    if (plan.out !== undefined) {
      (plan.json === "-" ? io.err : io.out)(`overlay written to ${plan.out}\n`);
    }
  } catch (error) {
    await output?.overlay.abort();
    throw error;
  } finally {
    await output?.video.dispose();
  }
  if (broken !== undefined) throw broken;
  return 0;
}

async function propagate(
  { file, plan, bar, io }: Job,
  {
    session,
    info,
    model,
    output,
    summary,
  }: {
    readonly session: VideoSession;
    readonly info: VideoInfo;
    readonly model: string;
    readonly output: OverlayOutput | undefined;
    readonly summary: TrackSummary;
  },
): Promise<void> {
  const { direction, startFrame, maxFrames, json } = plan;
  const lines = json === undefined ? undefined : new JsonLines(json, io);
  try {
    await lines?.write({ file, model, video: info, prompts: session.prompts });
    const frames = session.propagate({
      direction,
      startFrame,
      maxFrames,
      signal: io.signal,
      // Called when a frame was written and the next one is asked for.
      onProgress: ({ done, total }) =>
        bar.update(`tracking, ${summary.rate.toFixed(1)} frames/s`, done, total ?? undefined, String),
    });
    for await (const frame of frames) {
      await lines?.write(frame.toJSON());
      await output?.write(frame);
      summary.add(frame);
    }
  } finally {
    await lines?.close();
  }
}

/** Gives the session its prompts; objects that are shown on several frames keep their id. */
async function prompt(session: VideoSession, { prompts }: TrackPlan, signal: AbortSignal): Promise<void> {
  const ids = new Map<string, number>();
  for (const { prompt: one, object } of prompts) {
    const id = object === undefined ? undefined : ids.get(object);
    const answer = await session.addPrompt(id === undefined ? one : { ...one, object: id }, { signal });
    if (object !== undefined && answer.object !== null) ids.set(object, answer.object);
  }
}

/** Opens the video a second time, for drawing on it. */
async function openOverlay(
  { file, plan, io }: Job,
  out: string,
): Promise<{ readonly overlay: OverlayOutput; readonly video: VideoSource }> {
  const { env, signal } = io;
  const { videoDecoder, ffmpeg, maxPixels } = readSettings({}, env);
  const video = await openVideo(file, { rgb: true, decoder: videoDecoder, ffmpeg, maxPixels, signal });
  try {
    const choice = { decoder: videoDecoder, ffmpeg };
    const writer = await OverlayWriter.open({ video, out, choice, search: { ...HERE, env }, signal });
    return { overlay: new OverlayOutput(writer, plan.direction === "forward"), video };
  } catch (error) {
    await video.dispose();
    throw error;
  }
}
