#!/usr/bin/env python3
"""The side-by-side benchmark: every peer, every scenario, one core each, every answer checked. See README.md."""
import argparse
import datetime
import importlib
import json
import pathlib
import shlex
import sys

import build
import machine
import measure
import peers
import report
import startup

HERE = pathlib.Path(__file__).resolve().parent
WORK = HERE / ".work"


def scenario_names():
    return sorted(path.stem for path in (HERE / "scenarios").glob("*.py"))


def load_scenario(name):
    """The module of a scenario, after its exchanges were written where backend and load generator read them."""
    module = importlib.import_module(f"scenarios.{name}")
    module.NAME = name
    module.FILE = WORK / f"{name}.json"
    module.BACKEND = getattr(module, "BACKEND", "grpc")
    module.POLICIES = getattr(module, "POLICIES", False)
    module.FILE.write_text(json.dumps({"rpc": getattr(module, "RPC", ""), "exchanges": list(module.exchanges())}))
    return module


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", action="append", choices=scenario_names(), help="default: all; may be repeated")
    parser.add_argument("--peer", action="append", choices=peers.names(), help="default: all; may be repeated")
    parser.add_argument("--profile", default="dist", help="cargo profile of our binaries (default: %(default)s)")
    parser.add_argument("--tidegate", type=pathlib.Path, help="measure this binary instead of building one")
    parser.add_argument("--connections", type=int, help="default: 64, or what the scenario says")
    parser.add_argument("--seconds", type=float, default=5, help="length of one measurement (default: %(default)s)")
    parser.add_argument("--warm-up", type=float, default=1, help="seconds of load before it (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="measurements of each peer, interleaved (default: %(default)s)")
    parser.add_argument("--no-startup", action="store_true", help="skip memory after start and time to the first answer")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results", help="directory for the two result files")
    return parser.parse_args()


def main():
    args = arguments()
    WORK.mkdir(exist_ok=True)
    tools = build.tools(args.profile, WORK)
    gateways = [peers.Peer(name, tools, args.tidegate) for name in args.peer or peers.names()]
    for peer in gateways:
        peer.install()
    result = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(["bench/run.py", *sys.argv[1:]]),
        "commit": machine.commit(), "machine": machine.describe(), "profile": args.profile,
        "seconds": args.seconds,
        "versions": {peer.name: peer.version() for peer in gateways}, "scenarios": [], "startup": None,
    }
    for name in args.scenario or scenario_names():
        scenario = load_scenario(name)
        taking_part = [peer for peer in gateways if peer.serves(scenario)]
        for connections in [args.connections] if args.connections else getattr(scenario, "CONNECTIONS", (64,)):
            runs = measure.interleaved(scenario, taking_part, tools, args, connections)
            result["scenarios"].append({"name": name, "title": scenario.TITLE, "connections": connections,
                                        "goals": getattr(scenario, "GOALS", {}), "peers": runs})
            print(report.scenario_table(result["scenarios"][-1]), flush=True)
    ours = next((peer for peer in gateways if peer.name == "tidegate"), None)
    if ours and not args.no_startup:
        build.cargo(args.profile, "core-engine")
        result["startup"] = startup.measure(ours)
    text = report.page(result)
    args.out.mkdir(parents=True, exist_ok=True)
    stem = args.out / result["date"][:10]
    stem.with_suffix(".md").write_text(text)
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    print(text)
    return 1 if report.failures(result) else 0


if __name__ == "__main__":
    sys.exit(main())
