"""A sign-in provider that does what a right one never would; and, left alone, a right one."""

from __future__ import annotations

import hashlib
import time
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

CLIENT = "xrouter"
CLIENT_SECRET = "secret of the client"
Key = RSAKey | ECKey | OKPKey | OctKey


@cache
def rsa(_name: str) -> RSAKey:
    """A key; to make one takes long."""
    return RSAKey.generate_key(2048)


def left_half(token: str) -> str:
    digest = hashlib.sha256(token.encode()).digest()[:16]
    return urlsafe_b64encode(digest).decode().rstrip("=")


class Issuer:
    """claims, header, document, answer, told: put in the place of the right thing; None: left out.

    shown: keys in the place of the real ones. down: paths that answer 503. is_lax: it checks no
    code verifier. in_token: whether the ID token tells of the person, or the user endpoint alone.
    """

    def __init__(self) -> None:
        self.url = ""
        self.keys: dict[str, Key] = {}
        self.people = 0
        self.reset()
        self._runner: web.AppRunner | None = None

    def reset(self) -> None:
        """Be right, for a new person."""
        self.people += 1
        self.keys = {"one": rsa("one")}
        self.claims: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        self.document: dict[str, Any] = {}
        self.answer: dict[str, Any] = {}
        self.told: dict[str, Any] = {}
        self.user: dict[str, Any] = {
            "sub": f"24828976{self.people}",
            "name": "Ann Smith",
            "email": f"Ann{self.people}@Example.com",
            "email_verified": True,
        }
        self.shown: list[dict[str, Any]] = []
        self.in_token = True
        self.is_lax = False
        self.down: set[str] = set()
        self.sign: Callable[[dict[str, Any], dict[str, Any]], str] | None = None
        self.asked: Counter[str] = Counter()
        self.forms: list[dict[str, str]] = []
        self.codes: dict[str, dict[str, str]] = {}

    @property
    def email(self) -> str:
        """The person's, as we keep it."""
        return str(self.user["email"]).lower()

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._document)
        app.router.add_get("/keys", self._keys)
        app.router.add_post("/token", self._token)
        app.router.add_get("/me", self._me)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def agrees(self, address: str) -> dict[str, str]:
        """The person signs in there and agrees: what their browser brings back."""
        asked = dict(parse_qsl(urlsplit(address).query))
        code = f"code{len(self.codes)}"
        self.codes[code] = asked
        return {"code": code, "state": asked["state"], "iss": self.url}

    async def _document(self, request: web.Request) -> web.Response:
        self._count(request)
        told = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize?tenant=a",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/me",
            "jwks_uri": f"{self.url}/keys",
            "authorization_response_iss_parameter_supported": True,
        }
        return web.json_response(_with(told, self.document))

    async def _keys(self, request: web.Request) -> web.Response:
        self._count(request)
        shown = [
            {**key.as_dict(private=False), "kid": kid, "use": "sig"}
            for kid, key in self.keys.items()
            if not isinstance(key, OctKey)
        ]
        return web.json_response({"keys": self.shown or shown})

    async def _token(self, request: web.Request) -> web.Response:
        self._count(request)
        form = {str(name): str(value) for name, value in (await request.post()).items()}
        self.forms.append(form | {"authorization": request.headers.get("authorization", "")})
        asked = self.codes.pop(form.get("code", ""), None)
        challenge = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        proved = urlsafe_b64encode(challenge).decode().rstrip("=")
        if asked is None or not (self.is_lax or asked["code_challenge"] == proved):
            return web.json_response({"error": "invalid_grant"}, status=400)
        token = "access " + form["code"]
        answer = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": 60,
            "id_token": self._id_token(asked.get("nonce", ""), token),
        }
        return web.json_response(_with(answer, self.answer))

    async def _me(self, request: web.Request) -> web.Response:
        self._count(request)
        self.forms.append({"authorization": request.headers.get("authorization", "")})
        return web.json_response(_with(self.user, self.told))

    def _id_token(self, nonce: str, access_token: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": self.user["sub"],
            "aud": CLIENT,
            "exp": now + 300,
            "iat": now,
            "nonce": nonce,
            "at_hash": left_half(access_token),
        }
        if self.in_token:
            claims |= self.user
        header = _with({"alg": "RS256", "kid": "one", "typ": "JWT"}, self.header)
        claims = _with(claims, self.claims)
        if self.sign is not None:
            return self.sign(header, claims)
        return jwt.encode(header, claims, self.keys["one"], algorithms=[header["alg"]])

    def _count(self, request: web.Request) -> None:
        self.asked[request.path] += 1
        if request.path in self.down:
            raise web.HTTPServiceUnavailable


def _with(usual: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (usual | other).items() if value is not None}
