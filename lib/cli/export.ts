import { spawn } from "node:child_process";
import { open, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { ERROR_CODES, Sam3Error, type Sam3ErrorCode } from "../errors.js";
import { readSettings } from "../options.js";
import { packageRoot } from "../package-root.js";
import { defineCommand, type Io, usage } from "./command.js";
import { ProgressBar } from "./progress.js";
import { pythonEnvironment } from "./python-environment.js";

const DTYPES = ["fp32", "bf16", "fp16"];

/** `sam3 export`: a checkpoint to a bundle, by Python in an environment of its own. */
export const exportCommand = defineCommand({
  name: "export",
  summary:
    "Makes a bundle from a SAM 3 checkpoint (needs Python; its packages are installed once, into a cache).",
  usage: ["sam3 export --checkpoint <sam3.pt | model.safetensors | folder> --out <folder> [options]"],
  options: {
    checkpoint: {
      type: "string",
      value: "<file>",
      help: "weights in Meta's or transformers' layout (SAM3_CHECKPOINT)",
    },
    out: { type: "string", value: "<folder>", help: "where the bundle goes" },
    dtype: { type: "string", value: "<fp32|bf16|fp16>", help: "number format of the weights (default fp32)" },
    resolution: {
      type: "string",
      value: "<pixels>",
      help: "side of the input square, if not the model's own",
    },
    bpe: {
      type: "string",
      value: "<file>",
      help: "bpe_simple_vocab_16e6.txt.gz, CLIP's vocabulary (SAM3_BPE_PATH)",
    },
    name: { type: "string", value: "<name>", help: "short name of the bundle (default the folder's)" },
    python: {
      type: "string",
      value: "<file>",
      help: "a Python that has the packages already; none are installed",
    },
  },
  run: async (operands, options, io) => {
    const command = { name: "export" };
    if (operands.length > 0)
      throw usage(`unexpected ${operands[0]}; the checkpoint goes after --checkpoint`, command);
    const settings = readSettings({ checkpoint: options.checkpoint, bpePath: options.bpe }, io.env);
    const { checkpoint, bpePath } = settings;
    const { out, dtype = "fp32", resolution, name, python } = options;
    if (checkpoint === undefined) throw usage("--checkpoint is missing", command);
    if (!out) throw usage("--out is missing", command);
    if (!DTYPES.includes(dtype)) throw usage(`--dtype ${dtype} is not one of ${DTYPES.join(", ")}`, command);
    if (resolution !== undefined && !/^[1-9]\d{0,4}$/.test(resolution)) {
      throw usage(`--resolution ${resolution} is not a number of pixels`, command);
    }
    if (name === "") throw usage("--name is empty", command);
    await checkCheckpoint(resolve(checkpoint));
    if (bpePath !== undefined && !(await isFile(resolve(bpePath)))) {
      throw new Sam3Error(
        "INVALID_ARGUMENT",
        `the vocabulary ${bpePath} does not exist; give bpe_simple_vocab_16e6.txt.gz`,
      );
    }
    const args = ["--checkpoint", resolve(checkpoint), "--out", resolve(out), "--dtype", dtype];
    if (resolution !== undefined) args.push("--resolution", resolution);
    if (bpePath !== undefined) args.push("--bpe", resolve(bpePath));
    if (name !== undefined) args.push("--name", name);
    return runExport(args, python, io);
  },
});

async function runExport(args: readonly string[], python: string | undefined, io: Io): Promise<number> {
  const scripts = join(packageRoot(), "scripts", "export");
  const bar = new ProgressBar(io.interactive ? io.err : undefined, process.stderr.columns);
  let clock: NodeJS.Timeout | undefined;
  let stage = "";
  const say = (what: string, done = 0, total = 0) => {
    const started = Date.now();
    clearInterval(clock);
    if (!io.interactive) {
      if (what !== stage) io.err(`${what}\n`);
      stage = what;
      return;
    }
    const parts = (value: number) => String(value);
    const seconds = (value: number) => `${value} s`;
    const draw = () =>
      total > 1
        ? bar.update(what, done, total, parts)
        : bar.update(what, Math.round((Date.now() - started) / 1000), undefined, seconds);
    draw();
    clock = setInterval(draw, 500);
  };
  try {
    const interpreter =
      python ??
      (await pythonEnvironment({
        requirements: join(scripts, "requirements.txt"),
        env: io.env,
        signal: io.signal,
        onStage: (what) => say(what),
      }));
    say("starting the export");
    const out = await runPython(interpreter, [scripts, ...args], io, say);
    bar.clear();
    io.out(`bundle written to ${out}\n`);
    return 0;
  } finally {
    clearInterval(clock);
    bar.clear();
  }
}

/** Runs the Python program and follows its JSON lines; resolves to the bundle's folder. */
async function runPython(
  python: string,
  args: readonly string[],
  io: Io,
  onStage: (stage: string, done: number, total: number) => void,
): Promise<string> {
  const child = spawn(python, args, {
    stdio: ["ignore", "pipe", "pipe"],
    // The export never downloads: everything it reads was named on the command line.
    env: { ...io.env, PYTHONUNBUFFERED: "1", HF_HUB_OFFLINE: "1", PYTHONDONTWRITEBYTECODE: "1" },
    signal: io.signal,
    // Python tidies up after an interrupt, and does not after a kill.
    killSignal: "SIGINT",
  });
  let bundle: string | undefined;
  let problem: Sam3Error | undefined;
  let text = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    text = (text + chunk).slice(-8000);
  });
  createInterface({ input: child.stdout }).on("line", (line) => {
    const said = readLine(line);
    if (said?.error) problem = errorFrom(said.error.code, said.error.message);
    else if (said?.stage === "done") bundle = said.bundle;
    else if (said?.stage !== undefined) onStage(`exporting: ${said.stage}`, said.done ?? 0, said.total ?? 0);
  });
  const [code, name] = await new Promise<[number | null, NodeJS.Signals | null]>((done, fail) => {
    child.once("error", (error: NodeJS.ErrnoException) => {
      if (error.name === "AbortError") return;
      fail(
        new Sam3Error(
          "PYTHON_NOT_FOUND",
          `${python} cannot be started (${error.code}); name another with --python`,
          {
            cause: error,
          },
        ),
      );
    });
    child.once("close", (status, signal) => done([status, signal]));
    // After an interrupt nobody waits for grandchildren that hold the pipes open.
    child.once("exit", (status, signal) => {
      if (!io.signal.aborted) return;
      child.stdout.destroy();
      child.stderr.destroy();
      done([status, signal]);
    });
  });
  io.signal.throwIfAborted();
  if (problem) throw problem;
  if (code === 0 && bundle !== undefined) return bundle;
  if (name === "SIGKILL") {
    throw new Sam3Error(
      "OUT_OF_MEMORY",
      "the export was killed, most likely for lack of memory; close other programs",
    );
  }
  const last =
    text
      .split("\n")
      .filter((line) => line.trim() !== "")
      .at(-1) ?? `Python ended with ${code ?? name}`;
  throw new Sam3Error("EXPORT_FAILED", `${last}; run it again with SAM3_DEBUG=1 for all of it`, {
    cause: new Error(text),
  });
}

