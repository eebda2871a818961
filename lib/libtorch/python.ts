import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { Sam3Error } from "../errors.js";

const run = promisify(execFile);

/** A Python that can make environments and download packages. */
export interface Python {
  readonly path: string;
  readonly version: string;
}

const PROBE = `
import importlib.util as u, json, sys
print(json.dumps({"path": sys.executable, "version": "%d.%d.%d" % sys.version_info[:3],
  "missing": [m for m in ("pip", "ensurepip") if u.find_spec(m) is None]}))`;

/** What an executable says of itself; undefined when it is not a Python. */
async function probe(command: string): Promise<(Python & { missing: string[] }) | undefined> {
  try {
    // `-I` keeps modules in the working folder and PYTHON* variables out of it.
    const { stdout } = await run(command, ["-I", "-c", PROBE], { timeout: 20_000 });
    return JSON.parse(stdout) as Python & { missing: string[] };
  } catch {
    return undefined;
  }
}

/**
 * Finds Python ≥ 3.10 with pip, and with venv where an environment is to be made: `SAM3_PYTHON`, then `python3` and
 * `python` on the path. Throws `PYTHON_NOT_FOUND` saying what was found and what to install.
 */
export async function findPython(
  env: NodeJS.ProcessEnv = process.env,
  needs: "pip" | "venv" = "pip",
): Promise<Python> {
  const seen: string[] = [];
  for (const command of env.SAM3_PYTHON ? [env.SAM3_PYTHON] : ["python3", "python"]) {
    const found = await probe(command);
    if (found === undefined) continue;
    const [major = 0, minor = 0] = found.version.split(".").map(Number);
    const missing = found.missing.filter((name) => needs === "venv" || name === "pip");
    if (major < 3 || (major === 3 && minor < 10)) {
      seen.push(`${found.path} is ${found.version}`);
    } else if (missing.length > 0) {
      seen.push(`${found.path} (${found.version}) lacks ${missing.join(" and ")}`);
    } else {
      return { path: found.path, version: found.version };
    }
  }
  const what = seen.length > 0 ? seen.join("; ") : `no ${env.SAM3_PYTHON ?? "python3"} was found`;
  const wanted = needs === "venv" ? "pip and venv" : "pip";
  throw new Sam3Error(
    "PYTHON_NOT_FOUND",
    `Python 3.10 or newer with ${wanted} is needed, and ${what}; install it (Debian, Ubuntu: apt install python3 python3-pip python3-venv) or name one in SAM3_PYTHON`,
  );
}
