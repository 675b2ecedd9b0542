"""Runs peers under load: backend and load generator on one core, the gateway alone on the other."""
import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import time

GATEWAY_CPU, LOAD_CPU = "0", "1"
READY_WITHIN_S = 15


def pinned(cpu, command):
    """The command bound to one CPU. On a machine with a single one there is nothing to bind, and machine.py says so."""
    return ["taskset", "--cpu-list", cpu, *command] if os.cpu_count() > 1 else command


@contextlib.contextmanager
def running(command, log, **options):
    """A child process that is ended, and waited for, whatever happens."""
    with open(log, "wb") as out:
        process = subprocess.Popen([str(part) for part in command], stderr=out, **{"stdout": out, **options})
    try:
        yield process
    finally:
        # The first signal may begin a drain that takes its time; the second one means now.
        for end in (process.terminate, process.terminate, process.kill):
            end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
                break
        if process.stdout:
            process.stdout.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def backend(scenario, tools):
    """The port of a backend that plays the scenario, and its process id."""
    if scenario.BACKEND == "http":
        command = [tools.target / "web-backend", "--scenario", scenario.FILE]
    else:
        command = [tools.target / "orders-backend", "--scenario", scenario.FILE, "--descriptors", tools.descriptors]
    with running(pinned(LOAD_CPU, command), tools.work / "backend.log", stdout=subprocess.PIPE) as process:
        line = process.stdout.readline().decode()
        found = re.search(r":(\d+)$", line.strip())
        if not found:
            raise SystemExit(f"the backend did not start: {(tools.work / 'backend.log').read_text()}")
        yield int(found[1]), process.pid


def wait_until_ready(port, scenario, process, log):
    """Asks for the first exchange until it is answered with its status."""
    exchange = next(scenario.exchanges())
    ask, end = exchange["http"], time.monotonic() + READY_WITHIN_S
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            with contextlib.closing(connection):
                body = json.dumps(ask["body"]) if "body" in ask else None
                connection.request(ask["method"], ask["path"], body, {**dict(ask.get("headers", [])), **({"content-type": "application/json"} if body else {})})
                if connection.getresponse().status == exchange.get("status", 200):
                    return
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"not ready: exit code {process.poll()}, log: {log.read_text(errors='replace')[-1000:].strip()}")
        time.sleep(0.02)


def one_run(scenario, peer, tools, args, connections):
    """The report of the load generator, {"failure": why}, or {"skipped": why} if the peer cannot do it yet."""
    port, log = free_port(), tools.work / f"{peer.name}.log"
    with backend(scenario, tools) as (backend_port, backend_pid):
        command = peer.command(scenario, port, backend_port)
        with running(pinned(GATEWAY_CPU, command), log) as gateway:
            try:
                wait_until_ready(port, scenario, gateway, log)
            except RuntimeError as error:
                ended = gateway.poll() not in (None, 0)
                return {"skipped" if ended and peer.may_refuse(scenario) else "failure": str(error)}
            load = [tools.target / "loadgen", "run", "--scenario", scenario.FILE, "--target", f"127.0.0.1:{port}",
                    "--connections", connections, "--seconds", args.seconds, "--warm-up", args.warm_up,
                    "--watch", f"gateway={gateway.pid}", "--watch", f"backend={backend_pid}"]
            done = subprocess.run([str(part) for part in pinned(LOAD_CPU, load)], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, timeout=args.seconds + args.warm_up + 60)
            if not done.stdout:
                return {"failure": f"no report: {done.stderr[-1000:]}"}
            run = json.loads(done.stdout)
            run["cpu"] = {entry["name"]: entry["us_per_request"] for entry in run["cpu"]}
            run["rss_bytes"] = resident_bytes(gateway.pid)
            if run["errors"] or not run["requests"]:
                run["failure"] = f"{run['errors']} errors: {run['samples'][:1]}"
            return run


def resident_bytes(pid):
    """Resident memory of a process, 0 when it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


def interleaved(scenario, gateways, tools, args, connections):
    """All rounds of one scenario: {peer: {title, runs}}. Peers take turns, so that a drift of the machine hits all."""
    result = {peer.name: {"title": peer.title, "runs": []} for peer in gateways}
    for _ in range(args.rounds):
        for peer in gateways:
            result[peer.name]["runs"].append(one_run(scenario, peer, tools, args, connections))
    return result
