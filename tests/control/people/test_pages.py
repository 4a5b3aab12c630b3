from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from tests.control.people.conftest import Browser, NewBrowser
from typing_extensions import override

from xrouter.control.people import pages


@pytest.fixture
def db_url(sqlite_url: str) -> str:
    """What is tested here has to do with no database."""
    return sqlite_url


@pytest.mark.parametrize("name", ["setup", "sign-in", "accept", "reset"])
@pytest.mark.parametrize("spoken", ["ru", "en"])
async def test_a_page_is_for_everybody_and_lets_nobody_in(
    browser: NewBrowser, name: str, spoken: str
) -> None:
    reply = await browser().http.get(f"/control/{name}", headers={"accept-language": spoken})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert f'<html lang="{spoken}">' in reply.text
    assert "$" not in reply.text
    policy = reply.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert reply.headers["x-frame-options"] == "DENY"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["setup", "sign-in", "accept", "reset"])
async def test_nothing_is_inline(browser: NewBrowser, name: str) -> None:
    text = (await browser().http.get(f"/control/{name}")).text

    class Look(HTMLParser):
        @override
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            names = {key for key, _ in attrs}
            assert "style" not in names
            assert not any(key.startswith("on") for key in names)
            assert tag != "script" or "src" in names

    Look().feed(text)
    for place in re.findall(r'(?:src|href)="([^"]+)"', text):
        assert (await browser().http.get(place)).status_code == 200


async def test_the_files_of_pages_and_no_others(browser: NewBrowser) -> None:
    person = browser()
    reply = await person.http.get("/control/pages/people.js")
    assert reply.headers["content-type"] == "text/javascript; charset=utf-8"
    assert reply.headers["cache-control"] == "max-age=3600"
    for name, status in (("form.html", 404), ("x", 404), ("..%2fpages.py", 401)):
        assert (await person.http.get(f"/control/pages/{name}")).status_code == status
    assert (await person.http.get("/control/nothing")).status_code == 401


@pytest.mark.parametrize(
    "accepted,spoken",
    [
        ("", "en"),
        ("ru", "ru"),
        ("RU-ru,en;q=0.5", "ru"),
        ("de-DE, ru;q=0.8, en;q=0.7", "ru"),
        ("en-US,ru", "en"),
        ("*", "en"),
    ],
)
def test_the_language_is_the_first_that_we_speak(accepted: str, spoken: str) -> None:
    assert pages.language(accepted) == spoken


def test_both_languages_say_the_same_things() -> None:
    assert pages._WORDS["ru"].keys() == pages._WORDS["en"].keys()


async def test_links_lead_to_pages(operator: Browser, browser: NewBrowser) -> None:
    invite = {"email": "a@b.test", "role": "viewer"}
    made = await operator.ask("POST", "/organizations/default/invites", json=invite, status=201)
    reset = await operator.ask("POST", f"/users/{operator.user_id}/reset", status=201)
    for link in (made, reset):
        page, _, secret = link["page"].partition("#")
        assert secret == link["secret"]
        assert (await browser().http.get(page)).status_code == 200
