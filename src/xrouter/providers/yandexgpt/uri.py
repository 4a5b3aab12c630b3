"""Model URIs: `gpt://<folder>/<name>/<branch>` outside, `name/branch` inside.

The folder is the tenant at the provider. It is ours, it never comes from a caller and never goes
out to one.
"""

from __future__ import annotations

import re

from xrouter.domain.errors import InvalidRequest

_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_REFERENCE = re.compile(rf"{_WORD}(?:/{_WORD}(?:@{_WORD})?)?")
_URI = re.compile(r"(?:gpt|emb|art|cls|ds)://\S*")
_FOLDER_ID = re.compile(r"b1g[a-z0-9]{17}")


def reference(upstream: str, folder: str) -> str:
    """`name/branch` of a catalog reference: `name`, `name/branch` or a full URI in our folder.

    A missing branch is `latest`, as the provider has it.
    Raises InvalidRequest for a URI of another folder and for what is no reference at all.
    """
    rest = upstream
    if "://" in upstream:
        owner, _, rest = upstream.partition("://")[2].partition("/")
        if owner != folder:
            raise InvalidRequest(
                "The model is addressed in another folder than the endpoint's own.",
                param="model",
                code="invalid_value",
                hint="Write the version's reference as 'name/branch'; the folder is added here.",
            )
    if not _REFERENCE.fullmatch(rest):
        raise InvalidRequest(
            "The model's reference is not of the form 'name/branch'.",
            param="model",
            code="invalid_value",
        )
    return rest if "/" in rest else f"{rest}/latest"


def check_model(asked: str, folder: str) -> None:
    """Raise InvalidRequest when a caller's name for a model holds the URI of another folder."""
    found = _URI.search(asked)
    if found is not None:
        reference(found[0], folder)


def chat_uri(ref: str, folder: str) -> str:
    """URI of a chat model; `ref` comes from `reference`."""
    return f"gpt://{folder}/{ref}"


def art_uri(ref: str, folder: str) -> str:
    """URI of a model that draws; `ref` comes from `reference`."""
    return f"art://{folder}/{ref}"


def embeddings_uri(ref: str, folder: str) -> str:
    """URI of an embeddings model; `ref` comes from `reference`."""
    return f"emb://{folder}/{ref}"


def without_folder(uri: str, folder: str) -> str:
    """What may be shown of a model's name: no scheme, no folder.

    Open models answer with `gpt://<name>/<branch>`, so two words do not tell a folder by
    themselves: only ours, or one that looks like an id, is taken off.
    """
    words = uri.rpartition("://")[2].split("/")
    owned = words[0] == folder or _FOLDER_ID.fullmatch(words[0]) is not None
    if len(words) > 1 and (owned or len(words) > 2):  # noqa: PLR2004 - folder, name, branch
        words = words[1:]
    return "/".join(words)
