"""The gateways under test. Each is a directory below peers/ with a peer.toml; the keys are explained in README.md."""
import glob
import pathlib
import string
import subprocess
import sys
import tomllib

import build

PEERS = pathlib.Path(__file__).resolve().parent / "peers"


def names():
    return sorted(path.parent.name for path in PEERS.glob("*/peer.toml"))


class Peer:
    def __init__(self, name, tools, own_binary=None):
        self.name, self.tools = name, tools
        self.keys = tomllib.loads((PEERS / name / "peer.toml").read_text())
        self.title = self.keys["title"]
        self.own_binary = own_binary if self.keys.get("cargo") == "tidegate" else None

    def install(self):
        if self.own_binary is None and self.keys.get("cargo") not in (None, "loadgen"):  # loadgen was built first
            build.cargo(self.tools.profile, self.keys["cargo"])
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

    def command(self, scenario_file, port, backend_port):
        """The command line that serves a scenario on `port`; writes the configuration file that it names."""
        access_log = self.tools.work / f"{self.name}-access.log"
        access_log.unlink(missing_ok=True)
        values = {"access_log": access_log, "binary": self.binary(), "scenario": scenario_file, "descriptors": self.tools.descriptors,
                  "port": port, "backend_port": backend_port}
        if "config" in self.keys:
            template = PEERS / self.name / self.keys["config"]
            config = self.tools.work / f"{self.name}-{template.name}"
            config.write_text(string.Template(template.read_text()).substitute(values))
            values["config"] = config
        return [part.format(**values) for part in self.keys["command"]]
