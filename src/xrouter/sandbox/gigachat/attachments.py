"""What the simulated GigaChat takes as attachments of messages, and what it refuses."""

from __future__ import annotations

from typing import Any

from xrouter.sandbox.gigachat.errors import Refusal, invalid
from xrouter.sandbox.gigachat.files import File, Shelf
from xrouter.sandbox.gigachat.models import Model

IMAGES_A_REQUEST = 10
TOGETHER = 80 << 20


def attached(messages: list[dict[str, Any]], model: Model, shelf: Shelf, owner: str) -> list[File]:
    """The files of all messages. Raises Refusal."""
    groups: list[list[File]] = []
    for index, message in enumerate(messages):
        ids = message.get("attachments")
        if not ids:
            continue
        if not isinstance(ids, list) or message["role"] != "user":
            raise invalid(f"messages[{index}].attachments must be an array, of the user's messages")
        groups.append([shelf.find(file_id, owner) for file_id in ids])
    return checked(groups, model)


def checked(groups: list[list[File]], model: Model) -> list[File]:
    """The files of all messages, of texts only the first. groups: those of each message.

    Raises Refusal for what may not be together, and for images of a model that sees none.
    """
    files = [file for group in groups for file in group]
    images = [file for file in files if file.kind == "image"]
    if images and not model.sees:
        raise Refusal(422, "Requested model does not support images")
    if any(sum(file.kind == "image" for file in group) > 1 for group in groups):
        raise invalid("a message may have one image")
    if len(images) > IMAGES_A_REQUEST:
        raise invalid(f"a session may have {IMAGES_A_REQUEST} images")
    if len({file.kind for file in files}) > 1:
        raise invalid("attachments must be of one kind")
    if sum(len(file.content) for file in files if file.kind != "document") > TOGETHER:
        raise Refusal(413)
    return files[:1] if files and files[0].kind == "document" else files
