import { formatBytes } from "../libtorch/disk.js";
import { defineCommand, usage } from "./command.js";
import { type DoctorReport, inspectMachine } from "./doctor-report.js";
import { type Line, videoLines } from "./video-lines.js";

/** `sam3 doctor`: what is here, what is missing, and what to do about it. */
export const doctorCommand = defineCommand({
  name: "doctor",
  summary:
    "Says in one screen what was found: libtorch, addon, devices, model, decoders of pictures and videos.",
  usage: ["sam3 doctor [--json]"],
  options: {
    model: {
      type: "string",
      value: "<bundle|mini>",
      help: "bundle to look at (default SAM3_MODEL, else mini)",
    },
    json: { type: "boolean", help: "write the findings as JSON" },
  },
  notes: ["Exit code 0 when pictures can be segmented here, else 1. Paste its output into a bug report."],
  run: async (operands, { model, json }, io) => {
    if (operands.length > 0) throw usage(`unexpected ${operands[0]}`, { name: "doctor" });
    const report = await inspectMachine({ model, env: io.env, signal: io.signal });
    io.out(json ? `${JSON.stringify(report, null, 2)}\n` : screen(report));
    return report.usable ? 0 : 1;
  },
});

function screen(report: DoctorReport): string {
  const { addon, libtorch, bundle, decoders, video, python } = report;
  const lines: Line[] = [
    ["sam3-node", report.version],
    ["Node", `${report.node} on ${report.platform}${report.glibc ? `, glibc ${report.glibc}` : ""}`],
    [
      "processor",
      `${report.cpu.model}, ${report.cpu.cores} cores, ${formatBytes(report.cpu.memoryBytes)} memory`,
    ],
    [
      "libtorch",
      libtorch
        ? `${libtorch.version ?? "unknown version"} (${libtorch.variant}) in ${libtorch.path}, found by ${libtorch.source}`
        : "not found",
    ],
    [
      "addon",
      addon
        ? `${addon.path}, for libtorch ${addon.builtFor}${addon.loads ? "" : ", not loaded"}`
        : "not found",
    ],
    ...report.devices.map(
      ({ id, name, totalBytes, freeBytes }, i): Line => [
        i === 0 ? "devices" : "",
        `${id}: ${name}, ${formatBytes(totalBytes)}, ${formatBytes(freeBytes)} free`,
      ],
    ),
    [
      "model",
      bundle ? `${bundle.name} (${bundle.resolution} px, ${bundle.dtype}) in ${bundle.path}` : "not found",
    ],
    [
      "decoders",
      decoders ? `sharp ${decoders.version}: ${decoders.formats.join(", ")}` : "sharp does not load",
    ],
    ...(video ? videoLines(video) : [["video", "not known"] satisfies Line]),
    [
      "Python",
      python
        ? `${python.version}, ${python.path}; packages for sam3 export ${python.ready ? "installed" : "not installed yet"}`
        : "not found (only sam3 export needs it)",
    ],
  ];
  const width = Math.max(...lines.map(([label]) => label.length));
  const problems = report.problems.map(({ code, message }) => `  ${code}: ${message}\n`);
  return [
    ...lines.map(([label, text]) => `${label.padEnd(width)}  ${text}\n`),
    report.usable ? "\nready to segment pictures\n" : "\nnot usable yet:\n",
    ...problems,
  ].join("");
}
