import { linkSignals } from "../../abort.js";
import { Sam3Error } from "../../errors.js";
import type { VideoSource } from "../sources/video-source.js";
import { FrameFeed } from "./frame-feed.js";
import { disposeOnce } from "./handles.js";
import { type LeavingFrame, leavingFrame } from "./leaving-frame.js";
import type { SessionCore } from "./session-core.js";
import type { RunningPass } from "./session-line.js";
import { stepSession, todoOf } from "./session-step.js";
import { TrackerCalls } from "./tracker-calls.js";

export interface LiveOrder {
  readonly frames: VideoSource;
  readonly signal: AbortSignal | undefined;
  /** Most frames that are encoded ahead. */
  readonly ahead: number;
  /** Objects of concepts that were not seen for so many frames are forgotten; 0 = never. */
  readonly forgetAfter: number;
}

/** Tracks frames as they come. Nothing is held back or taken back; of frames only the newest one's results and features are kept, beside what objects remember. */
export async function* runLive(core: SessionCore, order: LiveOrder): AsyncGenerator<LeavingFrame> {
  const { frames, signal, ahead, forgetAfter } = order;
  const { width, height } = frames.info;
  if (core.newest === undefined) core.size = { width, height };
  else if (core.size.width !== width || core.size.height !== height) {
    throw new Sam3Error(
      "FRAME_SIZE",
      `These frames have ${width}×${height} pixels, the session's earlier ones ${core.size.width}×${core.size.height}. Open another session for them.`,
    );
  }
  const { controller: stop, unlink } = linkSignals(signal, core.line.stopped);
  const calls = new TrackerCalls(core.place.replica, stop.signal);
  const feed = new FrameFeed({
    frames: frames.frames({ signal: stop.signal }),
    encode: ({ pixels }) => calls.encode(pixels),
    wanted: () => true,
    ahead,
  });
  const pass: RunningPass = {
    get deviceBytes() {
      return feed.bytes;
    },
    async close() {
      stop.abort();
      unlink();
      await feed.close();
    },
  };
  core.line.running.add(pass);
  core.turn(false);
  try {
    const first = core.newest ? core.newest.index + 1 : 0;
    for (;;) {
      const frame = await feed.next();
      if (!frame?.features) return;
      const { time, features } = frame;
      const index = first + frame.index;
      let isKept = false;
      try {
        const done = await core.line.operate(signal, async (asked) => {
          // A reset in between forgets it; the frames go on.
          core.size = { width, height };
          const todo = todoOf(core, index, false);
          const mode = { reverse: false, streaming: true, prompted: false };
          const passes = [{ next: index + 1, reverse: false }];
          const entry = await stepSession(core, asked, { index, time, features }, todo, { ...mode, passes });
          core.newest = { index, time };
          // The newest frame can still be prompted.
          core.features.dispose();
          core.features.give(index, features);
          isKept = true;
          for (const id of core.forgetUnseen(index, entry.objects, forgetAfter)) entry.removed.add(id);
          return leavingFrame(core, entry);
        });
        yield done;
      } finally {
        if (!isKept) disposeOnce(features);
      }
    }
  } finally {
    core.line.running.delete(pass);
    await pass.close();
  }
}
