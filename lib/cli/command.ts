import { parseArgs } from "node:util";
import { Sam3Error } from "../errors.js";

/** One option of a command. Values reach the command as the strings typed; nothing is guessed to be a number. */
export interface OptionSpec {
  readonly type: "string" | "boolean";
  readonly multiple?: boolean;
  /** How the value is called in the help, for example `<words>`. */
  readonly value?: string;
  readonly help: string;
}

type OptionValue<O extends OptionSpec> = O["type"] extends "boolean"
  ? boolean
  : O extends { multiple: true }
    ? string[]
    : string;

export type OptionValues<S extends Record<string, OptionSpec>> = {
  readonly [K in keyof S]?: OptionValue<S[K]>;
};

/** Where a command writes and what stops it. */
export interface Io {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** True when a progress bar can be drawn on stderr. */
  readonly interactive: boolean;
  readonly signal: AbortSignal;
  readonly env: NodeJS.ProcessEnv;
}

/** A command of the CLI; `run` resolves to the exit code. */
export interface Command<S extends Record<string, OptionSpec> = Record<string, OptionSpec>> {
  readonly name: string;
  readonly summary: string;
  /** Lines shown after `Usage:`. */
  readonly usage: readonly string[];
  readonly options: S;
  /** Paragraphs shown at the end of the help. */
  readonly notes?: readonly string[];
  readonly run: (operands: readonly string[], options: OptionValues<S>, io: Io) => Promise<number>;
}

/** Keeps the option types of a command definition. */
export function defineCommand<const S extends Record<string, OptionSpec>>(command: Command<S>): Command<S> {
  return command;
}

const HELP = { type: "boolean", help: "show this help" } as const;

/** Splits an argument list into operands and options. Throws `USAGE`. */
export function parseCommandLine<S extends Record<string, OptionSpec>>(
  command: Command<S>,
  args: readonly string[],
): { operands: string[]; options: OptionValues<S>; help: boolean } {
  const specs: Record<string, OptionSpec> = { ...command.options, help: HELP };
  try {
    const { values, positionals } = parseArgs({
      args: joinValues(args, specs),
      options: Object.fromEntries(
        Object.entries(specs).map(([name, { type, multiple = false }]) => [
          name,
          name === "help" ? { type, multiple, short: "h" } : { type, multiple },
        ]),
      ),
      allowPositionals: true,
      strict: true,
    });
    return { operands: positionals, options: values as OptionValues<S>, help: values.help === true };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (!code?.startsWith("ERR_PARSE_ARGS")) throw error;
    throw usage(`${message.split(/\.\s|\n/, 1)[0]?.replace(/\.$/, "")}`, command);
  }
}

// `--box -3,0,9,9` and `--text -5` are values, not options; parseArgs wants them joined by `=`.
function joinValues(args: readonly string[], specs: Record<string, OptionSpec>): string[] {
  const joined: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] as string;
    if (arg === "--") return [...joined, ...args.slice(i)];
    const next = args[i + 1];
    const takesValue = arg.startsWith("--") && specs[arg.slice(2)]?.type === "string";
    if (takesValue && next !== undefined && (next === "-" || !/^-\D/.test(next))) {
      joined.push(`${arg}=${next}`);
      i++;
    } else {
      joined.push(arg);
    }
  }
  return joined;
}

/** A `USAGE` error that points to the help of a command. */
export function usage(what: string, command?: { readonly name: string }): Sam3Error {
  return new Sam3Error("USAGE", `${what}; see sam3 ${command ? `${command.name} ` : ""}--help`);
}

/** The help of one command. */
export function helpOf(command: Command): string {
  const rows = Object.entries({ ...command.options, help: HELP as OptionSpec }).map(
    ([name, { value, help, multiple }]) => [
      `--${name}${value ? ` ${value}` : ""}`,
      multiple ? `${help} (repeatable)` : help,
    ],
  );
  const width = Math.max(...rows.map(([left = ""]) => left.length));
  return [
    `${command.summary}`,
    "",
    "Usage:",
    ...command.usage.map((line) => `  ${line}`),
    "",
    "Options:",
    ...rows.map(([left = "", right = ""]) => `  ${left.padEnd(width)}  ${right}`),
    ...(command.notes ?? []).flatMap((note) => ["", note]),
    "",
  ].join("\n");
}
