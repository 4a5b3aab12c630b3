"""Files of the simulated GigaChat: uploads, attachments, and the pictures it draws."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.sandbox.test_gigachat import CHAT, CLOCK, MAX, Caller, asked, close, error, is_uuid

from xrouter.sandbox.gigachat import files
from xrouter.sandbox.gigachat.jpeg import picture
from xrouter.sandbox.kit import SandboxResponse

FILES = "/api/v1/files"
MIB = 1 << 20
TAG = re.compile(r'<img src="([0-9a-f-]{36})" fuse="true"/>')
GONE = (404, "No such file")


def form(
    name: str = "a.jpg",
    typed: str = "image/jpeg",
    content: bytes = b"jpeg",
    purpose: str | None = "general",
) -> bytes:
    parts = [
        f'content-disposition: form-data; name="file"; filename="{name}"\r\n'
        f"content-type: {typed}\r\n\r\n".encode()
        + content
    ]
    if purpose is not None:
        parts.append(f'content-disposition: form-data; name="purpose"\r\n\r\n{purpose}'.encode())
    return b"".join(b"--xx\r\n" + part + b"\r\n" for part in parts) + b"--xx--\r\n"


async def send(caller: Caller, body: bytes) -> SandboxResponse:
    return await caller.call(FILES, body, content_type="multipart/form-data; boundary=xx")


async def upload(caller: Caller, **what: Any) -> str:
    response = await send(caller, form(**what))
    assert response.status == 200, response.body
    return str(json.loads(response.body)["id"])


async def get(caller: Caller, path: str = "", **headers: str) -> SandboxResponse:
    return await caller.call(FILES + path, method="GET", **headers)


def shown(*ids: str, model: str = MAX) -> dict[str, Any]:
    """A chat with a message for each file."""
    messages = [{"role": "user", "content": "look", "attachments": [one]} for one in ids]
    return {"model": model, "messages": messages}


@pytest.fixture
async def caller() -> Caller:
    caller = Caller()
    await caller.login()
    return caller


async def test_a_file_lives_from_upload_to_deletion(caller: Caller) -> None:
    file_id = await upload(caller)
    row = {
        "id": file_id,
        "object": "file",
        "bytes": 4,
        "created_at": int(caller.now),
        "filename": "a.jpg",
        "purpose": "general",
        "access_policy": "private",
    }
    assert is_uuid(file_id)
    assert json.loads((await get(caller)).body) == {"data": [row]}
    assert json.loads((await get(caller, f"/{file_id}")).body) == row
    content = await get(caller, f"/{file_id}/content")
    assert (content.body, content.headers["content-type"]) == (b"jpeg", "image/jpeg")
    deleted = await caller.call(f"{FILES}/{file_id}/delete")
    assert json.loads(deleted.body) == {"id": file_id, "object": "file", "deleted": True}
    assert json.loads((await get(caller)).body) == {"data": []}
    assert error(await get(caller, f"/{file_id}")) == GONE
    assert error(await caller.call(f"{FILES}/{file_id}/delete")) == GONE


async def test_deletion_is_a_post_and_unknown_steps_are_not_found(caller: Caller) -> None:
    file_id = await upload(caller)
    assert error(await caller.call(f"{FILES}/{file_id}", method="DELETE"))[0] == 405
    assert error(await get(caller, f"/{file_id}/delete"))[0] == 405
    assert error(await caller.call(FILES, method="DELETE"))[0] == 405
    assert error(await get(caller, f"/{file_id}/text"))[0] == 404


async def test_files_of_others_are_not_there(caller: Caller) -> None:
    file_id = await upload(caller)
    await caller.login("b2b", "other")
    assert json.loads((await get(caller)).body) == {"data": []}
    assert error(await get(caller, f"/{file_id}/content")) == GONE
    assert error(await caller.call(CHAT, shown(file_id))) == GONE


@pytest.mark.parametrize(
    "body, status",
    [
        (form(purpose=None), 422),
        (form(purpose="vision"), 422),
        (form("a.pdf", "application/pdf", purpose="assistant"), 422),
        (form("a.gif", "image/gif"), 422),
        (form("a.webp", "image/webp"), 422),
        (form("a.jpg", "application/octet-stream"), 422),
        (form("a.png", "image/jpeg"), 422),
        (form("blob", "image/jpeg"), 422),
        (form(content=b""), 422),
        (
            b'--xx\r\ncontent-disposition: form-data; name="purpose"\r\n\r\ngeneral\r\n--xx--\r\n',
            422,
        ),
        (b"--xx\r\nwithout a head\r\n--xx--\r\n", 400),
        (b"no form", 400),
        (form(content=b"x" * (15 * MIB + 1)), 413),
        (form("a.mp3", "audio/mpeg", b"x" * (35 * MIB + 1)), 413),
        (form("a.txt", "text/plain", b"x" * (40 * MIB + 1)), 413),
    ],
    ids=range(15),
)
async def test_uploads_refused(caller: Caller, body: bytes, status: int) -> None:
    assert error(await send(caller, body))[0] == status


async def test_an_upload_is_a_form(caller: Caller) -> None:
    assert error(await caller.call(FILES, {"purpose": "general"}))[0] == 400


@pytest.mark.parametrize(
    "name, typed",
    [
        ("a.jpeg", "image/jpeg"),
        ("a.png", "image/png"),
        ("a.tiff", "image/tiff"),
        ("a.bmp", "image/bmp"),
        ("a.txt", "text/plain"),
        ("a.pdf", "application/pdf"),
        ("a.epub", "application/epub+zip"),
        ("a.mp3", "audio/mpeg"),
        ("a.wav", "audio/wav"),
        ("a.ogg", "audio/ogg"),
        ("a.weba", "audio/webm"),
    ],
)
async def test_types_taken(caller: Caller, name: str, typed: str) -> None:
    assert is_uuid(await upload(caller, name=name, typed=typed))


async def test_the_oldest_go_when_there_are_too_many(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "FILES_KEPT", 2)
    first, *kept = [await upload(caller) for _ in range(3)]
    listed = json.loads((await get(caller)).body)["data"]
    assert [row["id"] for row in listed] == kept
    monkeypatch.setattr(files, "BYTES_KEPT", 7)
    await upload(caller)
    assert len(json.loads((await get(caller)).body)["data"]) == 1
    assert error(await get(caller, f"/{first}")) == GONE


async def test_images_are_seen_and_paid(caller: Caller) -> None:
    ids = [await upload(caller, name=f"{one}.png", typed="image/png") for one in "abcdefghij"]
    answer = await caller.ask(shown(*ids))
    assert "Attached: a.png, b.png" in answer["choices"][0]["message"]["content"]
    assert answer["usage"]["prompt_tokens"] == 10 + 10 * 256
    assert caller.bill[-1].tokens_in == answer["usage"]["prompt_tokens"]
    more = await upload(caller)
    assert error(await caller.call(CHAT, shown(*ids, more)))[0] == 422


async def test_only_the_first_document_is_read(caller: Caller) -> None:
    one = await upload(caller, name="a.txt", typed="text/plain", content=b"rivers of the north")
    two = await upload(caller, name="b.txt", typed="text/plain", content=b"and of the south")
    text = (await caller.ask(shown(one, two)))["choices"][0]["message"]["content"]
    assert text.endswith("Attached: a.txt. It reads: rivers of the north")


@pytest.mark.parametrize("model", ["GigaChat", "GigaChat-2", "GigaChat-Plus"])
async def test_small_models_see_nothing(caller: Caller, model: str) -> None:
    refused = error(await caller.call(CHAT, shown(await upload(caller), model=model)))
    assert refused == (422, "Requested model does not support images")
    heard = await upload(caller, name="a.mp3", typed="audio/mpeg")
    await caller.ask(shown(heard, model=model))


async def test_attachments_refused(caller: Caller) -> None:
    image = await upload(caller)
    sound = await upload(caller, name="a.mp3", typed="audio/mpeg")
    two = asked()["messages"][0] | {"attachments": [image, image]}
    assert error(await caller.call(CHAT, asked(messages=[two])))[0] == 422
    assert error(await caller.call(CHAT, shown(image, sound)))[0] == 422
    assert error(await caller.call(CHAT, shown("a"))) == GONE
    assert error(await caller.call(CHAT, asked(messages=[two | {"attachments": "a"}])))[0] == 422
    told = {"role": "assistant", "content": "x", "attachments": [image]}
    assert error(await caller.call(CHAT, asked(messages=[told])))[0] == 422
    assert caller.bill == []


async def test_a_document_that_does_not_fit(caller: Caller) -> None:
    long = await upload(caller, name="a.txt", typed="text/plain", content=b"word " * 131_100)
    expected = (422, "Unprocessable Entity")
    assert error(await caller.call(CHAT, shown(long))) == expected


async def test_a_chat_has_twenty_mebibytes_at_most(caller: Caller) -> None:
    assert error(await caller.call(CHAT, asked("x" * 20 * MIB))) == (413, "Payload too large")


@pytest.mark.parametrize("text", ["Draw a cat", "Нарисуй кота", "A cat, please [[draw]]"])
async def test_drawing(caller: Caller, text: str) -> None:
    answer = await caller.ask(asked(text, function_call="auto"))
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert is_uuid(choice["message"]["functions_state_id"])
    tag = TAG.search(choice["message"]["content"])
    assert tag is not None
    content = await get(caller, f"/{tag[1]}/content", accept="application/jpg")
    assert content.headers["content-type"] == "image/jpeg"
    assert is_jpeg(content.body)


async def test_a_system_message_can_ask_for_a_drawing(caller: Caller) -> None:
    messages = [{"role": "system", "content": "Draw it."}, {"role": "user", "content": "A cat"}]
    answer = await caller.ask(asked(messages=messages, function_call="auto"))
    assert TAG.search(answer["choices"][0]["message"]["content"])


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"function_call": "none"},
        {"functions": [CLOCK], "function_call": "auto"},
        {"function_call": "auto", "messages": [{"role": "user", "content": "Say something"}]},
    ],
)
async def test_nothing_is_drawn_unasked(caller: Caller, more: dict[str, Any]) -> None:
    answer = await caller.ask(asked("Draw a cat") | more)
    assert "<img" not in answer["choices"][0]["message"]["content"]
    assert json.loads((await get(caller)).body) == {"data": []}


async def test_what_is_forbidden_is_not_drawn(caller: Caller) -> None:
    answer = await caller.ask(asked("Draw [[blacklist]]", function_call="auto"))
    assert answer["choices"][0]["finish_reason"] == "blacklist"


async def test_a_drawing_in_a_stream(caller: Caller) -> None:
    chunks = await caller.chunks(asked("Draw a cat", function_call="auto"))
    work, *said = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert work["role"] == "function_in_progress"
    assert work["name"] == "text2image"
    assert TAG.search("".join(delta["content"] for delta in said))
    assert not any(TAG.search(delta["content"]) for delta in said)
    assert is_uuid(said[-1]["functions_state_id"])
    assert caller.bill[0].tokens_out == chunks[-1]["usage"]["completion_tokens"]


async def test_a_drawing_belongs_to_its_client_id(caller: Caller) -> None:
    response = await caller.call(CHAT, asked("Draw a cat", function_call="auto"), x_client_id="me")
    close(response)
    assert response.headers["x-client-id"] == "me"
    tag = TAG.search(json.loads(response.body)["choices"][0]["message"]["content"])
    assert tag is not None
    path = f"/{tag[1]}/content"
    assert error(await get(caller, path)) == GONE
    assert error(await get(caller, path, x_client_id="you")) == GONE
    assert (await get(caller, path, x_client_id="me")).status == 200


def is_jpeg(data: bytes) -> bool:
    """Whether all its segments are whole, and a scan follows them."""
    assert data[:2] == b"\xff\xd8"
    assert data[-2:] == b"\xff\xd9"
    place = 2
    markers: list[int] = []
    while not markers or markers[-1] != 0xDA:
        assert data[place] == 0xFF
        markers.append(data[place + 1])
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return markers == [0xE0, 0xDB, 0xC0, 0xC4, 0xC4, 0xDA] and place < len(data) - 2


def test_pictures_hold_the_grey_of_their_text() -> None:
    """The scan is decoded as the standard says: category, bits of the level, end, filling."""
    for number in range(300):
        data = picture(str(number))
        assert is_jpeg(data)
        scan = data[data.index(b"\xff\xda") + 10 : -2].replace(b"\xff\0", b"\xff")
        bits = "".join(f"{byte:08b}" for byte in scan)
        size = int(bits[:4], 2)
        held = int(bits[4 : 4 + size] or "0", 2)
        level = held if not size or bits[4] == "1" else held - (1 << size) + 1
        assert -1024 <= level <= 1016
        assert level % 8 == 0
        assert bits[4 + size] == "0"
        assert set(bits[5 + size :]) <= {"1"}
