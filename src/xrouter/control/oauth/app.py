"""The public side of the authorization server: an ASGI application without the guard's token.

Each endpoint checks by its own means; nothing of it is derived from the header Host.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from xrouter.control.oauth.account import Account
from xrouter.control.oauth.authorize import PATH, Authorization
from xrouter.control.oauth.clients import ClientBook
from xrouter.control.oauth.config import Means
from xrouter.control.oauth.desk import Desk, answered
from xrouter.control.oauth.grants import Grants
from xrouter.control.oauth.guesses import Guesses
from xrouter.control.oauth.keeper import Keeper
from xrouter.control.oauth.key_flow import KeyFlow
from xrouter.control.oauth.pages import STYLE
from xrouter.control.oauth.people import Reception, acts
from xrouter.control.oauth.problems import OPEN, OAuthError
from xrouter.control.oauth.signing import SigningKeys
from xrouter.control.people.sessions import Sessions
from xrouter.control.people.sign_in import SignInService
from xrouter.control.people.throttle import Throttle
from xrouter.domain.tokens import TOKEN_SCOPES
from xrouter.telemetry.logs import log
from xrouter.telemetry.veil import veiled

WELL_KNOWN = "/.well-known/oauth-authorization-server"
_FRESH = {"cache-control": "public, max-age=300", **OPEN}
_PREFLIGHT = {
    **OPEN,
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-headers": "authorization, content-type",
    "access-control-max-age": "600",
}
_SECRETS = ["client_secret_basic", "client_secret_post"]

Endpoint = Callable[[Request], Awaitable[Response]]


class OAuth:
    """`app` answers, `keeper` works beside it."""

    def __init__(self, means: Means, sessions: Sessions, sign_in: SignInService) -> None:
        db, vault, config = means.db, means.vault, means.config
        self._config = config
        self.keys = SigningKeys(db, vault, config, means.now)
        grants = Grants(means, self.keys)
        self.keeper = Keeper(db, self.keys, grants)
        reception = Reception(db, sessions, sign_in, config, means.ways)
        pages = Authorization(db, reception, grants, config)
        throttle = Throttle(shared=means.tries, door="clients")
        guesses = Guesses(shared=means.tries)
        desk = Desk(means, ClientBook(db, vault, throttle), grants, self.keys, guesses)
        flow = KeyFlow(db, vault, reception, grants)
        account = Account(db, vault, self.keys, config, means.now)
        well_known = WELL_KNOWN + urlsplit(config.issuer).path.rstrip("/")
        self.app = Starlette(
            routes=[
                _route(PATH, pages.show),
                _route(PATH, pages.decide, "POST"),
                _route("/oauth/sign-in", reception.sign_in, "POST"),
                _route("/oauth/style.css", _style),
                *_open("/oauth/token", desk.token, "POST"),
                *_open("/oauth/revoke", desk.revoke, "POST"),
                _route("/oauth/introspect", desk.introspect, "POST"),
                *_open("/oauth/jwks.json", self._jwks),
                *_open(well_known, self._metadata),
                _route("/auth", flow.show),
                _route("/auth", flow.decide, "POST"),
                *_open("/api/v1/auth/keys", flow.exchange, "POST"),
                *_open("/api/v1/key", account.key),
                *_open("/api/v1/auth/key", account.key),
                *_open("/api/v1/credits", account.credits),
                *_open("/api/v1/generation", account.generation),
            ],
        )
        self.app.router.redirect_slashes = False

    async def _jwks(self, request: Request) -> Response:
        async def work(_request: Request) -> Response:
            keys = await self.keys.published()
            shown = [json.loads(key.public) for key in keys.values()]
            return JSONResponse({"keys": shown}, headers=_FRESH)

        return await answered(work, request)

    async def _metadata(self, _request: Request) -> Response:
        issuer = self._config.issuer
        return JSONResponse(
            {
                "issuer": issuer,
                "authorization_endpoint": issuer + PATH,
                "token_endpoint": issuer + "/oauth/token",
                "revocation_endpoint": issuer + "/oauth/revoke",
                "introspection_endpoint": issuer + "/oauth/introspect",
                "jwks_uri": issuer + "/oauth/jwks.json",
                "scopes_supported": list(TOKEN_SCOPES),
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": [
                    "authorization_code",
                    "refresh_token",
                    "client_credentials",
                ],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": [*_SECRETS, "none"],
                "revocation_endpoint_auth_methods_supported": [*_SECRETS, "none"],
                "introspection_endpoint_auth_methods_supported": _SECRETS,
                "authorization_response_iss_parameter_supported": True,
            },
            headers=_FRESH,
        )


def _route(path: str, endpoint: Endpoint, method: str = "GET") -> Route:
    return Route(path, _safe(endpoint), methods=[method])


def _open(path: str, endpoint: Endpoint, method: str = "GET") -> Sequence[Route]:
    """Also for pages of others, which bring no cookie."""
    return [_route(path, endpoint, method), Route(path, _preflight, methods=["OPTIONS"])]


def _safe(endpoint: Endpoint) -> Endpoint:
    """Until it is known who asks, nobody does. A defect is an answer, too."""

    async def safe(request: Request) -> Response:
        acts(request)
        try:
            return await endpoint(request)
        except Exception:  # noqa: BLE001 - the last line of defence of a request
            log.exception("oauth_defect", path=veiled(request.scope["path"]))
            text = "An internal error occurred; the log knows more."
            return OAuthError("server_error", text, status=500).response()

    return safe


async def _preflight(_request: Request) -> Response:
    return Response(status_code=204, headers=_PREFLIGHT)


async def _style(_request: Request) -> Response:
    headers = {"cache-control": "public, max-age=300", "x-content-type-options": "nosniff"}
    return Response(STYLE, media_type="text/css", headers=headers)
