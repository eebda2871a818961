import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { ROOT, SHAPES, sam3, sam3Here } from "./support/cli.js";

test("without a command it shows what there is, as an error", async () => {
  const { code, stdout, stderr } = await sam3([]);
  expect(code).toBe(2);
  expect(stdout).toBe("");
  for (const command of ["segment", "doctor", "export", "libtorch"]) expect(stderr).toContain(`  ${command}`);
});

test("--version is the package's", async () => {
  const { version } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8"));
  expect(await sam3(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
});

test.each([[], ["segment"], ["doctor"], ["export"], ["libtorch"]])("help: %s --help", async (...command) => {
  const { code, stdout, stderr } = await sam3Here([...command, "--help"]);
  expect(code).toBe(0);
  expect(stdout).toMatch(/Usage:.*sam3/s);
  expect(stderr).toBe("");
  for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(130);
});

describe("what cannot be understood ends with 2 and one line", () => {
  test.each([
    [["segmnt"], "there is no command segmnt"],
    [["segment"], "no picture"],
    [["segment", SHAPES], "--text or --box"],
    [["segment", SHAPES, "--txt", "a"], "--txt"],
    [["segment", SHAPES, "--text"], "--text"],
    [["segment", SHAPES, "--box", "1,2,3"], "1,2,3"],
    [["segment", SHAPES, "--box", "1,2,3,4,5"], "x1,y1,x2,y2"],
    [["segment", SHAPES, "--box", "NaN,2,3,4"], "NaN,2,3,4"],
    [["segment", SHAPES, "--box", "1,2,Infinity,4"], "Infinity"],
    [["segment", SHAPES, "--box", "1,2,,4"], "1,2,,4"],
    [["segment", SHAPES, "--box", "0x1,2,3,4"], "0x1"],
    [["segment", SHAPES, "--box", "1,2,3,4:maybe"], "maybe"],
    [["segment", SHAPES, "--text", "a", "--threshold", "7"], "--threshold 7"],
    [["segment", SHAPES, "--text", "a", "--threshold", "-1"], "--threshold -1"],
    [["segment", SHAPES, "--text", "a", "--threshold", ""], "--threshold"],
    [["segment", SHAPES, "--text", "a", "--threshold", "high"], "high"],
    [["segment", SHAPES, "--text", "a", "--json", ""], "--json"],
    [["segment", SHAPES, "--text", "a", "--out", ""], "--out"],
    [["segment", SHAPES, "--text", "a", "--out", "found.bmp"], "found.bmp"],
    [["segment", SHAPES, "--text", "a", "--out", SHAPES], "overwrite"],
    [["segment", SHAPES, "other.png", "--text", "a", "--out", "one.png"], "folder"],
    [["segment", SHAPES, "--point", "1"], "x,y"],
    [["segment", SHAPES, "--point", "1,2,3"], "1,2,3"],
    [["segment", SHAPES, "--point", "1,2:maybe"], "maybe"],
    [["segment", SHAPES, "--point", "1,2", "--text", "a"], "--text"],
    [["segment", SHAPES, "--point", "1,2", "--threshold", "0.5"], "--threshold"],
    [["segment", SHAPES, "--object"], "--point or --box"],
    [["segment", SHAPES, "--object", "--box", "1,2,3,4", "--box", "5,6,7,8"], "one --box"],
    [["segment", SHAPES, "--object", "--box", "1,2,3,4:negative"], "negative"],
    [["segment", SHAPES, "--text", "a", "--multimask"], "--multimask"],
    [["segment", SHAPES, "--text", "a", "--tiles", "big"], "--tiles big"],
    [["segment", SHAPES, "--text", "a", "--suppress-duplicates", "2"], "--suppress-duplicates 2"],
    [["segment", SHAPES, "--text", "a", "--format", "xml"], "json, coco, geojson, yolo, masks"],
    [["segment", SHAPES, "--text", "a", "--format", "masks"], "--to"],
    [["segment", SHAPES, "other.png", "--text", "a", "--format", "yolo"], "--to"],
    [["segment", SHAPES, "--text", "a", "--to", "x.json"], "--format"],
    [["segment", SHAPES, "--text", "a", "--format", "json", "--to", ""], "--to"],
    [["segment", SHAPES, "--text", "a", "--format", "json", "--to", SHAPES], "overwrite"],
    [["segment", SHAPES, "--text", "a", "--format", "json", "--json", "-"], "one of them"],
    [["doctor", "now"], "now"],
    [["libtorch"], "install or where"],
    [["libtorch", "remove"], "remove"],
    [["libtorch", "install", "twice"], "twice"],
    [["libtorch", "install", "--variant", "cu999"], "cu999"],
    [["libtorch", "install", "--sha256", "abc", "--from", "x.zip"], "64 hex digits"],
    [["libtorch", "install", "--sha256", "0".repeat(64)], "--from"],
    [["export"], "--checkpoint"],
    [["export", "--checkpoint", SHAPES], "--out"],
    [["export", "--checkpoint", SHAPES, "--out", "x", "--dtype", "int8"], "int8"],
    [["export", "--checkpoint", SHAPES, "--out", "x", "--resolution", "big"], "big"],
    [["export", SHAPES], "--checkpoint"],
  ])("sam3 %j", async (args, message) => {
    const { code, stdout, stderr } = await sam3Here(args, { SAM3_CHECKPOINT: undefined });
    expect(stderr).toMatch(/^USAGE: [^\n]+; see sam3 .*--help\n$/);
    expect(stderr).toContain(message);
    expect(stdout).toBe("");
    expect(code).toBe(2);
  });
});
