"""Builds what we measure with, and what of ours we measure."""
import dataclasses
import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROTO = ROOT / "bench" / "proto"


@dataclasses.dataclass
class Tools:
    """Where things are. `target` holds the binaries of the chosen profile."""
    work: pathlib.Path
    target: pathlib.Path
    profile: str
    descriptors: pathlib.Path


def cargo(profile, package):
    """Builds the binaries of one package. Packages are built one by one, because a common build would unite the
    features of their dependencies and measure a binary that nobody ships."""
    subprocess.run(["cargo", "build", "--locked", "--profile", profile, "--package", package, "--bins"], cwd=ROOT, check=True)


def tools(profile, work):
    cargo(profile, "loadgen")
    metadata = subprocess.run(["cargo", "metadata", "--no-deps", "--format-version", "1"], cwd=ROOT, check=True,
                              stdout=subprocess.PIPE, env={**os.environ, "CARGO_TERM_COLOR": "never"})
    target = pathlib.Path(json.loads(metadata.stdout)["target_directory"]) / ("debug" if profile == "dev" else profile)
    descriptors = work / "orders.pb"
    subprocess.run([target / "loadgen", "descriptors", "--proto-path", PROTO, "--out", descriptors,
                    *sorted(PROTO.glob("bench/**/*.proto"))], check=True)
    return Tools(work=work, target=target, profile=profile, descriptors=descriptors)
