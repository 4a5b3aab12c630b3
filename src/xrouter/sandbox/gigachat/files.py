"""Files of the simulated GigaChat: uploaded, kept, attached, and the pictures it draws."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal
from uuid import uuid4

from msgspec import Struct

from xrouter.domain.multipart import boundary_of
from xrouter.sandbox.gigachat.errors import Refusal, invalid
from xrouter.sandbox.kit import SandboxRequest, SandboxResponse, count_tokens, json_response

Kind = Literal["image", "document", "audio"]

FILES_KEPT = 1000
BYTES_KEPT = 256 << 20
NO_SUCH_FILE = "No such file"
_MIB = 1 << 20
_MOST: dict[Kind, int] = {"image": 15 * _MIB, "document": 40 * _MIB, "audio": 35 * _MIB}
_IMAGE_TOKENS = 256
_BYTES_A_TOKEN = 1024

_TYPES: dict[str, tuple[Kind, tuple[str, ...]]] = {
    "image/jpeg": ("image", ("jpeg", "jpg")),
    "image/png": ("image", ("png",)),
    "image/tiff": ("image", ("tiff", "tif")),
    "image/bmp": ("image", ("bmp",)),
    "image/x-ms-bmp": ("image", ("bmp",)),
    "text/plain": ("document", ("txt",)),
    "application/pdf": ("document", ("pdf",)),
    "application/epub+zip": ("document", ("epub",)),
    "application/msword": ("document", ("doc",)),
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": (
        "document",
        ("docx",),
    ),
    "application/vnd.ms-powerpoint": ("document", ("ppt",)),
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": (
        "document",
        ("pptx",),
    ),
    "audio/mpeg": ("audio", ("mp3",)),
    "audio/mp4": ("audio", ("mp4", "m4a")),
    "video/mp4": ("audio", ("mp4",)),
    "audio/x-m4a": ("audio", ("m4a",)),
    "audio/wav": ("audio", ("wav",)),
    "audio/x-wav": ("audio", ("wav",)),
    "audio/webm": ("audio", ("weba",)),
    "audio/ogg": ("audio", ("ogg", "opus")),
    "audio/opus": ("audio", ("opus",)),
}
_NAME = re.compile(rb'content-disposition:[^\r\n]*;\s*name="([^"]*)"', re.IGNORECASE)
_FILENAME = re.compile(rb'filename="([^"]*)"', re.IGNORECASE)
_TYPE = re.compile(rb"content-type:\s*([^\s;]+)", re.IGNORECASE)


class File(Struct):
    """A file. account: whose it is. client: the X-Client-ID that its content is for, or None.

    created: unix seconds.
    """

    id: str
    account: str
    name: str
    type: str
    kind: Kind
    purpose: str
    created: int
    content: bytes
    client: str | None = None

    def row(self) -> dict[str, Any]:
        """As the API tells of it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.content),
            "created_at": self.created,
            "filename": self.name,
            "purpose": self.purpose,
            "access_policy": "private",
        }

    @property
    def text(self) -> str:
        """What a plain text says, "" for all else."""
        return self.content.decode(errors="replace") if self.type == "text/plain" else ""

    @property
    def tokens(self) -> int:
        """What it costs in a prompt."""
        if self.kind == "image":
            return _IMAGE_TOKENS
        return count_tokens(self.text) or -(-len(self.content) // _BYTES_A_TOKEN)


class Shelf:
    """All files of all accounts; the oldest go when there are too many. clock: unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._files: dict[str, File] = {}
        self._bytes = 0

    def answer(self, request: SandboxRequest, path: str, account: str) -> SandboxResponse:
        """Answer a request for /files; `path` begins with that."""
        steps = path.split("/")[2:]
        if not steps:
            if request.method == "POST":
                return json_response(self._upload(request, account).row())
            _only(request, "GET")
            rows = [file.row() for file in self._files.values() if file.account == account]
            return json_response({"data": rows})
        file = self.find(steps[0], account)
        if steps[1:] == ["delete"]:
            _only(request, "POST")
            self._remove(file)
            return json_response({"id": file.id, "object": "file", "deleted": True})
        _only(request, "GET")
        if not steps[1:]:
            return json_response(file.row())
        if steps[1:] != ["content"]:
            raise Refusal(404, "Not Found")
        if file.client not in (None, request.headers.get("x-client-id")):
            raise Refusal(404, NO_SUCH_FILE)
        return SandboxResponse(headers={"content-type": file.type}, body=file.content)

    def find(self, file_id: Any, account: str) -> File:
        """The account's file. Raises Refusal."""
        file = self._files.get(file_id) if isinstance(file_id, str) else None
        if file is None or file.account != account:
            raise Refusal(404, NO_SUCH_FILE)
        return file

    def add_picture(self, picture: bytes, account: str, client: str | None) -> str:
        """Keep a picture that was drawn; its id."""
        file = File(
            id=str(uuid4()),
            account=account,
            name="image.jpg",
            type="image/jpeg",
            kind="image",
            purpose="general",
            created=int(self._clock()),
            content=picture,
            client=client,
        )
        return self._put(file).id

    def _upload(self, request: SandboxRequest, account: str) -> File:
        fields, sent = _form(request)
        if sent is None:
            raise invalid("file is required")
        purpose = fields.get("purpose")
        if purpose not in ("general", "assistant"):
            raise invalid("purpose must be one of general, assistant")
        name, typed, content = sent
        ending = name.rpartition(".")[2].lower()
        if typed not in _TYPES or ending not in _TYPES[typed][1]:
            raise invalid(f"unsupported file type {typed} of {name}")
        if purpose == "assistant" and typed == "application/pdf":
            raise invalid("files of this type are not for assistants")
        if not content:
            raise invalid("file is empty")
        kind = _TYPES[typed][0]
        if len(content) > _MOST[kind]:
            raise Refusal(413)
        return self._put(
            File(
                id=str(uuid4()),
                account=account,
                name=name,
                type=typed,
                kind=kind,
                purpose=purpose,
                created=int(self._clock()),
                content=content,
            )
        )

    def _put(self, file: File) -> File:
        self._files[file.id] = file
        self._bytes += len(file.content)
        while len(self._files) > FILES_KEPT or self._bytes > BYTES_KEPT:
            self._remove(next(iter(self._files.values())))
        return file

    def _remove(self, file: File) -> None:
        del self._files[file.id]
        self._bytes -= len(file.content)


def _form(request: SandboxRequest) -> tuple[dict[str, str], tuple[str, str, bytes] | None]:
    """The fields of a form, and its file: name, content type, content. Raises Refusal."""
    boundary = boundary_of(request.headers.get("content-type", ""))
    if boundary is None:
        raise Refusal(400, "multipart/form-data is expected")
    first, *pieces = (b"\r\n" + request.body).split(b"\r\n--" + boundary)
    if first or not pieces or not pieces[-1].startswith(b"--"):
        raise Refusal(400, "the form is malformed")
    fields: dict[str, str] = {}
    file: tuple[str, str, bytes] | None = None
    for piece in pieces[:-1]:
        head, mark, value = piece.partition(b"\r\n\r\n")
        name, filename, typed = _NAME.search(head), _FILENAME.search(head), _TYPE.search(head)
        if not mark or name is None:
            raise Refusal(400, "the form is malformed")
        if name[1] == b"file" and filename is not None:
            content_type = typed[1].decode("latin-1").lower() if typed else ""
            file = (filename[1].decode(errors="replace"), content_type, value)
        else:
            fields[name[1].decode(errors="replace")] = value.decode(errors="replace")
    return fields, file


def _only(request: SandboxRequest, method: str) -> None:
    if request.method != method:
        raise Refusal(405)
