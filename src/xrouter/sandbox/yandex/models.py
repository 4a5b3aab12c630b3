"""The models of the simulated Yandex Cloud, and how their URIs are read."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct

from xrouter.sandbox.yandex.errors import INVALID, Refusal

FOLDER = "b1gsandbox0000000000"
"""The folder of the sandbox's only service account."""

GPT, EMB, ART = "gpt", "emb", "art"
YANDEX, ALICE, OPEN = "yandex", "alice", "open"
"""Families: who serves the model. The open ones run on vLLM."""

_URI = re.compile(r"([a-z]+)://([^/]+)/([^/]+)(?:/([^/]+))?")
_PRO, _PRO_NEXT, _OLD, _OPEN_BUILD = "09.02.2025", "28.08.2025", "23.10.2024", "01.08.2025"


class Model(Struct, frozen=True):
    """A model. versions: build by branch. context: tokens. dimensions: of its vectors.

    reasons: builds that can think. chats: whether chat methods know it. listed: whether the list
    of models has it. loose_json: whether it takes json_object, which some thinking models do not.
    """

    name: str
    owner: str
    versions: dict[str, str]
    context: int = 32_768
    scheme: str = GPT
    family: str = YANDEX
    reasons: tuple[str, ...] = ()
    vision: bool = False
    chats: bool = True
    dimensions: int = 0
    listed: bool = True
    loose_json: bool = True

    @property
    def native(self) -> bool:
        """Whether the native API serves it."""
        return self.family != OPEN and self.chats


def _open(
    name: str, owner: str, context: int, *, vision: bool = False, loose_json: bool = True
) -> Model:
    """An open model: it has only `latest`."""
    return Model(
        name,
        owner,
        {"latest": _OPEN_BUILD},
        context,
        family=OPEN,
        reasons=() if vision else (_OPEN_BUILD,),
        vision=vision,
        loose_json=loose_json,
    )


def _embedder(name: str) -> Model:
    return Model(name, "Yandex", {"latest": _PRO}, 2048, scheme=EMB, chats=False, dimensions=256)


_BRANCHES = {"latest": _PRO, "rc": _PRO_NEXT, "deprecated": _OLD}
_LITE = {"latest": _PRO, "rc": _PRO, "deprecated": _PRO}
_ROWS = (
    Model("aliceai-llm", "Yandex", {"latest": "28.10.2025"}, 131_072, family=ALICE),
    Model("aliceai-llm-flash", "Yandex", {"latest": "01.07.2026"}, 65_536, family=ALICE),
    Model("yandexgpt", "Yandex", _BRANCHES, reasons=(_PRO,)),
    Model("yandexgpt-lite", "Yandex", _LITE),
    Model("yandexgpt-5.1", "Yandex", {"latest": _PRO_NEXT}),
    Model("yandexgpt-5-pro", "Yandex", {"latest": _PRO}, reasons=(_PRO,)),
    Model("yandexgpt-5-lite", "Yandex", {"latest": _PRO}),
    _open("qwen3-235b-a22b-fp8", "Alibaba", 262_144),
    _open("qwen3.6-35b-a3b", "Alibaba", 262_144, loose_json=False),
    _open("gpt-oss-120b", "OpenAI", 131_072),
    _open("gpt-oss-20b", "OpenAI", 131_072),
    _open("deepseek-v4-flash", "DeepSeek", 1_048_576),
    _open("gemma-3-27b-it", "Google", 131_072, vision=True),
    Model("speech-realtime-250923", "Yandex", {"latest": _PRO}, chats=False),
    _embedder("text-search-doc"),
    _embedder("text-search-query"),
    Model("yandex-art", "Yandex", {"latest": ""}, scheme=ART, chats=False, listed=False),
)
MODELS = {model.name: model for model in _ROWS}


class Chosen(Struct, frozen=True):
    """A model and one of its branches, as a URI names them."""

    model: Model
    branch: str
    uri: str

    @property
    def version(self) -> str:
        """The build behind the branch."""
        return self.model.versions[self.branch]

    @property
    def reasons(self) -> bool:
        """Whether this build can think."""
        return self.version in self.model.reasons

    @property
    def shown(self) -> str:
        """The name that the compatible API answers with: open models hide the folder."""
        if self.model.family == OPEN:
            return f"{GPT}://{self.model.name}/{self.branch}"
        return self.uri


def rows() -> list[dict[str, Any]]:
    """The compatible API's list: a full URI for each model and branch."""
    return [
        {
            "id": f"{model.scheme}://{FOLDER}/{model.name}/{branch}",
            "object": "model",
            "owned_by": model.owner,
            "created": 0,
        }
        for model in _ROWS
        if model.listed
        for branch in model.versions
    ]


def chosen_by(uri: Any, scheme: str, unknown: Refusal) -> Chosen:
    """The model that a URI of this scheme names. Raises `unknown`, or another Refusal."""
    match = _URI.fullmatch(uri) if isinstance(uri, str) else None
    if match is None:
        raise Refusal(INVALID, "Failed to parse model URI")
    given, folder, name, branch = match.groups(default="latest")
    check_folder(folder)
    model = MODELS.get(name)
    if model is None or given != scheme or model.scheme != scheme or branch not in model.versions:
        raise unknown
    return Chosen(model, branch, uri)


def check_folder(folder: str) -> None:
    """Raise Refusal for a folder that is not the account's."""
    if folder != FOLDER:
        raise Refusal(
            INVALID,
            f"Specified folder ID '{folder}' does not match with service account folder ID"
            f" '{FOLDER}'",
        )
