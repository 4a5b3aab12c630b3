"""The pages that people see: rendered here, without scripts, framed by nobody, kept by nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from xrouter.control.kit.actor import SignedIn
from xrouter.control.oauth.words import WORDS, language
from xrouter.control.people.ways import Ways, is_local

_FOLDER = Path(__file__).with_name("page")
_PAGE = Template((_FOLDER / "page.html").read_text("utf-8"))
STYLE = (_FOLDER / "style.css").read_text("utf-8")
HEADERS = {
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
}


class Page:
    """What is said to one person. user: whose language goes before the browser's."""

    def __init__(self, request: Request, user: SignedIn | None = None) -> None:
        spoken = request.headers.get("accept-language", "")
        self.language = user.language if user and user.language in WORDS else language(spoken)
        self._words = WORDS[self.language]

    def word(self, name: str, *given: str) -> str:
        """Escaped."""
        return escape(self._words[name].format(*given))

    def sign_in(
        self,
        *,
        next_url: str,
        csrf: str,
        problem: str | None,
        answers: str | None,
        status: int,
        providers: Ways,
    ) -> Response:
        """The form for e-mail and password. answers: origin that the way may end at."""
        told = f'<p class="bad" role="alert">{self.word(problem)}</p>' if problem else ""
        body = (
            f'{told}<form action="/oauth/sign-in" method="post">'
            f"{_hidden({'next': next_url, 'csrf': csrf})}"
            f"<label>{self.word('email')}"
            '<input type="email" name="email" autocomplete="username" required autofocus></label>'
            f"<label>{self.word('password')}"
            '<input type="password" name="password" autocomplete="current-password" required>'
            f'</label><button class="main">{self.word("sign_in")}</button></form>'
            f"{self._ways(providers, next_url)}"
        )
        return self._page("sign_in", (), body, answers=answers, status=status)

    def _ways(self, providers: Ways, next_url: str) -> str:
        """Links to sign-in providers; none where the way back is too long for them."""
        if not is_local(next_url):
            return ""
        after = quote(next_url, safe="")
        return "".join(
            f'<p class="way"><a href="/control/oidc/{name}?next={after}">'
            f"{self.word('by', title)}</a></p>"
            for name, title in providers.titles.items()
        )

    def consent(
        self,
        *,
        action: str,
        name: str,
        scopes: Sequence[str] | None,
        projects: Sequence[str],
        user: SignedIn,
        hidden: Mapping[str, str],
        answers: str | None,
    ) -> Response:
        """Ask. scopes: None where a key is asked for. answers: origin of the application."""
        if scopes is None:
            title = "consent_key"
            about = f"<p>{self.word('may_key')}</p><p class='bad'>{self.word('unknown')}</p>"
        else:
            title = "consent"
            items = "".join(f"<li>{self.word(scope)}</li>" for scope in scopes)
            about = f"<p>{self.word('may')}</p><ul>{items}</ul>"
        goes = self.word("sent_to", answers) if answers else self.word("shown")
        options = "".join(f"<option>{escape(project)}</option>" for project in projects)
        body = (
            f"{about}<p>{goes}</p>"
            f'<form action="{action}" method="post">{_hidden(hidden)}'
            f'<label>{self.word("project")}<select name="project">{options}</select></label>'
            '<p class="acts">'
            f'<button class="main" name="decision" value="allow">{self.word("allow")}</button>'
            f'<button name="decision" value="deny">{self.word("deny")}</button></p></form>'
            f'<p class="dim">{self.word("as", user.email)}</p>'
        )
        return self._page(title, (name,), body, answers=answers)

    def code(self, code: str) -> Response:
        """A code to be copied by hand."""
        body = f'<p>{self.word("copy")}</p><code class="copy">{escape(code)}</code>'
        return self._page("code", (), body)

    def failure(self, reason: str, *given: str, status: int = 400) -> Response:
        """Why it goes no further."""
        return self._page("failed", (), f"<p>{self.word(reason, *given)}</p>", status=status)

    def _page(
        self,
        title: str,
        given: Sequence[str],
        body: str,
        *,
        answers: str | None = None,
        status: int = 200,
    ) -> Response:
        text = _PAGE.substitute(language=self.language, title=self.word(title, *given), body=body)
        answer = HTMLResponse(text, status, HEADERS)
        answer.headers["content-security-policy"] = policy(answers)
        answer.headers["content-language"] = self.language
        return answer


def policy(answers: str | None) -> str:
    """Of a page. answers: origin that its form may lead to, beside ours."""
    targets = f"'self' {answers}" if answers else "'self'"
    return (
        f"default-src 'none'; style-src 'self'; form-action {targets}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )


def _hidden(values: Mapping[str, str]) -> str:
    return "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in values.items()
    )
