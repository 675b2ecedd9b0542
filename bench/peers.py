"""The gateways under test. Each is a directory below peers/ with a peer.toml; the keys are explained in README.md."""
import glob
import pathlib
import string
import subprocess
import sys
import tomllib

import build
import keys

PEERS = pathlib.Path(__file__).resolve().parent / "peers"


def names():
    return sorted(path.parent.name for path in PEERS.glob("*/peer.toml"))


class Peer:
    def __init__(self, name, tools, own_binary=None):
        self.name, self.tools = name, tools
        self.keys = tomllib.loads((PEERS / name / "peer.toml").read_text())
        self.title = self.keys["title"]
        self.own_binary = own_binary if self.keys.get("cargo") == "tidegate" else None

    def serves(self, scenario):
        """Whether this peer takes part: those that speak gRPC to their backend in all such scenarios without policies, and
        in others those that have a configuration for it."""
        if scenario.BACKEND == "http" or scenario.POLICIES:
            return scenario.NAME in self.keys.get("configs", {})
        return "apt" not in self.keys

    def may_refuse(self, scenario):
        return scenario.NAME in self.keys.get("may_refuse", [])

    def install(self):
        if self.own_binary is None and self.keys.get("cargo") not in (None, "loadgen"):  # loadgen was built first
            build.cargo(self.tools.profile, self.keys["cargo"])
        if "apt" in self.keys and not pathlib.Path(self.keys["binary"]).exists():
            subprocess.run(["apt-get", "install", "--yes", "--no-install-recommends", self.keys["apt"]], check=True)
        if "pip" in self.keys:
            venv = self.tools.work / "venv"
            if not (venv / "bin" / "pip").exists():
                subprocess.run([sys.executable, "-m", "venv", venv], check=True)
            subprocess.run([venv / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", self.keys["pip"]], check=True)

    def binary(self):
        if self.own_binary:
            return str(self.own_binary.resolve())
        pattern = self.keys["binary"].format(venv=self.tools.work / "venv", target=self.tools.target)
        found = glob.glob(pattern)
        if len(found) != 1:
            raise SystemExit(f"{self.name}: {len(found)} files match {pattern}")
        return found[0]

    def version(self):
        if "version" not in self.keys:
            return ""
        command = [part.format(binary=self.binary()) for part in self.keys["version"]]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        # Some programs begin with the path they were started by, which says nothing to a reader of the table.
        return " ".join(word for word in out.split() if "/" not in word or not pathlib.Path(word).is_absolute())

    def command(self, scenario, port, backend_port):
        """The command line that serves a scenario on `port`; writes the configuration file that it names."""
        access_log = self.tools.work / f"{self.name}-access.log"
        access_log.unlink(missing_ok=True)
        values = {"access_log": access_log, "binary": self.binary(), "scenario": scenario.FILE, "descriptors": self.tools.descriptors,
                  "port": port, "backend_port": backend_port, "work": self.tools.work, "jwks": keys.JWKS}
        chosen = self.keys.get("configs", {}).get(scenario.NAME, self.keys.get("config"))
        if chosen:
            template = PEERS / self.name / chosen
            config = self.tools.work / f"{self.name}-{template.name}"
            config.write_text(string.Template(template.read_text()).substitute(values))
            values["config"] = config
        return [part.format(**values) for part in self.keys["command"]]
