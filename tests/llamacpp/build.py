"""Builds llama.cpp's own server from the sources that the llama-cpp-python package carries.

Everything comes from the package index, pinned by hash in `requirements/llamacpp.lock`: the source
package, and the tools to build it but for a C++ compiler. What is built lies in `.venv/llamacpp`,
named after the lock and the options, so that it is built once.

The lock is made with `uv pip compile --no-deps --universal --python-version 3.11 --generate-hashes`
from: cmake llama-cpp-python ninja packaging pathspec scikit-build-core.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "llamacpp.lock"
CACHE = ROOT / ".venv" / "llamacpp"
SOURCE_PACKAGE = "llama-cpp-python"

OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "CMAKE_C_FLAGS_RELEASE": "-O1 -DNDEBUG",
    "CMAKE_CXX_FLAGS_RELEASE": "-O1 -DNDEBUG",
    "BUILD_SHARED_LIBS": "OFF",
    "GGML_CCACHE": "OFF",
    "GGML_CPU_REPACK": "OFF",
    "GGML_LLAMAFILE": "OFF",
    "GGML_OPENMP": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_SERVER": "ON",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",  # or it would be downloaded
    "LLAMA_OPENSSL": "OFF",
}


class BuildError(Exception):
    """The server could not be built; says which step failed, with the end of its output."""


def server() -> Path:
    """Where the built server is, or will be."""
    recipe = LOCK.read_text() + repr(sorted(OPTIONS.items()))
    return CACHE / hashlib.sha256(recipe.encode()).hexdigest()[:12] / "llama-server"


def build() -> Path:
    """Build the server unless it is there. Takes minutes. Raises BuildError."""
    made = server()
    if made.exists():
        return made
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise BuildError("A C++ compiler is needed (Debian: apt-get install g++).")
    made.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=made.parent) as folder:
        _compile(_source(Path(folder)), Path(folder)).replace(made)
    return made


def _source(folder: Path) -> Path:
    """Install the tools, fetch and unpack the sources."""
    wanted, tools = _split(LOCK.read_text())
    (folder / "source.lock").write_text(wanted)
    (folder / "tools.lock").write_text(tools)
    _run(sys.executable, "-m", "venv", folder / "venv")
    pip = (folder / "venv/bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check")
    pinned = ("--require-hashes", "--no-deps", "-r")
    _run(*pip, "install", "--only-binary", ":all:", *pinned, folder / "tools.lock")
    only_source = ("--no-build-isolation", "--no-binary", SOURCE_PACKAGE, "-d", folder)
    _run(*pip, "download", *only_source, *pinned, folder / "source.lock", tools=folder)
    (package,) = folder.glob("*.tar.gz")
    with tarfile.open(package) as archive:
        archive.extractall(folder / "source", filter="data")
    (vendored,) = folder.glob("source/*/vendor/llama.cpp")
    return vendored


def _split(lock: str) -> tuple[str, str]:
    """The lock of the source package, and of the rest."""
    pins = re.findall(r"^\S(?:.*\\\n)*.*\n", lock, re.MULTILINE)
    wanted = [pin for pin in pins if pin.startswith(f"{SOURCE_PACKAGE}==")]
    return "".join(wanted), "".join(pin for pin in pins if pin not in wanted)


def _compile(source: Path, folder: Path) -> Path:
    options = [f"-D{name}={value}" for name, value in OPTIONS.items()]
    made = folder / "build"
    _run("cmake", "-G", "Ninja", "-S", source, "-B", made, *options, tools=folder)
    polite = ["nice", "-n", "15"] if shutil.which("nice") else []
    jobs = str(max(2, os.cpu_count() or 2))
    _run(*polite, "cmake", "--build", made, "-j", jobs, "-t", "llama-server", tools=folder)
    return made / "bin" / "llama-server"


def _run(*command: str | Path, tools: Path | None = None) -> None:
    """Run a command with the installed tools first in the way. Raises BuildError."""
    way = os.environ.get("PATH", os.defpath)
    if tools is not None:
        way = f"{tools / 'venv/bin'}{os.pathsep}{way}"
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, "PATH": way},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        words = " ".join(map(str, command[:6]))
        raise BuildError(f"{words} ... ended with {done.returncode}:\n{done.stdout[-4000:]}")
