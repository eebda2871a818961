import { crc32 } from "node:zlib";

/** A zip archive with stored entries; names are written as given, also dangerous ones. */
export function zipOf(
  files: Readonly<Record<string, string | Buffer>>,
  modes: Record<string, number> = {},
): Buffer {
  const locals: Buffer[] = [];
  const centrals: Buffer[] = [];
  let offset = 0;
  for (const [name, content] of Object.entries(files)) {
    const data = Buffer.from(content);
    const file = Buffer.from(name);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt32LE(crc32(data), 10);
    common.writeUInt32LE(data.length, 14);
    common.writeUInt32LE(data.length, 18);
    common.writeUInt16LE(file.length, 22);
    const local = Buffer.concat([Buffer.from("PK\x03\x04"), common, file, data]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(((modes[name] ?? 0o100644) << 16) >>> 0, 6);
    tail.writeUInt32LE(offset, 10);
    centrals.push(Buffer.concat([Buffer.from("PK\x01\x02"), Buffer.from([20, 3]), common, tail, file]));
    locals.push(local);
    offset += local.length;
  }
  const directory = Buffer.concat(centrals);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", "latin1");
  end.writeUInt16LE(centrals.length, 8);
  end.writeUInt16LE(centrals.length, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...locals, directory, end]);
}

/** A zip archive that looks like the official libtorch one, of a few hundred kilobytes. */
export function fakeLibtorch({ version = "2.13.0", cuda = false } = {}): Buffer {
  const [major, minor, patch] = version.split(".");
  return zipOf({
    "libtorch/lib/libtorch_cpu.so": Buffer.alloc(300_000, "torch"),
    "libtorch/lib/libc10.so": "c10",
    "libtorch/lib/libtorch_python.so": "only for Python",
    ...(cuda ? { "libtorch/lib/libtorch_cuda.so": "cuda" } : {}),
    "libtorch/include/torch/headeronly/version.h": `#define TORCH_VERSION_MAJOR ${major}\n#define TORCH_VERSION_MINOR ${minor}\n#define TORCH_VERSION_PATCH ${patch}\n`,
    "libtorch/share/cmake/Torch/TorchConfig.cmake": "# cmake",
    "libtorch/build-version": `${version}+cpu`,
  });
}
