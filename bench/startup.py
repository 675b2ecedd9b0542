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
RUNS = 7
GIVE_UP_S = 5


def measure(peer):
    """The median time and memory with the configuration of examples/s0-market-data, moved to a free port."""
    copy = peer.tools.work / EXAMPLE.name
    if not (EXAMPLE / "tidegate.yaml").exists():
        return {"failure": "examples/s0-market-data/tidegate.yaml is missing"}
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(EXAMPLE, copy)
    config = copy / "tidegate.yaml"
    original = config.read_text()
    times, memory = [], []
    for _ in range(RUNS):
        port = runner.free_port()
        text, moved = re.subn(r"127\.0\.0\.1:8080", f"127.0.0.1:{port}", original)
        if not moved:
            return {"failure": "the configuration does not listen on 127.0.0.1:8080"}
        config.write_text(text)
        log = peer.tools.work / "startup.log"
        start = time.perf_counter()
        with runner.running([peer.binary(), "run", "-c", config.name], log, cwd=copy) as process:
            if not first_answer(port, process, start + GIVE_UP_S):
                return {"failure": f"no answer within {GIVE_UP_S} s: {log.read_text(errors='replace')[-500:].strip()}"}
            times.append((time.perf_counter() - start) * 1000)
            time.sleep(0.5)  # until what starts beside the first answer has started as well
            memory.append(runner.resident_bytes(process.pid) / 1e6)
    return {"config": str(config.relative_to(peer.tools.work)), "runs": RUNS, "cpus": os.cpu_count(),
            "first_answer_ms": statistics.median(times), "rss_mb": statistics.median(memory)}


def first_answer(port, process, end):
    """Asks for liveness until it is answered; any status counts, because something must have been there to say it."""
    while process.poll() is None and time.perf_counter() < end:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            with contextlib.closing(connection):
                connection.request("GET", "/health/liveness")
                connection.getresponse().read()
                return True
        time.sleep(0.0005)
    return False
