"""A real llama.cpp server behind the whole of XRouter, asked by the official client."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam
from tests.llamacpp.conftest import KEY
from tests.llamacpp.server import LlamaServer
from tests.services.process import Service

pytestmark = [pytest.mark.real_llamacpp, pytest.mark.timeout(120, func_only=True)]

XROUTER = Path(sys.executable).with_name("xrouter")
MODEL = "llamacpp/tiny"
USER: ChatCompletionUserMessageParam = {"role": "user", "content": "Привет! How are you?"}


class Router:
    """`xrouter serve` in front of a llama.cpp server, with an environment of its own."""

    def __init__(self, upstream: str, upstream_key: str) -> None:
        self._service = Service("router")
        self._settings = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self._service.folder),
            "XROUTER_DATA_DIR": str(self._service.folder / "data"),
            "XROUTER_SANDBOX": "off",
            "LLAMACPP_BASE_URL": upstream,
            "LLAMACPP_API_KEY": upstream_key,
        }
        try:
            self._service.start(self._serve, self._ready)
        except BaseException:
            self._service.remove()
            raise

    @property
    def url(self) -> str:
        return f"http://{self._service.host}:{self._service.port}"

    def run(self, *arguments: str) -> str:
        """What a command of `xrouter` prints."""
        done = subprocess.run(
            [XROUTER, *arguments],
            env=self._settings,
            cwd=self._service.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def close(self) -> None:
        self._service.remove()

    def _serve(self, port: int) -> list[str | Path]:
        given = [f"{name}={value}" for name, value in self._settings.items()]
        return ["env", "-i", *given, f"XROUTER_PORT={port}", XROUTER, "serve"]

    def _ready(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.url}/health/ready", timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False


@pytest.fixture(scope="module")
def router(locked: LlamaServer) -> Iterator[Router]:
    with closing(Router(locked.url, KEY)) as running:
        running.run("models", "sync", "--live")
        yield running


@pytest.fixture(scope="module")
def key(router: Router) -> str:
    made: str = json.loads(router.run("keys", "create", "tests", "--json"))["key"]
    return made


@pytest.fixture
def client(router: Router, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{router.url}/v1", api_key=key, max_retries=0) as made:
        yield made


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    assert MODEL in {model.id for model in client.models.list()}


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=[USER], max_tokens=20, temperature=0, logit_bias={"3": -100}
    )
    assert answer.model == MODEL
    assert answer.choices[0].message.content
    assert len(answer.choices[0].message.content) == 20
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 20


def test_stream(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[USER],
        max_tokens=20,
        temperature=0,
        logit_bias={"3": -100},
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert len("".join(choice.delta.content or "" for choice in choices)) == 20
    assert [c.finish_reason for c in choices if c.finish_reason] == ["length"]
    assert {chunk.model for chunk in chunks} == {MODEL}
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 20


def test_a_prompt_that_does_not_fit(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "слово " * 1000}]
        )
    assert refused.value.code == "context_length_exceeded"


def test_the_server_s_key_is_not_ours(router: Router, client: openai.OpenAI) -> None:
    """Neither opens the other's door."""
    with (
        openai.OpenAI(base_url=f"{router.url}/v1", api_key=KEY, max_retries=0) as intruder,
        pytest.raises(openai.AuthenticationError),
    ):
        intruder.models.list()
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=MODEL, input="hi")
    assert KEY not in str(refused.value)
