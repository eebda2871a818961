import { loadAddon } from "../native/load.js";
import type { Io } from "./command.js";
import type { Probe, Problem } from "./doctor-report.js";
import { toSam3Error } from "./error-line.js";

/** The child process of `sam3 doctor`: loads the addon and says what it finds, as one line of JSON. */
export function probeAddon(io: Io): number {
  try {
    const addon = loadAddon({ env: io.env });
    io.out(
      `${JSON.stringify({ torchVersion: addon.torchVersion, devices: addon.devices() } satisfies Probe)}\n`,
    );
    return 0;
  } catch (error) {
    const { code, message } = toSam3Error(error);
    io.out(`${JSON.stringify({ code, message } satisfies Problem)}\n`);
    return 1;
  }
}
