#!/usr/bin/env bash
# Runs every fuzz target for SECONDS, one after the other, and stops at the first finding.
#
#   fuzz/run.sh SECONDS [TARGET…]
#
# Needs a nightly toolchain (`rustup toolchain install nightly`). cargo-fuzz is installed into target/tools if it is
# missing. The committed corpora are read and never written: libFuzzer writes to its first directory only, which is
# fuzz/found/<target>.
set -euo pipefail

seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET…]}
shift
case $seconds in
  '' | *[!0-9]*) echo "fuzz/run.sh: SECONDS must be a whole number, not '$seconds'" >&2; exit 2 ;;
esac
cd "$(dirname "$0")/.."

if ! cargo +nightly --version >/dev/null 2>&1; then
  echo "fuzz/run.sh: no nightly toolchain: rustup toolchain install nightly" >&2
  exit 1
fi
tools=$PWD/target/tools
export PATH=$tools/bin:$PATH
if ! command -v cargo-fuzz >/dev/null; then
  echo "fuzz/run.sh: installing cargo-fuzz into target/tools" >&2
  cargo install cargo-fuzz --locked --root "$tools"
fi

if [ $# -gt 0 ]; then
  targets=("$@")
else
  mapfile -t targets < <(cargo +nightly fuzz list)
fi
for target in "${targets[@]}"; do
  found=fuzz/found/$target corpus=fuzz/corpus/$target
  if [ ! -d "$corpus" ]; then
    echo "fuzz/run.sh: $target has no corpus in $corpus" >&2
    exit 1
  fi
  mkdir -p "$found"
  echo "== $target: $seconds s" >&2
  # Ends with the exit code of the target at a finding, which ends this script. No minimising: the input is printed
  # with its file in fuzz/artifacts.
  cargo +nightly fuzz run "$target" "$found" "$corpus" -- -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048
done
echo "no finding in ${#targets[@]} targets, $seconds s each" >&2
