import { inspect } from "node:util";
import { Sam3Error } from "../errors.js";
import { type Command, helpOf, type Io, parseCommandLine, usage } from "./command.js";
import { doctorCommand } from "./doctor.js";
import { PROBE } from "./doctor-report.js";
import { errorLine } from "./error-line.js";
import { exportCommand } from "./export.js";
import { libtorchCommand } from "./libtorch.js";
import { probeAddon } from "./probe-addon.js";
import { segmentCommand } from "./segment.js";
import { trackCommand } from "./track.js";
import { version } from "./version.js";

const COMMANDS = [
  segmentCommand,
  trackCommand,
  doctorCommand,
  exportCommand,
  libtorchCommand,
] as unknown as readonly Command[];

/** Runs one command line and returns the exit code: 0 done, 1 failed, 2 bad usage. Never throws. */
export async function runCli(args: readonly string[], io: Io): Promise<number> {
  try {
    const [name, ...rest] = args;
    if (name === undefined) {
      io.err(overview());
      return 2;
    }
    if (name === "--help" || name === "-h" || name === "help") {
      io.out(overview());
      return 0;
    }
    if (name === "--version" || name === "-v") {
      io.out(`${version()}\n`);
      return 0;
    }
    if (name === PROBE) return probeAddon(io);
    const command = COMMANDS.find((it) => it.name === name);
    if (command === undefined) throw usage(`there is no command ${name}`);
    const { operands, options, help } = parseCommandLine(command, rest);
    if (help) {
      io.out(helpOf(command));
      return 0;
    }
    return await command.run(operands, options, io);
  } catch (error) {
    if (io.signal.aborted) {
      io.err("interrupted\n");
      return 130;
    }
    io.err(`${errorLine(error)}\n`);
    if (io.env.SAM3_DEBUG) io.err(`${inspect(error)}\n`);
    return Sam3Error.is(error, "USAGE") ? 2 : 1;
  }
}

function overview(): string {
  const width = Math.max(...COMMANDS.map(({ name }) => name.length));
  return [
    "sam3: SAM 3 inside Node.js",
    "",
    "Usage: sam3 <command> [options]",
    "",
    ...COMMANDS.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`),
    "",
    "sam3 <command> --help tells more about one, sam3 --version the version.",
    "Exit codes: 0 done, 1 failed, 2 bad usage. SAM3_DEBUG=1 adds the stack of an error.",
    "",
  ].join("\n");
}