interface ExportLine {
  stage?: string;
  done?: number;
  total?: number;
  bundle?: string;
  error?: { code: string; message: string };
}

function readLine(line: string): ExportLine | undefined {
  try {
    return JSON.parse(line) as ExportLine;
  } catch {
    // A library printed something of its own.
    return undefined;
  }
}

// The Python side has two codes of its own; both are about what was given to it.
function errorFrom(code: string, message: string): Sam3Error {
  if (code === "BAD_OPTION" || code === "TOKENIZER_NOT_FOUND")
    return new Sam3Error("INVALID_ARGUMENT", message);
  if (/No space left on device/.test(message)) return new Sam3Error("DISK_FULL", message);
  return new Sam3Error(code in ERROR_CODES ? (code as Sam3ErrorCode) : "EXPORT_FAILED", message);
}

/** Says at once what is no checkpoint, before Python and its packages are set up. */
async function checkCheckpoint(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) {
    throw new Sam3Error(
      "CHECKPOINT_NOT_FOUND",
      `${path} does not exist; give sam3.pt, model.safetensors or their folder`,
    );
  }
  if (found.isDirectory()) return;
  const file = await open(path).catch((error: NodeJS.ErrnoException) => {
    throw new Sam3Error("CHECKPOINT_INVALID", `${path} cannot be read (${error.code})`, { cause: error });
  });
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(16), 0, 16, 0);
    const zip = buffer.readUInt32LE(0) === 0x04034b50;
    const pickle = buffer[0] === 0x80;
    const safetensors = bytesRead > 8 && buffer.readBigUInt64LE(0) < 1n << 32n && buffer[8] === 0x7b;
    if (zip || pickle || safetensors) return;
  } finally {
    await file.close();
  }
  throw new Sam3Error(
    "CHECKPOINT_INVALID",
    `${path} is neither a PyTorch nor a safetensors file; give sam3.pt, model.safetensors or their folder`,
  );
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (it) => it.isFile(),
    () => false,
  );
}
