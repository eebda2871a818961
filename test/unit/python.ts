import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { resolve } from "node:path";

/** The Python that the tests' set-up made (or `SAM3_TEST_PYTHON`), if it can import what is asked for; else why not. */
export function pythonWith(modules: readonly string[]): { python: string } | { reason: string } {
  const candidates = [
    process.env.SAM3_TEST_PYTHON,
    resolve(".venv/bin/python"),
    resolve(".venv/Scripts/python.exe"),
  ];
  const python = candidates.find((path) => path !== undefined && path !== "" && existsSync(path));
  if (python === undefined) return { reason: "no .venv with Python; npm run setup -- --test makes it" };
  try {
    execFileSync(python, ["-c", `import ${modules.join(", ")}`], { stdio: "pipe" });
    return { python };
  } catch (error) {
    const said = String((error as { stderr?: Buffer }).stderr)
      .trim()
      .split("\n")
      .at(-1);
    return { reason: `${python} cannot import what is needed: ${said}` };
  }
}
