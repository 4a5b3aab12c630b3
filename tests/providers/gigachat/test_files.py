"""Attachments: uploaded once, reused for a while, deleted later."""

import json
from typing import Any

import pytest
from tests.providers.gigachat.asking import (
    PNG,
    adapter_of,
    ask,
    image,
    play,
    reply,
    said,
    sent,
    target_of,
    user,
)

from xrouter.domain.chat import Message
from xrouter.domain.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamMalformed,
    UpstreamRateLimited,
    UpstreamUnreachable,
    XRouterError,
)
from xrouter.domain.images import ImagesRequest
from xrouter.providers.gigachat import media as media_module
from xrouter.providers.gigachat.adapter import GigaChatAdapter
from xrouter.providers.gigachat.files import Files
from xrouter.providers.gigachat.media import check_together
from xrouter.providers.gigachat.messages import read_history

NOW = 1_769_000_000.0
OURS = "xrouter-" + "0" * 32 + ".png"


def uploaded(file_id: str = "id-1", **more: Any) -> Any:
    return reply(200, {"id": file_id, "object": "file", "created_at": int(NOW), **more})


def listed(*files: tuple[str, str, float]) -> Any:
    data = [{"id": i, "filename": name, "created_at": at} for i, name, at in files]
    return reply(200, {"data": data})


def with_image(adapter: GigaChatAdapter) -> None:
    play(ask(adapter, messages=user(image())).before(), uploaded())


def test_the_upload_is_a_form_of_purpose_and_file() -> None:
    _, (wire,) = play(ask(adapter_of(), messages=user(image())).before(), uploaded())
    boundary = wire.headers["content-type"].removeprefix("multipart/form-data; boundary=")
    purpose, file = wire.body.removesuffix(f"--{boundary}--\r\n".encode()).split(
        f"--{boundary}\r\n".encode()
    )[1:]
    assert purpose == b'content-disposition: form-data; name="purpose"\r\n\r\ngeneral\r\n'
    head, _, content = file.partition(b"\r\n\r\n")
    assert content == PNG + b"\r\n"
    assert b"content-type: image/png" in head
    name = head.split(b'filename="')[1].split(b'"')[0].decode()
    assert name.startswith("xrouter-")
    assert name.endswith(".png")
    assert boundary.encode() not in PNG
    assert (wire.method, wire.url, wire.foreign) == ("POST", "http://h/v1/files", False)


def test_the_same_content_is_uploaded_once() -> None:
    adapter = adapter_of()
    with_image(adapter)
    again = ask(adapter, messages=user(image(), {"type": "text", "text": "?"}))
    assert again.before() is None
    assert sent(again)["messages"] == [{"role": "user", "content": "?", "attachments": ["id-1"]}]
    assert ask(adapter, messages=user(image(PNG + b"1"))).before() is not None


def test_a_lost_file_is_uploaded_anew_once() -> None:
    adapter = adapter_of()
    with_image(adapter)
    exchange = ask(adapter, messages=user(image()))
    lost = adapter.decode_error(reply(404, {"status": 404, "message": "No such attachment"}))
    other = exchange.instead(lost)
    assert other is not None
    play(other.before(), uploaded("id-2"))
    assert sent(other)["messages"][0]["attachments"] == ["id-2"]
    assert other.instead(lost) is None


def test_other_errors_are_not_about_files() -> None:
    adapter = adapter_of()
    with_image(adapter)
    for status, text in ((404, "No such model"), (422, "bad"), (500, "file"), (429, "file")):
        error = adapter.decode_error(reply(status, {"status": status, "message": text}))
        assert ask(adapter, messages=user(image())).instead(error) is None


def test_other_ways_keep_what_was_uploaded() -> None:
    adapter = adapter_of()
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    exchange = ask(adapter, messages=user(image()), response_format=form)
    play(exchange.before(), uploaded())
    error = adapter.decode_error(reply(422, {"message": "response_format is unknown"}))
    other = exchange.instead(error)
    assert other is not None
    assert other.before() is None
    assert sent(other)["messages"][0]["attachments"] == ["id-1"]


@pytest.mark.parametrize(
    "status,kind,param",
    [
        (400, InvalidRequest, "messages[0].content[0]"),
        (413, ContextLengthExceeded, "messages"),
        (404, UpstreamFailed, None),
        (403, UpstreamDenied, None),
        (429, UpstreamRateLimited, None),
        (500, UpstreamFailed, None),
    ],
)
def test_a_failed_upload(status: int, kind: type[XRouterError], param: str | None) -> None:
    errand = ask(adapter_of(), messages=user(image())).before()
    with pytest.raises(XRouterError) as raised:
        play(errand, reply(status, {"status": status, "message": "m"}))
    assert type(raised.value) is kind
    assert raised.value.param == param
    assert raised.value.upstream_status == status


