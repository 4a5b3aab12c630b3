"""Pages for coming in, English or Russian: a form, a style and a script each, nothing inline.

The secret of a link is the fragment of its address; the script sends it, no server's log has it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from html import escape
from pathlib import Path
from string import Template
from typing import Annotated

from fastapi import APIRouter, Header
from msgspec import Struct
from starlette.responses import Response

from xrouter.control.kit.access import Access, open_to
from xrouter.domain.errors import NotFound

router = APIRouter(prefix="/control", include_in_schema=False)

_FOLDER = Path(__file__).with_name("page")
_FORM = Template((_FOLDER / "form.html").read_text("utf-8"))
_FILES = {
    "people.css": ("text/css; charset=utf-8", (_FOLDER / "people.css").read_bytes()),
    "people.js": ("text/javascript; charset=utf-8", (_FOLDER / "people.js").read_bytes()),
}

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
"""Of every page for people, also of other rooms."""


class _Page(Struct, frozen=True):
    """fields: names of inputs. needs_secret: whether the address must carry one."""

    action: str
    fields: tuple[str, ...]
    needs_secret: bool = True


_PAGES = {
    "setup": _Page("setup", ("name", "email", "new")),
    "sign-in": _Page("sign-in", ("email", "password"), needs_secret=False),
    "accept": _Page("accept", ("name", "password")),
    "reset": _Page("reset", ("new",)),
}
_INPUTS = {
    "name": 'name="name" autocomplete="name" maxlength="200"',
    "email": 'name="email" type="email" autocomplete="username" maxlength="254"',
    "password": 'name="password" type="password" autocomplete="current-password"',
    "new": 'name="password" type="password" autocomplete="new-password" minlength="10"',
}
_WORDS: dict[str, dict[str, str]] = {
    "en": {
        "setup": "Set up XRouter",
        "setup.about": "You become the first operator of this router.",
        "sign-in": "Sign in",
        "sign-in.about": "With your e-mail address and password.",
        "accept": "Join",
        "accept.about": "Choose a password, or give yours if you have an account here.",
        "reset": "A new password",
        "reset.about": "All your sessions end.",
        "name": "Name",
        "email": "E-mail",
        "password": "Password",
        "new": "Password, 10 characters or more",
        "submit": "Go on",
        "done": "Done. You are signed in.",
        "reset.done": "Done. Sign in with the new password.",
        "failed": "The server does not answer; try again.",
        "broken": "The address is not complete: open the link as a whole.",
        "noscript": "This page needs JavaScript.",
    },
    "ru": {
        "setup": "Настройка XRouter",
        "setup.about": "Вы станете первым оператором этого маршрутизатора.",
        "sign-in": "Вход",
        "sign-in.about": "По адресу почты и паролю.",
        "accept": "Приглашение",
        "accept.about": "Придумайте пароль или введите свой, если учётная запись уже есть.",
        "reset": "Новый пароль",
        "reset.about": "Все ваши сеансы завершатся.",
        "name": "Имя",
        "email": "Почта",
        "password": "Пароль",
        "new": "Пароль, не короче 10 знаков",
        "submit": "Продолжить",
        "done": "Готово. Вы вошли.",
        "reset.done": "Готово. Войдите с новым паролем.",
        "failed": "Сервер не отвечает; попробуйте ещё раз.",
        "broken": "Адрес неполный: откройте ссылку целиком.",
        "noscript": "Странице нужен JavaScript.",
    },
}

Languages = Annotated[str, Header(alias="accept-language", max_length=1000)]


@router.get("/pages/{name}")
@open_to(Access.PUBLIC)
async def show_file(name: str) -> Response:
    """Show what the pages are made of."""
    if name not in _FILES:
        raise NotFound("There is no such file.")
    kind, content = _FILES[name]
    return Response(content, headers={"content-type": kind, "cache-control": "max-age=3600"})


def _shown(name: str) -> Callable[[str], Awaitable[Response]]:
    @open_to(Access.PUBLIC)
    async def show_page(languages: Languages = "") -> Response:
        """Show the form of a way in."""
        return Response(_render(name, language(languages)), headers=HEADERS, media_type="text/html")

    return show_page


for _name in _PAGES:
    router.add_api_route(f"/{_name}", _shown(_name), methods=["GET"])


def language(accepted: str) -> str:
    """`ru` or `en`, by the header Accept-Language: the one that is named first, else `en`."""
    for part in accepted.lower().split(","):
        wanted = part.partition(";")[0].strip().partition("-")[0]
        if wanted in _WORDS:
            return wanted
    return "en"


def _render(name: str, spoken: str) -> str:
    words, page = _WORDS[spoken], _PAGES[name]
    fields = "\n".join(
        f"<label>{escape(words[field])}<input {_INPUTS[field]} required></label>"
        for field in page.fields
    )
    given = {
        "title": words[name],
        "about": words[f"{name}.about"],
        "action": f"/control/v1/auth/{page.action}",
        "done": words.get(f"{name}.done", words["done"]),
        "secret": "needed" if page.needs_secret else "",
        "language": spoken,
        **{word: words[word] for word in ("submit", "failed", "broken", "noscript")},
    }
    return _FORM.substitute({key: escape(text) for key, text in given.items()}, fields=fields)
