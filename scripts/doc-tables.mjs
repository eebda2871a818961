// Writes the tables in the docs that come from the code: settings into docs/settings.md, error codes into README.md.
// With --check it writes nothing and fails when a table is out of date.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import ts from "typescript";

const root = fileURLToPath(new URL("..", import.meta.url));
const check = process.argv.includes("--check");

/** Imports one TypeScript file of lib/ that itself imports packages only. */
async function importLib(name) {
  const source = readFileSync(join(root, "lib", `${name}.ts`), "utf8");
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
  });
  // Below node_modules, so that packages are found from there.
  const folder = join(root, "node_modules", ".cache", "sam3-doc-tables");
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${name}-${process.pid}.mjs`);
  writeFileSync(file, outputText);
  try {
    return await import(pathToFileURL(file).href);
  } finally {
    rmSync(file);
  }
}

function table(head, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

const { SETTINGS } = await importLib("settings");
const { ERROR_CODES } = await importLib("errors");

const settings = table(
  ["option", "environment variable", "value", "default", "meaning"],
  Object.entries(SETTINGS).map(([name, { env, type, fallback, meaning }]) => [
    `\`${name}\``,
    `\`${env}\``,
    type,
    fallback,
    meaning,
  ]),
);
const errors = table(
  ["code", "meaning"],
  Object.entries(ERROR_CODES).map(([code, meaning]) => [`\`${code}\``, meaning]),
);

let failed = false;

function put(file, marker, text) {
  const path = join(root, file);
  let before;
  try {
    before = readFileSync(path, "utf8");
  } catch {
    console.error(`${file}: not there, so its table of ${marker} was not ${check ? "checked" : "written"}`);
    failed = true;
    return;
  }
  const start = `<!-- ${marker}:start -->`;
  const end = `<!-- ${marker}:end -->`;
  const from = before.indexOf(start);
  const to = before.indexOf(end);
  if (from === -1 || to < from) {
    console.error(`${file}: has no ${start} … ${end} to put the table between`);
    failed = true;
    return;
  }
  const after = `${before.slice(0, from + start.length)}\n${text}\n${before.slice(to)}`;
  if (after === before) {
    console.log(`${file}: table of ${marker} is up to date`);
  } else if (check) {
    console.error(`${file}: table of ${marker} is out of date; run "npm run docs:tables"`);
    failed = true;
  } else {
    writeFileSync(path, after);
    console.log(`${file}: table of ${marker} written`);
  }
}

put("docs/settings.md", "settings", settings);
put("README.md", "errors", errors);
process.exitCode = failed ? 1 : 0;