@pytest.mark.parametrize("body", ["<html>", [], {}, {"id": 5}, {"id": ""}])
def test_an_upload_without_an_id(body: Any) -> None:
    with pytest.raises(UpstreamMalformed):
        play(ask(adapter_of(), messages=user(image())).before(), reply(200, body))


# --- images by address


def fetching() -> Any:
    part = {"type": "image_url", "image_url": {"url": "https://example.org/cat"}}
    return ask(adapter_of(options={"image_urls": "fetch"}), messages=user(part)).before()


def test_an_address_is_foreign() -> None:
    answers = (reply(200, PNG, **{"content-type": "text/html"}), uploaded())
    _, wires = play(fetching(), *answers)
    assert [wire.foreign for wire in wires] == [True, False]
    assert b"content-type: image/png" in wires[1].body


@pytest.mark.parametrize(
    "answer",
    [
        reply(404, "no"),
        reply(302, "", location="http://127.0.0.1/"),
        reply(200, "<html>", **{"content-type": "text/html"}),
        reply(200, "", **{"content-type": "image/png"}),
        UpstreamUnreachable("There is nobody."),
    ],
)
def test_an_address_without_an_image_is_the_callers(answer: Any) -> None:
    with pytest.raises(InvalidRequest) as raised:
        play(fetching(), answer)
    assert (raised.value.param or "").startswith("messages[0].content[0]")


# --- limits


def test_files_that_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"image": 20, "document": 30, "audio": 30}
    monkeypatch.setattr(media_module, "_MAX_BYTES", limits)
    with pytest.raises(InvalidRequest, match="at most"):
        ask(adapter_of(), messages=user(image(PNG + b"x" * 20)))
    with pytest.raises(InvalidRequest, match="at most"):
        play(fetching(), reply(200, PNG + b"x" * 20))


def test_files_that_are_too_large_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_module, "_MAX_TOGETHER", 25)
    messages = [Message(role="user", content=[image(PNG + bytes([i]))]) for i in range(3)]
    check_together(read_history(messages[:2]).media)
    with pytest.raises(InvalidRequest, match="together") as raised:
        check_together(read_history(messages).media)
    assert raised.value.param == "messages[2].content[0]"


