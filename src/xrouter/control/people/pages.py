"""Pages for coming in, English or Russian: a form, a style and a script each, nothing inline.

The secret of a link is the fragment of its address; the script sends it, no server's log has it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from html import escape
from pathlib import Path
from string import Template
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Header, Query
from msgspec import Struct
from starlette.responses import Response

from xrouter.control.kit.access import Access, open_to
from xrouter.control.kit.rooms import room
from xrouter.control.people.ways import Ways, is_local
from xrouter.domain.errors import NotFound

router = APIRouter(prefix="/control", include_in_schema=False)

_FOLDER = Path(__file__).with_name("page")
_PAGE = Template((_FOLDER / "page.html").read_text("utf-8"))
_FORM = Template((_FOLDER / "form.html").read_text("utf-8"))
_SCRIPT = '<script src="/control/pages/people.js" defer></script>'
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
        "by": "Sign in with {}",
        "join": "Go on with {}",
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
        "by": "Войти через {}",
        "join": "Продолжить через {}",
    },
}

Languages = Annotated[str, Header(alias="accept-language", max_length=1000)]
Providers = Annotated[Ways, room(Ways)]
Next = Annotated[str, Query(alias="next")]


@router.get("/pages/{name}")
@open_to(Access.PUBLIC)
async def show_file(name: str) -> Response:
    """Show what the pages are made of."""
    if name not in _FILES:
        raise NotFound("There is no such file.")
    kind, content = _FILES[name]
    return Response(content, headers={"content-type": kind, "cache-control": "max-age=3600"})


def _shown(name: str) -> Callable[..., Awaitable[Response]]:
    @open_to(Access.PUBLIC)
    async def show_page(
        ways: Providers, languages: Languages = "", next_url: Next = ""
    ) -> Response:
        """Show the form of a way in."""
        spoken = language(languages)
        buttons = _buttons(name, ways, spoken, next_url)
        return Response(_render(name, spoken, buttons), headers=HEADERS, media_type="text/html")

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


def said(
    title: str, about: str, spoken: str, *, status: int = 200, back: tuple[str, str] | None = None
) -> Response:
    """A page that only tells. back: an address of ours, and the words to go there by."""
    link = "" if back is None else f'<p><a href="{escape(back[0])}">{escape(back[1])}</a></p>'
    text = _page(spoken, title, f'<p role="status">{escape(about)}</p>\n{link}')
    return Response(text, status, HEADERS, media_type="text/html")


def _page(spoken: str, title: str, content: str, script: str = "") -> str:
    return _PAGE.substitute(language=spoken, title=escape(title), content=content, script=script)


def _buttons(name: str, ways: Ways, spoken: str, next_url: str) -> str:
    """What leads to sign-in providers: to come in by, or to take an invite by."""
    after = f"?next={quote(next_url, safe='')}" if next_url and is_local(next_url) else ""
    found = []
    for provider, title in ways.titles.items():
        if name == "sign-in":
            text = escape(_WORDS[spoken]["by"].format(title))
            found.append(f'<a class="way" href="/control/oidc/{provider}{after}">{text}</a>')
        elif name == "accept":
            text = escape(_WORDS[spoken]["join"].format(title))
            to = f"/control/v1/auth/providers/{provider}/accept"
            found.append(f'<button class="way" type="button" data-way="{to}">{text}</button>')
    return "\n".join(found)


def _render(name: str, spoken: str, buttons: str) -> str:
    words, page = _WORDS[spoken], _PAGES[name]
    fields = "\n".join(
        f"<label>{escape(words[field])}<input {_INPUTS[field]} required></label>"
        for field in page.fields
    )
    given = {
        "about": words[f"{name}.about"],
        "action": f"/control/v1/auth/{page.action}",
        "done": words.get(f"{name}.done", words["done"]),
        "secret": "needed" if page.needs_secret else "",
        **{word: words[word] for word in ("submit", "failed", "broken", "noscript")},
    }
    shown = {key: escape(text) for key, text in given.items()}
    form = _FORM.substitute(shown, fields=fields, buttons=buttons)
    return _page(spoken, words[name], form, _SCRIPT)
