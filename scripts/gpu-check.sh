#!/usr/bin/env bash
# Is this package right and fast on the GPU of this machine? Needs no network.
#
#   scripts/gpu-check.sh [--device cuda|cuda:N|cpu] [--size full|small] [--python python3] [--node node]
#                        [--rounds 20] [--work .cache/gpu-check] [--report <file>] [--tests <part of a name>]
#                        [--built <folder>] [--fixtures <folder>]
#
# It builds the addon against the torch of a Python, runs the native tests and the parity tests on the device, and prints
# a table: milliseconds per stage for mini and for a full-size model of random weights in fp32 and bf16, the most memory
# in use, how many objects equal the CPU's, the frames a second that 1, 5, 20 and 64 objects are followed at. Exit code 0
# only when nothing failed.
#
# The machine must have: Linux with glibc on x64 or arm64; an NVIDIA GPU with its driver; a Python (3.10 or newer) with
# torch 2.11 or newer built for CUDA, transformers 5.17 or newer, safetensors, tokenizers, numpy and pillow; a C++20
# compiler and CMake 3.20 or newer; about 10 GB of disk and 12 GB of memory for --size full.
#
# What it need not have, because files will do, is Node and the npm packages. On a machine with the network, of the same
# system and processor, in a checkout that `npm run setup` was run in:
#
#   scripts/gpu/bring.sh                     writes .cache/gpu-check.tar.xz: node, node_modules, dist
#
# and copy that file to the same place in the checkout on the GPU machine. Where it lies it is used, unless --node names
# another Node; node_modules and dist are unpacked from it only where the checkout has none of its own.
#
# --device cpu    everything but CUDA itself, for a machine without a GPU; with --size small it takes a few minutes, and
#                 else follows 1 and 2 objects only
# --size small    a tiny random model in place of the full-size one
# --tests         only the native tests whose name holds this
# --built         a folder whose build/Release holds the addon and build/tests the native tests, built already with the
#                 torch of that Python; nothing is built then
# --fixtures      tiny models that scripts/export/tiny.py has made already
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
device=cuda size=full python=python3 node='' rounds=20 work="$root/.cache/gpu-check" report='' tests='' built='' fixtures=''
while (($# > 0)); do
  [[ $1 == -h || $1 == --help || $# -ge 2 || $1 != --* ]] || { echo "gpu-check: $1 lacks its value; see --help" >&2; exit 2; }
  case $1 in
    --device) device=$2 ;;
    --size) size=$2 ;;
    --python) python=$2 ;;
    --node) node=$2 ;;
    --rounds) rounds=$2 ;;
    --work) work=$2 ;;
    --report) report=$2 ;;
    --tests) tests=$2 ;;
    --built) built=$2 ;;
    --fixtures) fixtures=$2 ;;
    -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "gpu-check: unknown option $1; see --help" >&2; exit 2 ;;
  esac
  shift 2
done
fail() { echo "gpu-check: $*" >&2; exit 1; }
step() { echo; echo "=== $*"; }
[[ $device =~ ^(cpu|cuda(:[0-9]+)?)$ ]] || fail "--device $device: it must be cuda, cuda:N or cpu"
[[ $size =~ ^(full|small)$ ]] || fail "--size $size: it must be full or small"
[[ $rounds =~ ^[1-9][0-9]*$ ]] || fail "--rounds $rounds: it must be a number of one or more"
[[ $device != cuda ]] || device=cuda:0
# What was given is relative to where the caller is; links stay, a virtual environment's Python is one.
[[ $python != */* ]] || python=$(realpath -ms "$python")
[[ $node != */* ]] || node=$(realpath -ms "$node")
work=$(realpath -m "$work")
report=$(realpath -m "${report:-$work/report.md}")
[[ -z $built ]] || built=$(realpath -m "$built")
fixtures=$(realpath -m "${fixtures:-$work/fixtures}")
mkdir -p "$work"
cd "$root"

step 'what is here'
torch_facts=$("$python" -I - "$device" <<'PYTHON'
import importlib.util, sys

device = sys.argv[1]
missing = [name for name in ("torch", "transformers", "safetensors", "tokenizers", "numpy", "PIL") if not importlib.util.find_spec(name)]
if missing:
    sys.exit(f"gpu-check: the Python at {sys.executable} lacks {', '.join(missing)}")
import torch, transformers

number = lambda text: tuple(int(part) for part in text.split("+")[0].split(".")[:2])
if number(torch.__version__) < (2, 11):
    sys.exit(f"gpu-check: torch {torch.__version__} is older than 2.11")
if number(transformers.__version__) < (5, 17):
    sys.exit(f"gpu-check: transformers {transformers.__version__} is older than 5.17")
if device != "cpu" and not torch.cuda.is_available():
    sys.exit(f"gpu-check: torch {torch.__version__} sees no CUDA device; --device cpu checks the rest")
print(torch.__path__[0])
about = "the CPU" if device == "cpu" else torch.cuda.get_device_name(device)
print(f"torch {torch.__version__}, transformers {transformers.__version__}, {about}")
PYTHON
) || exit 1
SAM3_LIBTORCH=$(head -n 1 <<<"$torch_facts")
export SAM3_LIBTORCH
tail -n 1 <<<"$torch_facts"

