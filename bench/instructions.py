#!/usr/bin/env python3
"""Instructions of the gateway per request, in user space, by valgrind's callgrind: the same from run to run whatever else
the machine does, so a change of one per cent can be accepted or refused. It says nothing of the kernel. See README.md."""
import argparse
import json
import pathlib
import re
import subprocess
import sys

import build
import measure
import peers
import run

PROFILES = run.WORK / "callgrind"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", action="append", choices=run.scenario_names(), help="default: unary and proxy, with and without policies")
    parser.add_argument("--profile", default="fast", help="cargo profile of our binaries (default: %(default)s)")
    parser.add_argument("--tidegate", type=pathlib.Path, help="measure this binary instead of building one")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=6, help="length of the load that is counted (default: %(default)s)")
    return parser.parse_args()


def load(scenario, tools, port, connections, seconds):
    """Answers that were right."""
    command = [tools.target / "loadgen", "run", "--scenario", scenario.FILE, "--target", f"127.0.0.1:{port}",
               "--connections", connections, "--seconds", seconds, "--warm-up", 0]
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, check=True, text=True)
    report = json.loads(done.stdout)
    # With no warm-up and no cool-down each answer is counted, those after the end of the time as well.
    return report["requests"]


def control(*command):
    subprocess.run(["callgrind_control", *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def count(scenario, peer, tools, args):
    """Instructions per request, and where the profile is."""
    port, log = measure.free_port(), tools.work / "callgrind.log"
    profile = PROFILES / f"{scenario.NAME}.out"
    for old in PROFILES.glob(f"{profile.name}*"):
        old.unlink()
    with measure.backend(scenario, tools) as (backend_port, _):
        gateway = peer.command(scenario, port, backend_port)
        # Valgrind is slow enough to look like an overloaded machine.
        config = pathlib.Path(gateway[-1])
        config.write_text(f"{config.read_text()}\noverload: null\n")
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={profile}", *gateway]
        with measure.running(command, log) as gateway:
            measure.wait_until_ready(port, scenario, gateway, log)
            load(scenario, tools, port, args.connections, 2)
            control("--instr=on", str(gateway.pid))
            requests = load(scenario, tools, port, args.connections, args.seconds)
            control("--instr=off", str(gateway.pid))
            control("--dump", str(gateway.pid))
    dumped = profile.with_name(f"{profile.name}.1")
    total = int(re.search(r"^totals: (\d+)", dumped.read_text(), re.MULTILINE)[1])
    return total / requests, dumped


def main():
    args = arguments()
    PROFILES.mkdir(parents=True, exist_ok=True)
    measure.READY_WITHIN_S = 60
    tools = build.tools(args.profile, run.WORK)
    peer = peers.Peer("tidegate", tools, args.tidegate)
    peer.install()
    for name in args.scenario or ["proxy", "proxy-policies", "unary", "unary-policies"]:
        per_request, profile = count(run.load_scenario(name), peer, tools, args)
        print(f"{name}: {per_request:,.0f} instructions per request (callgrind_annotate {profile.relative_to(build.ROOT)})", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
