import type { DeviceChoice } from "../options.js";
import { Sam3 } from "../sam3.js";
import type { Io } from "./command.js";
import type { ProgressBar } from "./progress.js";

/** What a command that uses a model has: its options, and where its progress goes. */
export interface LoadJob {
  readonly options: { readonly model?: string; readonly device?: string };
  readonly bar: ProgressBar;
  readonly io: Pick<Io, "signal">;
}

/** Loads the model a command was told to use, and shows how far it has come. */
export function loadModel({ options, bar, io }: LoadJob): Promise<Sam3> {
  bar.update("loading the model", 0);
  return Sam3.load({
    model: options.model,
    devices: options.device as DeviceChoice | undefined,
    signal: io.signal,
    onProgress: ({ stage, part, done, total }) =>
      bar.update(`${stage === "verify" ? "checking" : "loading"} ${part}`, done, total, String),
  });
}
