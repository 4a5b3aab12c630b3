"""The status that everybody may see: what it says, and what it must not."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any

import pytest
from tests.edge.harness import House, open_house
from typing_extensions import override

from xrouter.domain.errors import NotReady
from xrouter.domain.status import ModelStatus, PublicStatus, StatusView

SINCE = 1_767_355_200
"""2026-01-02 12:00 UTC."""


def row(model: str, state: Any = "available", **more: Any) -> ModelStatus:
    given = {"name": model.upper(), "provider": model.partition("/")[0], "channels": ()} | more
    return ModelStatus(id=model, state=state, **given)


FOUR = (
    row("acme/bad", "unavailable", since=SINCE),
    row("acme/good", channels=("latest", "rc")),
    row("acme/old", "deprecated", successor="acme/good", retires_at=SINCE + 86400),
    row("other/so-so", "degraded", name='<b>"&', since=SINCE + 60),
)


class Told(PublicStatus):
    """Says what the test says."""

    def __init__(self, *models: ModelStatus) -> None:
        self.view: StatusView | None = StatusView(SINCE, models)

    @override
    async def look(self) -> StatusView:
        if self.view is None:
            raise NotReady("There is no catalog yet.")
        return self.view


@pytest.fixture
def told() -> Told:
    return Told(*FOUR)


@pytest.fixture
async def site(told: Told) -> AsyncIterator[House]:
    async with open_house(status=told) as house:
        yield house


class Page(HTMLParser):
    """What is on a page. Tags must be closed in order."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._open: list[str] = []
        self.feed(body.decode())
        assert self._open == []

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.links += [value or "" for name, value in attrs if name == "href"]
        if tag not in ("meta", "link", "input"):
            self._open.append(tag)

    @override
    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    @override
    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


async def page(site: House, path: str = "/status", **headers: str) -> Page:
    answer = await site.call("GET", path, headers=headers)
    assert answer.status == 200
    return Page(answer.body)


