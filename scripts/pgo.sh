#!/usr/bin/env bash
# Builds the program with what the compiler learns from a run of the benchmark (profile-guided optimisation), into
# target/pgo/dist/tidegate. Twice a `dist` build, and a minute of load between them.
#
#   scripts/pgo.sh
#
# Needs what `make bench` needs, and rustup's component llvm-tools, which it installs if it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$PWD/target/pgo
profiles=$target/profiles
profdata=$(rustc --print target-libdir)/../bin/llvm-profdata
[ -x "$profdata" ] || rustup component add llvm-tools

build() {
  # Not in .cargo/config.toml: flags from there would be lost beside these.
  CARGO_TARGET_DIR=$target RUSTFLAGS=$1 cargo build --locked --profile dist -p tidegate
}

rm -rf "$profiles"
mkdir -p "$profiles"
build "-Cprofile-generate=$profiles"
# Those of build scripts, which were built with the same flags.
rm -f "$profiles"/*.profraw
cp "$target/dist/tidegate" "$target/tidegate-learning"

# Every way through the gateway that is measured, a profile per process. Figures of this run mean nothing, and answers
# of an overloaded machine teach as well.
scenarios=(unary create list stream proxy proxy-policies unary-policies)
LLVM_PROFILE_FILE="$profiles/%p.profraw" python3 bench/run.py --tidegate "$target/tidegate-learning" --peer tidegate \
  "${scenarios[@]/#/--scenario=}" --seconds 3 --rounds 1 --no-startup --out "$target/learning" || true
learned=("$profiles"/*.profraw)
[ "${#learned[@]}" -ge "${#scenarios[@]}" ] || { echo "scripts/pgo.sh: the benchmark has not run" >&2; exit 1; }
"$profdata" merge -o "$profiles/merged.profdata" "${learned[@]}"

build "-Cprofile-use=$profiles/merged.profdata"
echo "$target/dist/tidegate"