# Node: the one named, else the one brought along, else the installed one.
brought="$root/.cache/gpu-check.tar.xz"
if [[ -z $node && -f $brought ]]; then
  if [[ ! -f $work/brought/done || $brought -nt $work/brought/done ]]; then
    rm -rf "$work/brought"
    mkdir -p "$work/brought"
    tar -C "$work/brought" -xf "$brought"
    touch "$work/brought/done"
    for name in node_modules dist; do
      if [[ ! -e $name || -e $name/.brought ]]; then
        rm -rf "${root:?}/$name"
        cp -r "$work/brought/$name" "$root/$name"
        touch "$root/$name/.brought"
      fi
    done
  fi
  node="$work/brought/bin/node"
fi
node=${node:-node}
"$node" -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
  fail "no Node 20.19 or newer (--node, $brought, or on the PATH); see --help"
for path in node_modules/node-addon-api node_modules/node-api-headers node_modules/sharp dist/index.js; do
  [[ -e $path ]] || fail "$path is missing; bring it along as --help says, or run npm run setup"
done
echo "node $("$node" --version)"

if [[ -z $built ]]; then
  step 'building the addon'
  built="$work/built"
  cmake -S "$root" -B "$built/build" -DSAM3_LIBTORCH="$SAM3_LIBTORCH" -DSAM3_CORE_TESTS=ON \
    "-DCMAKE_JS_INC=$root/node_modules/node-api-headers/include;$root/node_modules/node-addon-api" >"$work/cmake.log" ||
    { cat "$work/cmake.log"; fail 'CMake could not configure'; }
  # One compiler of torch's headers takes up to about 1 GB.
  memory=$(awk '/MemAvailable/ { print int($2 / 1048576) }' /proc/meminfo)
  jobs=$(nproc)
  ((jobs <= memory)) || jobs=$((memory > 0 ? memory : 1))
  cmake --build "$built/build" --parallel "${SAM3_BUILD_JOBS:-$jobs}"
fi
for path in build/Release/sam3-node.node build/Release/loader/loader.node build/tests/core_tests; do
  [[ -f $built/$path ]] || fail "$built has no $path"
done
export SAM3_NODE_PREBUILD=$built

step 'models of random weights'
# Those of an earlier version may lack what is tested now.
if [[ ! -f $fixtures/0/videos/tracking.pt ]]; then "$python" scripts/export/tiny.py --out "$fixtures"; fi
bundles=("$root/models/mini")
for dtype in fp32 bf16; do
  bundle="$work/$size-$dtype"
  if [[ ! -f $bundle/manifest.json ]]; then
    "$python" scripts/gpu/random_bundle.py --out "$bundle" --size "$size" --dtype "$dtype"
    echo "$bundle"
  fi
  bundles+=("$bundle")
done

failures=0
step "native tests on $device"
preload=''
# The tests link to the CPU's libraries alone: CUDA registers itself when its own are loaded.
[[ $device == cpu ]] || preload="$SAM3_LIBTORCH/lib/libc10_cuda.so:$SAM3_LIBTORCH/lib/libtorch_cuda.so"
LD_LIBRARY_PATH="$SAM3_LIBTORCH/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" LD_PRELOAD="$preload" SAM3_TEST_DEVICE="$device" \
  "$built/build/tests/core_tests" "$fixtures" "$tests" || failures=$((failures + 1))

# On a processor following only tries the programs out.
objects=1,5,20,64 tracking_rounds=$rounds
if [[ $device == cpu ]]; then
  tracking_rounds=1
  [[ $size == small ]] || objects=1,2
fi
step "parity, times, memory, objects and frames a second on $device"
mkdir -p "$work/reference/concepts" "$work/reference/objects"
"$python" test/unit/parity_reference.py "$fixtures" "$work/reference/concepts"
"$python" test/unit/object_parity_reference.py "$work/reference/objects"
"$node" scripts/gpu/check.mjs --device "$device" --rounds "$rounds" --objects "$objects" \
  --tracking-rounds "$tracking_rounds" --fixtures "$fixtures" --reference "$work/reference" --report "$report" \
  "${bundles[@]}" || failures=$((failures + 1))

((failures == 0)) || fail 'something failed, see above'
echo 'gpu-check: all good'