async def test_the_document(site: House) -> None:
    answer = await site.call("GET", "/status.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "public, max-age=5"
    assert answer.json["watched_since"] == SINCE
    assert answer.json["counts"] == {
        "available": 1, "degraded": 1, "unavailable": 1, "deprecated": 1
    }  # fmt: skip
    assert answer.json["models"][:3] == [
        {"id": "acme/bad", "name": "ACME/BAD", "provider": "acme", "state": "unavailable",
         "channels": [], "since": SINCE},
        {"id": "acme/good", "name": "ACME/GOOD", "provider": "acme", "state": "available",
         "channels": ["latest", "rc"]},
        {"id": "acme/old", "name": "ACME/OLD", "provider": "acme", "state": "deprecated",
         "channels": [], "successor": "acme/good", "retires_at": SINCE + 86400},
    ]  # fmt: skip
    assert "next" not in answer.json


async def test_the_document_comes_in_parts(site: House, told: Told) -> None:
    told.view = StatusView(SINCE, tuple(row(f"acme/{n:05}") for n in range(2500)))
    found: list[str] = []
    after: str | None = ""
    parts = 0
    while after is not None:
        said = (await site.call("GET", f"/status.json?after={after}")).json
        found += [model["id"] for model in said["models"]]
        after, parts = said.get("next"), parts + 1
    assert (parts, found) == (3, [f"acme/{n:05}" for n in range(2500)])
    said = (await site.call("GET", "/status.json?limit=2&after=acme/00002x")).json
    assert [model["id"] for model in said["models"]] == ["acme/00003", "acme/00004"]


@pytest.mark.parametrize(
    "query, ids",
    [
        ("state=deprecated", ["acme/old"]),
        ("q=OTHER", ["other/so-so"]),
        ("q=good&state=unavailable", []),
        ("q=%D0", []),
    ],
)
async def test_a_part_can_be_asked_for(site: House, query: str, ids: list[str]) -> None:
    said = (await site.call("GET", f"/status.json?{query}")).json
    assert [model["id"] for model in said["models"]] == ids
    assert sum(said["counts"].values()) == 4


@pytest.mark.parametrize(
    "query, param",
    [("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"), ("state=fine", "state")],
)
async def test_what_makes_no_sense_is_refused_by_name(site: House, query: str, param: str) -> None:
    answer = await site.call("GET", f"/status.json?{query}")
    assert (answer.status, answer.error["param"]) == (400, param)


@pytest.mark.parametrize("path", ["/status", "/status.json", "/status?lang=ru&q=acme"])
async def test_who_has_it_already_is_not_sent_it_again(site: House, told: Told, path: str) -> None:
    first = await site.call("GET", path)
    tag = first.headers["etag"]
    for said in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await site.call("GET", path, headers={"if-none-match": said})
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    told.view = StatusView(SINCE, FOUR[:3])
    changed = await site.call("GET", path, headers={"if-none-match": tag})
    assert changed.status == 200
    assert changed.headers["etag"] != tag
    assert (await site.call("HEAD", path)).body == b""


async def test_the_page_needs_nothing_but_itself(site: House) -> None:
    answer = await site.call("GET", "/status")
    shown = Page(answer.body)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "script" not in answer.headers["content-security-policy"]
    assert "script" not in shown.tags
    assert "style" not in shown.tags
    assert not [name for name, _ in shown.attributes if name.startswith("on") or name == "style"]
    assert all(link.startswith("/status") for link in shown.links)
    style = await site.call("GET", "/status.css")
    assert style.headers["content-type"].startswith("text/css")
    assert b"prefers-color-scheme: dark" in style.body
    assert b"://" not in style.body


@pytest.mark.parametrize(
    "query, words",
    [
        ("lang=en", "available channels: latest · gone from the provider's list acme/new"),
        ("lang=ru", "доступна каналы: latest · в списке провайдера её больше нет acme/new"),
    ],
)
async def test_the_page_says_what_the_provider_lists_no_more(
    site: House, told: Told, query: str, words: str
) -> None:
    gone = row("acme/bad", name="", channels=("latest",), vanished=True)
    told.view = StatusView(SINCE, (gone, row("acme/new", name="")))
    assert words in (await page(site, f"/status?{query}")).text


async def test_the_page_says_how_each_model_is(site: House) -> None:
    text = (await page(site)).text
    assert "Some models do not answer" in text
    assert "ACME/BAD acme/bad unavailable since 2026-01-02 12:00 UTC" in text
    assert "ACME/GOOD acme/good available channels: latest, rc" in text
    assert "deprecated until 2026-01-03 12:00 UTC · use instead acme/good" in text
    assert '<b>"& other/so-so degraded' in text, "texts are texts, whatever is in them"
    assert "all 4" in text


@pytest.mark.parametrize(
    "models, summary",
    [
        ((), "There are no models."),
        ((row("a/x"), row("a/y", "deprecated")), "Every model answers."),
        ((row("a/x", "unavailable"),), "No model answers at the moment."),
        ((row("a/x", "degraded"),), "Some models do not answer, or answer with less than usual."),
    ],
)
async def test_the_page_begins_with_what_matters(
    site: House, told: Told, models: tuple[ModelStatus, ...], summary: str
) -> None:
    told.view = StatusView(SINCE, models)
    assert summary in (await page(site)).text


@pytest.mark.parametrize(
    "query, accepted, language",
    [
        ("", None, "en"),
        ("", "ru", "ru"),
        ("", "ru-RU,ru;q=0.9,en-US;q=0.8", "ru"),
        ("", "en, ru;q=0.5", "en"),
        ("", "de, ru;q=0.3, *;q=0.1", "ru"),
        ("", "ru;q=0", "en"),
        ("", "ru;q=x, ;;, =", "en"),
        ("?lang=en", "ru", "en"),
        ("?lang=ru", "en", "ru"),
        ("?lang=fr", "ru", "ru"),
    ],
)
async def test_the_language(site: House, query: str, accepted: str | None, language: str) -> None:
    headers = {} if accepted is None else {"accept-language": accepted}
    answer = await site.call("GET", f"/status{query}", headers=headers)
    assert (answer.headers["content-language"], answer.headers["vary"]) == (
        language,
        "accept-language",
    )
    assert ("lang", language) in Page(answer.body).attributes
    assert ("недоступна" in answer.body.decode()) is (language == "ru")


async def test_a_long_list_has_pages(site: House, told: Told) -> None:
    told.view = StatusView(SINCE, tuple(row(f"acme/{n:05}") for n in range(10_000)))
    seen: list[str] = []
    link: str | None = "/status?q=acme&state=available&lang=ru"
    while link is not None:
        shown = await page(site, link)
        seen += re.findall(r"\bacme/\d{5}", shown.text)
        link = next((to for to in shown.links if f"page={len(seen) // 100 + 1}" in to), None)
    assert seen == [f"acme/{n:05}" for n in range(10_000)]
    for odd in ("0", "-1", "x", "9" * 100, "999"):
        assert "acme/" in (await page(site, f"/status?page={odd}")).text


async def test_a_search_is_shown_as_it_was_written(site: House) -> None:
    shown = await page(site, "/status?q=%22%3E%3Cscript%3E%D1%8F&state=degraded&lang=en")
    assert "No model is like that." in shown.text
    assert ("value", '"><script>я') in shown.attributes
    assert "script" not in shown.tags
    assert any("q=%22%3E%3Cscript%3E%D1%8F" in link for link in shown.links)


async def test_not_more_is_kept_than_a_little(site: House) -> None:
    for number in range(100):
        assert (await site.call("GET", f"/status?q={number}")).status == 200


async def test_it_is_not_ready_before_there_is_a_catalog(site: House, told: Told) -> None:
    told.view = None
    for path in ("/status", "/status.json"):
        assert (await site.call("GET", path)).status == 503


async def test_it_can_be_switched_off(house: House) -> None:
    for path in ("/status", "/status.json", "/status.css"):
        assert (await house.call("GET", path)).status == 404
