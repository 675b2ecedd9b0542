#!/bin/sh
# Installs what tests need beside Rust: `promtool` (Debian package `prometheus`), `redis-server`, Chromium with its driver, and Python
# tools in environments of their own below target/tools. Does nothing for what is there already. With `contract` also
# what `make contract` needs, with `soak` what `make soak` needs and nothing else.
#
# Missing Debian packages are installed only by root; everybody else is told what is missing. Installing `prometheus`
# must not leave a server behind that listens on a port, so services are not started while packages are installed.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
tools=$root/target/tools
policy=/usr/sbin/policy-rc.d

fail() {
    echo "test-tools: $*" >&2
    exit 1
}

# Installs Debian packages, without what they merely recommend and without starting their services.
debian() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        fail "missing: install the Debian package(s) $*, or their like on this system"
    fi
    own_policy=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        own_policy=yes
        trap 'rm -f "$policy"' EXIT
        # The shell runs no EXIT trap for these.
        trap 'exit 1' INT TERM HUP
    fi
    export DEBIAN_FRONTEND=noninteractive
    if ! apt-get install -qq -y --no-install-recommends "$@" >/dev/null 2>&1; then
        # The lists of a fresh machine are empty or old.
        apt-get update -qq && apt-get install -qq -y --no-install-recommends "$@" >/dev/null ||
            fail "cannot install $*"
    fi
    if [ -n "$own_policy" ]; then
        rm -f "$policy"
        trap - EXIT INT TERM HUP
    fi
}

# `environment NAME PINS`: a Python environment with exactly the pinned packages; made anew when the pins change.
environment() {
    folder=$tools/$1
    if [ -x "$folder/bin/python" ] && cmp -s "$2" "$folder/installed.txt"; then
        return
    fi
    command -v python3 >/dev/null || debian python3 python3-venv
    rm -rf "$folder"
    mkdir -p "$tools"
    # Debian's Python has no ensurepip without python3-venv.
    if ! python3 -m venv "$folder" >/dev/null 2>&1; then
        rm -rf "$folder"
        debian python3-venv
        python3 -m venv "$folder" || fail "python3 -m venv does not work"
    fi
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$2" ||
        fail "cannot install the packages of $2"
    cp "$2" "$folder/installed.txt"
}

if [ "${1:-}" = soak ]; then
    # A library that is preloaded, not a program: its place is as in crates/tidegate/tests/soak/faults.rs.
    for library in /usr/lib/*/faketime/libfaketimeMT.so.1 /usr/lib64/faketime/libfaketimeMT.so.1; do
        if [ -e "$library" ]; then
            exit 0
        fi
    done
    debian libfaketime
    exit 0
fi
environment venv "$root/scripts/test-tools.txt"
if [ "${1:-}" = contract ]; then
    environment contract "$root/scripts/contract-tools.txt"
fi
if ! command -v promtool >/dev/null; then
    debian prometheus
    # The server that comes along is not wanted, at the next boot either.
    if command -v systemctl >/dev/null; then
        systemctl disable --quiet prometheus 2>/dev/null || true
    fi
fi
if ! command -v redis-server >/dev/null; then
    debian redis-server
    # Tests start their own on free ports; the one of the system is not wanted.
    if command -v systemctl >/dev/null; then
        systemctl disable --quiet redis-server 2>/dev/null || true
    fi
fi
{ command -v chromium && command -v chromedriver; } >/dev/null || debian chromium chromium-driver
