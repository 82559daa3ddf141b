"""Peers' environments: one folder each, pinned versions, made on first use.

A peer that cannot be installed is reported with the last lines of its log, never left out in silence.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

#: Installed one line after the other: torch first, so that no peer replaces it by another build.
#: torchvision, which norse and SpikingJelly ask for, without what it depends on, for the same reason.
TORCH = ["torch==2.13.0 numpy==2.4.6"]
PEERS: dict[str, list[str]] = {
    "brian2": ["numpy==1.26.4 setuptools==80.9.0 brian2==2.9.0"],
    "snntorch": [*TORCH, "torch==2.13.0 snntorch==1.0.0"],
    "norse": [*TORCH, "--no-deps torchvision==0.28.0", "torch==2.13.0 norse==1.1.0"],
    "spikingjelly": [*TORCH, "--no-deps torchvision==0.28.0", "torch==2.13.0 spikingjelly==2.0.0"],
    "tensorflow": ["tensorflow-cpu==2.21.0 numpy==2.4.6"],
    "brainpy": ["brainpy==2.8.2 brainevent==0.2.1 numba==0.68.1 numpy==2.4.6"],
}


def make(folder: Path, peer: str) -> dict:
    """{"python": path, "packages": versions} of the peer's environment, or {"error": why}."""
    root = (folder / peer).absolute()
    python, stamp = root / "bin" / "python", root / "installed.json"
    if stamp.exists() and json.loads(stamp.read_text()) == PEERS[peer]:
        return {"python": str(python), "packages": packages(python, peer)}
    extra = os.environ.get("TORCH_INDEX")
    commands = [[sys.executable, "-m", "venv", str(root)]]
    for line in PEERS[peer]:
        index = ["--extra-index-url", extra] if extra and "torch" in line else []
        commands.append([str(python), "-m", "pip", "install", "-q", *index, *line.split()])
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return {"error": " ".join(done.stderr.split("\n")[-3:]).strip() or "failed"}
    stamp.write_text(json.dumps(PEERS[peer]))
    return {"python": str(python), "packages": packages(python, peer)}


def packages(python: Path, peer: str) -> dict[str, str]:
    """Versions of the peer and of what computes in it."""
    code = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()}))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    wanted = {peer, "torch", "jax", "brainevent", "numpy", "numba", "tensorflow_cpu", "keras"}
    return {k: v for k, v in json.loads(done.stdout or "{}").items() if k in wanted}


if __name__ == "__main__":
    for name in PEERS:
        print(name, make(Path(sys.argv[1]), name), flush=True)
