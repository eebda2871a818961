#!/usr/bin/env bash
# What a machine without Node and network needs for scripts/gpu-check.sh, in one archive:
#
#   scripts/gpu/bring.sh [<archive>]         default .cache/gpu-check.tar.xz in this checkout
#
# Holds this machine's node, the npm packages that running and building the addon need, and dist/. For a machine of the
# same system and processor. Run `npm run setup` first.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
archive=$(realpath -m "${1:-$root/.cache/gpu-check.tar.xz}")
cd "$root"
[[ -f dist/index.js && -d node_modules/sharp ]] || { echo 'bring: run npm run setup first' >&2; exit 1; }
mkdir -p "$(dirname "$archive")"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

mkdir -p "$stage/bin" "$stage/node_modules"
cp "$(node -p process.execPath)" "$stage/bin/node"
cp -r dist "$stage/dist"
rm -f "$stage"/dist/*.map "$stage"/dist/*.cjs
# Everything that the package depends on at run time, and the two packages of headers the addon is compiled with.
node scripts/gpu/packages.mjs | while read -r folder; do
  mkdir -p "$stage/$(dirname "$folder")"
  cp -r "$folder" "$stage/$folder"
done
tar -C "$stage" --sort=name --owner=0 --group=0 --mtime=@0 -cf - bin dist node_modules | xz -T0 -"${SAM3_XZ_LEVEL:-6}" >"$archive"
echo "$archive: $(du -h "$archive" | cut -f1)"
