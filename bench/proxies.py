"""The proxies that are compared: how each is installed, started and asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
XROUTER = str(Path(sys.executable).with_name("xrouter"))
MODEL = "openai/gpt-4o-mini"
PEERS = ROOT / "bench" / ".peers"
LITELLM = "litellm[proxy]==1.109.1"
PORTKEY = "@portkey-ai/gateway@1.15.2"
START_LIMIT_S = 120.0
SETTLE_S = 2.0
"""After which settings hold."""


@dataclass
class Proxy:
    """A way to start one proxy, and how to ask it."""

    name: str
    command: list[str]
    port: int
    model: str = "bench"
    path: str = "/v1/chat/completions"
    ready: str = "/"
    headers: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None
    settings: list[list[str]] = field(default_factory=list)
    """Commands that are run once it answers."""


class Running:
    """A started proxy. `start_s`: seconds from the start of the process to the first answer.
    `idle`: share of a core that it uses for nothing.
    """

    idle = 0.0

    def __init__(self, proxy: Proxy, folder: Path, core: int) -> None:
        self.proxy = proxy
        self._log = (folder / f"{proxy.name.split()[0]}.log").open("wb")
        began = time.perf_counter()
        self.process = subprocess.Popen(
            ["taskset", "-c", str(core), *proxy.command],
            env=os.environ | proxy.environment,
            cwd=proxy.folder or folder,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._wait(began)
        self.start_s = time.perf_counter() - began
        for command in proxy.settings:
            subprocess.run(
                command, env=os.environ | proxy.environment, capture_output=True, check=True
            )
        if proxy.settings:
            time.sleep(SETTLE_S)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()

    def _wait(self, began: float) -> None:
        url = f"http://127.0.0.1:{self.proxy.port}{self.proxy.ready}"
        while time.perf_counter() - began < START_LIMIT_S:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.proxy.name} ended at once: see {self._log.name}")
            try:
                with urllib.request.urlopen(url, timeout=2):
                    return
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise RuntimeError(f"{self.proxy.name} did not answer within {START_LIMIT_S:g} s")


def nginx(port: int, upstream: int, folder: Path) -> Proxy | None:
    """Nginx as a bare proxy: the practical limit."""
    binary = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if binary is None:
        return None
    config = folder / "nginx.conf"
    config.write_text(f"""
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream mock {{ server 127.0.0.1:{upstream}; keepalive 512; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://mock; proxy_http_version 1.1; proxy_buffering off;
                  proxy_set_header Connection ""; }}
  }}
}}""")
    return Proxy(
        "nginx proxy_pass", [binary, "-c", str(config)], port, ready="/v1/chat/completions"
    )


def bare(port: int, upstream: int) -> Proxy:
    """Uvicorn + aiohttp and nothing else."""
    command = [sys.executable, "-m", "bench.bare", str(port), f"http://127.0.0.1:{upstream}"]
    return Proxy("bare uvicorn + aiohttp", command, port, folder=ROOT)


def xrouter(port: int, upstream: int, folder: Path) -> Proxy:
    """XRouter as it comes: key check, routing, journal, ledger, metrics, log line."""
    data = folder / f"xrouter-{port}"
    environment = {
        "XROUTER_PORT": str(port),
        "XROUTER_DATA_DIR": str(data),
        "XROUTER_SANDBOX": "off",
        "OPENAI_API_KEY": "sk-bench",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream}/v1",
    }
    made = subprocess.run(
        [XROUTER, "keys", "create", "bench", "--json"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    key = json.loads(made.stdout)["key"]
    return Proxy(
        "XRouter",
        [XROUTER, "serve"],
        port,
        model=MODEL,
        ready="/health/ready",
        headers={"authorization": f"Bearer {key}"},
        environment=environment,
    )


def metered(port: int, upstream: int, folder: Path) -> Proxy:
    """XRouter with a price, two limits and a budget, wide enough to hold nobody up."""
    proxy = xrouter(port, upstream, folder)
    proxy.name = "XRouter, limits and budget"
    price = ["--input", "100", "--output", "300", "--source", "the benchmark"]
    limits = [
        ["key:*", "requests", "100000000"],
        ["project:default", "tokens", "1000000000000"],
        ["project:default", "money", "10000000", "--per", "month"],
    ]
    proxy.settings = [[XROUTER, "prices", "add", MODEL, *price]]
    proxy.settings += [[XROUTER, "limits", "add", *limit] for limit in limits]
    return proxy


def installed(command: Sequence[str | Path], folder: Path | None = None) -> bool:
    """Whether the command that installs a peer has done so: one that cannot be had is left out."""
    return (
        subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=False).returncode == 0
    )


def litellm(port: int, upstream: int, folder: Path) -> Proxy | None:
    """LiteLLM's proxy, one worker, without a database."""
    binary = PEERS / "litellm" / "bin" / "litellm"
    if not binary.exists():
        python = PEERS / "litellm" / "bin" / "python"
        if not installed([sys.executable, "-m", "venv", python.parents[1]]) or not installed(
            [python, "-m", "pip", "-q", "install", LITELLM]
        ):
            return None
    config = folder / "litellm.yaml"
    config.write_text(f"""
model_list:
  - model_name: bench
    litellm_params:
      model: openai/bench
      api_base: http://127.0.0.1:{upstream}/v1
      api_key: sk-bench
general_settings:
  master_key: sk-litellm
""")
    return Proxy(
        "LiteLLM proxy",
        [str(binary), "--config", str(config), "--port", str(port), "--num_workers", "1"],
        port,
        ready="/health/liveliness",
        headers={"authorization": "Bearer sk-litellm"},
        environment={"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    )


def portkey(port: int, upstream: int) -> Proxy | None:
    """Portkey's gateway (Node.js)."""
    home = PEERS / "portkey"
    server = home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    if not server.exists():
        home.mkdir(parents=True, exist_ok=True)
        if not installed(
            [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", PORTKEY], home
        ):
            return None
    return Proxy(
        "Portkey gateway",
        [node, str(server), f"--port={port}", "--headless"],
        port,
        headers={
            "authorization": "Bearer sk-bench",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/v1",
        },
        environment={"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"},
    )