@pytest.mark.parametrize(
    "part,kind",
    [
        (image(b"MM\x00*", "image/tiff"), "image/tiff"),
        (image(b"BMxx", "image/x-ms-bmp"), "image/bmp"),
        (image(b"\xff\xd8\xff", "image/png"), "image/jpeg"),
        ({"type": "input_image", "image_url": image()["image_url"]["url"]}, "image/png"),
        ({"type": "input_audio", "input_audio": {"data": "aaaa", "format": "MP3"}}, "audio/mpeg"),
        ({"type": "file", "file": {"file_data": "aaaa", "filename": "a.docx"}}, None),
        ({"type": "input_file", "file_data": "aaaa", "filename": "a.MD"}, "text/plain"),
        ({"type": "file", "file": {"file_data": "data:text/csv;base64,aaaa"}}, "text/plain"),
    ],
)
def test_types(part: dict[str, Any], kind: str | None) -> None:
    (found,) = read_history([Message(role="user", content=[part])]).media
    assert kind is None or found.type == kind
    assert found.message["content"] == f"[{found.kind}]"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url"},
        {"type": "image_url", "image_url": {"url": ""}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,***"}},
        {"type": "image_url", "image_url": {"url": "data:image/png,raw"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}},
        image(b"RIFF0000WEBP", "image/png"),
        image(b"%PDF", "application/pdf"),
        {"type": "input_audio"},
        {"type": "input_audio", "input_audio": {"data": "aaaa", "format": "flac"}},
        {"type": "input_audio", "input_audio": {"data": "aaaa", "format": "pdf"}},
        {"type": "file"},
        {"type": "file", "file": {"file_data": "aaaa"}},
        {"type": "file", "file": {"file_data": "aaaa", "filename": "a.exe"}},
        {"type": "file", "file": {"file_data": "data:application/zip;base64,aaaa"}},
        {"type": "input_file", "file_url": "https://example.org/a.pdf"},
    ],
)
def test_parts_that_are_no_files(part: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read_history([Message(role="user", content=[part])])
    assert (raised.value.param or "").startswith("messages[0].content[0]")


# --- what is kept


def test_what_is_remembered_is_bounded() -> None:
    files = Files()
    for number in range(5000):
        files.add(f"n{number}", f"i{number}", NOW)
    assert files.find("n0") is None
    assert files.find("n4999") == "i4999"
    assert len(files.retire(NOW)) <= 2048


def test_old_files_of_ours_are_deleted() -> None:
    answers = [
        listed(
            ("left", OURS, NOW - 3601),
            ("left-ms", OURS, (NOW - 3601) * 1000),
            ("young", OURS, NOW - 3599),
            ("foreign", "report.pdf", NOW - 9999),
            ("../x", OURS, NOW - 9999),
        ),
        reply(200, {"deleted": True}),
        reply(500, "<html>"),
    ]
    _, wires = play(adapter_of().chores(NOW), *answers)
    assert [(wire.method, wire.url) for wire in wires] == [
        ("GET", "http://h/v1/files"),
        ("POST", "http://h/v1/files/left/delete"),
        ("POST", "http://h/v1/files/left-ms/delete"),
    ]


def test_a_file_in_use_is_deleted_only_after_it_was_forgotten() -> None:
    adapter = adapter_of()
    with_image(adapter)
    later = NOW + 4000
    play(adapter.chores(NOW + 1700), listed(("id-1", OURS, NOW)))
    assert ask(adapter, messages=user(image())).before() is None
    play(adapter.chores(later), listed(("id-1", OURS, NOW)))
    assert ask(adapter, messages=user(image())).before() is not None
    _, wires = play(adapter.chores(later), listed(("id-1", OURS, NOW)), reply(200, {}))
    assert wires[1].url.endswith("/files/id-1/delete")


def test_a_file_of_unknown_age_is_forgotten_in_time() -> None:
    adapter = adapter_of()
    play(ask(adapter, messages=user(image())).before(), reply(200, {"id": "id-1"}))
    play(adapter.chores(NOW), listed())
    assert ask(adapter, messages=user(image())).before() is None
    play(adapter.chores(NOW + 1801), listed())
    assert ask(adapter, messages=user(image())).before() is not None


def test_chores_of_an_account_without_files() -> None:
    for status in (403, 404):
        play(adapter_of().chores(NOW), reply(status, ""))
    play(adapter_of().chores(NOW), reply(200, {"data": None}))
    with pytest.raises(UpstreamFailed):
        play(adapter_of().chores(NOW), reply(500, ""))
    with pytest.raises(UpstreamMalformed):
        play(adapter_of().chores(NOW), reply(200, "<html>"))


def test_a_chore_deletes_a_bounded_number_of_files() -> None:
    files = [(f"i{n}", OURS, 0.0) for n in range(500)]
    _, wires = play(adapter_of().chores(NOW), listed(*files), *[reply(200, {})] * 200)
    assert len(wires) == 201


# --- what was drawn


def test_pictures_of_an_answer_are_downloaded() -> None:
    exchange = ask(adapter_of(), modalities=["image"])
    tag = '<img src="{}" fuse="true"/>'
    exchange.answer(said(tag.format("picture-1") + tag.format("picture-2")))
    added, wires = play(exchange.after(), reply(200, PNG), reply(200, b"other"))
    assert [wire.url.split("/")[-2] for wire in wires] == ["picture-1", "picture-2"]
    urls = [part["image_url"]["url"] for part in (added[0].extra or {})["images"]]
    assert [url.partition(";")[0] for url in urls] == ["data:image/png", "data:image/jpeg"]


@pytest.mark.parametrize("answer", [reply(404, ""), reply(200, "")])
def test_a_picture_that_is_not_there(answer: Any) -> None:
    exchange = ask(adapter_of(), modalities=["image"])
    exchange.answer(said('<img src="picture-1" fuse="true"/>'))
    with pytest.raises(XRouterError) as raised:
        play(exchange.after(), answer)
    assert raised.value.blame == "provider"


def test_the_model_of_pictures_is_the_targets() -> None:
    adapter = adapter_of()
    target = target_of(adapter, "GigaChat-2")
    wire = next(adapter.images(media_request(), target))
    assert json.loads(wire.body)["model"] == "GigaChat-2"


def media_request() -> Any:
    return ImagesRequest(model="m", prompt="A cat", fields={})
