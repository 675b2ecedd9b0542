"""What tidegate costs before its first request: time from exec to the first answer, and memory after it."""
import contextlib
import http.client
import os
import pathlib
import re
import shutil
import statistics
import time

import measure as runner

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "s0-market-data"
# The addresses that the example's configuration has, and that are replaced by free ones.
GATEWAY, BACKEND, ADMIN = "127.0.0.1:8080", "127.0.0.1:50052", "127.0.0.1:9901"
RUNS = 7
GIVE_UP_S = 10
# What starts beside the first answer has started by then, and the allocator has given back what it only needed once.
SETTLED_AFTER_S = 1.0


class Failed(Exception):
    pass


def measure(peer):
    """The medians with the configuration of examples/s0-market-data, with and without its backend."""
    work = peer.tools.work / "startup"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    engine = [peer.tools.target / "core-engine", "--listen", f"127.0.0.1:{runner.free_port()}"]
    try:
        # Nothing is remembered and the backend is down: the gateway starts and answers for itself.
        alone = medians(peer, engine[-1], work, "alone", path="/health/liveness", keep=False)
        with runner.running(engine, work / "core-engine.log"):
            # The first start learns the backend's descriptors and keeps them; the measured ones know them at once.
            one_start(peer, engine[-1], work, "learn", path="/health/readiness")
            ready = medians(peer, engine[-1], work, "learn", path="/health/readiness", keep=True)
    except Failed as failure:
        return {"failure": str(failure)}
    return {"config": str(EXAMPLE.relative_to(ROOT) / "tidegate.yaml"), "runs": RUNS, "alone": alone, "ready": ready}


def medians(peer, backend, work, state, path, keep):
    times, memory = [], []
    for _ in range(RUNS):
        if not keep:
            shutil.rmtree(work / state, ignore_errors=True)
        milliseconds, megabytes = one_start(peer, backend, work, state, path)
        times.append(milliseconds)
        memory.append(megabytes)
    return {"first_answer_ms": statistics.median(times), "rss_mb": statistics.median(memory)}


def one_start(peer, backend, work, state, path):
    """Milliseconds from exec until `path` answers 200, and resident megabytes (10^6 bytes) a second later."""
    port, log, config = runner.free_port(), work / "tidegate.log", work / "tidegate.yaml"
    text = (EXAMPLE / "tidegate.yaml").read_text()
    for address, instead in ((GATEWAY, f"127.0.0.1:{port}"), (BACKEND, backend), (ADMIN, "127.0.0.1:0")):
        text, moved = re.subn(re.escape(address), instead, text)
        if not moved:
            raise Failed(f"{address} does not occur in the configuration")
    config.write_text(text)
    environment = {**os.environ, "XDG_STATE_HOME": str(work / state)}
    start = time.perf_counter()
    with runner.running([peer.binary(), "run", "-c", config], log, env=environment) as process:
        if not answered(port, path, process, start + GIVE_UP_S):
            raise Failed(f"{path} was not answered within {GIVE_UP_S} s: {log.read_text(errors='replace')[-500:].strip()}")
        milliseconds = (time.perf_counter() - start) * 1000
        time.sleep(SETTLED_AFTER_S)
        return milliseconds, runner.resident_bytes(process.pid) / 1e6


def answered(port, path, process, end):
    while process.poll() is None and time.perf_counter() < end:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            with contextlib.closing(connection):
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
                if response.status == 200:
                    return True
        time.sleep(0.0005)
    return False
