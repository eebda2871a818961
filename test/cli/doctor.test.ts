import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { videoLines } from "../../lib/cli/video-lines.js";
import { FFMPEG } from "../unit/video-clips.js";
import { sam3, TINY } from "./support/cli.js";

let home: string;

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "sam3-doctor-"));
});

afterEach(() => rm(home, { recursive: true, force: true }));

test("says that all is well", async () => {
  const { code, stdout, stderr } = await sam3(["doctor", "--model", TINY]);
  expect(stderr).toBe("");
  expect(stdout).toContain("ready to segment pictures");
  expect(code).toBe(0);
  expect(stdout.trim().split("\n").length).toBeLessThan(25);
});

test("--json says the same to programs", async () => {
  const { code, stdout } = await sam3(["doctor", "--json", "--model", TINY]);
  expect(code).toBe(0);
  const report = JSON.parse(stdout);
  expect(report).toMatchObject({
    usable: true,
    problems: [],
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    addon: { loads: true },
    bundle: { path: TINY },
  });
  expect(report.libtorch.version).toMatch(/^2\.13\./);
  expect(report.devices[0]).toMatchObject({ id: "cpu" });
  expect(report.decoders.formats).toContain("jpeg");
  expect(report.video.order).toContain("node-av");
});

test("works without libtorch, bundle and Python, and names the remedies", async () => {
  const env = { SAM3_LIBTORCH: undefined, SAM3_HOME: home, SAM3_PYTHON: join(home, "no-python") };
  const { code, stdout } = await sam3(["doctor", "--json", "--model", join(home, "none")], { env });
  expect(code).toBe(1);
  const report = JSON.parse(stdout);
  expect(report).toMatchObject({ usable: false, libtorch: null, bundle: null, python: null, devices: [] });
  const codes = report.problems.map(({ code }: { code: string }) => code);
  expect(codes).toEqual(["LIBTORCH_NOT_FOUND", "BUNDLE_NOT_FOUND"]);
  expect(report.problems[0].message).toContain("sam3 libtorch install");
});

test("survives a libtorch that is none", async () => {
  const fake = join(home, "libtorch");
  await mkdir(join(fake, "lib"), { recursive: true });
  for (const name of ["libc10.so", "libtorch_cpu.so"]) await writeFile(join(fake, "lib", name), "no library");
  await writeFile(join(fake, "build-version"), "2.13.0+cpu\n");
  const { code, stdout } = await sam3(["doctor", "--model", TINY], { env: { SAM3_LIBTORCH: fake } });
  expect(code).toBe(1);
  expect(stdout).toMatch(/ADDON_LOAD_FAILED: .*sam3 libtorch install --force/);
});

test("says which version is wrong", async () => {
  const old = join(home, "libtorch");
  await mkdir(join(old, "lib"), { recursive: true });
  for (const name of ["libc10.so", "libtorch_cpu.so"]) await writeFile(join(old, "lib", name), "");
  await writeFile(join(old, "build-version"), "2.4.1+cpu\n");
  const { code, stdout } = await sam3(["doctor", "--model", TINY], { env: { SAM3_LIBTORCH: old } });
  expect(code).toBe(1);
  expect(stdout).toMatch(/LIBTORCH_VERSION: .*2\.4\.1.*2\.13/);
});

test("says what decodes videos, and what is to be done where nothing does", async () => {
  const path = { PATH: home, Path: home };
  const all = JSON.parse((await sam3(["doctor", "--json", "--model", TINY], { env: path })).stdout);
  expect(all.video).toMatchObject({
    nodeAv: { version: expect.stringMatching(/^6\.\d+\.\d+/), ffmpeg: expect.stringMatching(/\d/) },
    ffmpeg: null,
    order: ["node-av"],
  });
  await writeFile(join(home, "ffmpeg"), `#!/bin/sh\nexec ${FFMPEG} "$@"\n`, { mode: 0o755 });
  const both = await sam3(["doctor", "--model", TINY], { env: path });
  expect(both.stdout).toMatch(
    /video +node-av 6\S* with FFmpeg \S+, is used\n +ffmpeg \S+ in \S+, is used for what/,
  );
  // Named, it comes first; videos that cannot be decoded leave pictures as they are.
  const named = { ...path, SAM3_FFMPEG: process.execPath, SAM3_VIDEO_DECODER: "ffmpeg" };
  const { code, stdout } = await sam3(["doctor", "--model", TINY], { env: named });
  expect(stdout).toMatch(/video +node-av .*, is not used, as set\n +\S+ is no ffmpeg that runs/);
  expect(code).toBe(0);
});

test("says what to install for videos", () => {
  const none = videoLines({ nodeAv: null, ffmpeg: null, order: [] });
  expect(none.map(([, text]) => text)).toEqual([
    "node-av not installed: npm install node-av",
    "no ffmpeg on the path",
    "so video files cannot be decoded; folders of pictures can",
  ]);
  const program = { path: "/bin/ffmpeg", version: "7.1" };
  expect(videoLines({ nodeAv: null, ffmpeg: program, order: ["ffmpeg"] })[1]?.[1]).toBe(
    "ffmpeg 7.1 in /bin/ffmpeg, is used",
  );
});

test("a setting that cannot be read is a problem, not a crash", async () => {
  const { code, stdout } = await sam3(["doctor", "--json", "--model", TINY], { env: { LOG_LEVEL: "loud" } });
  expect(code).toBe(1);
  expect(JSON.parse(stdout).problems[0].code).toBe("INVALID_SETTING");
});
