"""Where and from what a figure comes."""
import os
import pathlib
import platform
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def output(*command):
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip()


def commit():
    """The commit that was measured; `+` when files in the tree differ from it."""
    return output("git", "rev-parse", "--short", "HEAD") + ("+" if output("git", "status", "--porcelain", "--untracked-files=no") else "")


def describe():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    return {"cpu": model, "cpus": os.cpu_count(), "kernel": platform.release(), "load_average_before": os.getloadavg()[0],
            "pinned": os.cpu_count() > 1, "rustc": output("rustc", "--version"), "python": platform.python_version()}
