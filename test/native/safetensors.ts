import { readFileSync } from "node:fs";

export interface Tensor {
  readonly shape: readonly number[];
  /** Floats as they are, integers as numbers, booleans as 0 and 1. */
  readonly data: Float32Array | Int32Array | Uint8Array;
}

/** The tensors of a safetensors file: a length, a JSON header of that length, then the numbers. */
export function readSafetensors(path: string): Record<string, Tensor> {
  const file = readFileSync(path);
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, 8 + length)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const tensors: Record<string, Tensor> = {};
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [from, to] = data_offsets.map((at) => at + 8 + length) as [number, number];
    // A copy, because the numbers need not lie at a multiple of their size.
    const { buffer } = Uint8Array.from(file.subarray(from, to));
    tensors[name] = { shape, data: view(dtype, buffer) };
  }
  return tensors;
}

function view(dtype: string, buffer: ArrayBuffer): Tensor["data"] {
  if (dtype === "F32") return new Float32Array(buffer);
  if (dtype === "I64") return Int32Array.from(new BigInt64Array(buffer), Number);
  if (dtype === "U8" || dtype === "BOOL") return new Uint8Array(buffer);
  throw new Error(`a tensor of ${dtype} is not read here`);
}
