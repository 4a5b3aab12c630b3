"""What a key or a token may see of itself: `/api/v1/key`, `/credits`, `/generation`.

In the shapes of OpenRouter; money is in rubles, and `currency` says so.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.billing import ChargeRow, LimitRow, LineRow
from xrouter.control.db.tables.identity import KeyRow
from xrouter.control.db.tables.oauth import GrantRow, RevokedRow
from xrouter.control.db.tables.usage import UsageRow
from xrouter.control.oauth import ground
from xrouter.control.oauth.config import OAuthConfig
from xrouter.control.oauth.problems import NO_STORE, OPEN, OAuthError, failure
from xrouter.control.oauth.signing import SigningKeys
from xrouter.domain.bounds import Bounds, compact
from xrouter.domain.errors import Forbidden, XRouterError
from xrouter.domain.identity import PREFIX
from xrouter.domain.tokens import ACCOUNT, InvalidToken, Trust
from xrouter.stores.memory.tokens import verify
from xrouter.stores.vault import Vault

_RUBLE = 1_000_000_000
_MS = 1000.0
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ID = re.compile(r"(?:[a-z]{1,16}[-_])?(?P<serial>[0-7][0-9A-HJKMNP-TV-Z]{25})")
_TIME_DIGITS = 10
_BEFORE_S, _AFTER_S = 60.0, 86400.0
_WINDOWS = {"total": None, "month": "monthly", "day": "daily"}
_LACKS = {"www-authenticate": 'Bearer error="insufficient_scope", scope="account"'}
_BAD = {"www-authenticate": 'Bearer error="invalid_token"'}
_NONE = {"www-authenticate": "Bearer"}


class Holder(Struct, frozen=True, kw_only=True):
    """Whose credential it is. expires_at: None for never."""

    key_id: str
    label: str
    project: str
    expires_at: datetime | None
    user: str | None = None


class Account:
    """now: the time in UTC, for tests."""

    def __init__(
        self,
        db: Database,
        vault: Vault,
        keys: SigningKeys,
        config: OAuthConfig,
        now: Callable[[], datetime],
    ) -> None:
        self._db = db
        self._mac = vault.mac
        self._keys = keys
        self._issuer = config.issuer
        self._now = now

    async def key(self, request: Request) -> Response:
        """The credential itself."""
        return await self._answered(request, self._key)

    async def credits(self, request: Request) -> Response:
        """What the project has paid in and used up."""
        return await self._answered(request, self._credits)

    async def generation(self, request: Request) -> Response:
        """One request of this credential."""
        return await self._answered(request, self._generation)

    async def _answered(
        self,
        request: Request,
        work: Callable[[AsyncSession, Holder, Request], Awaitable[dict[str, Any]]],
    ) -> Response:
        try:
            async with self._db.read() as session:
                holder = await self._holder(session, request)
                answer: Response = JSONResponse({"data": await work(session, holder, request)})
        except OAuthError as error:
            answer = failure(error.status, error.description)
            answer.headers.update(error.headers)
        except XRouterError:
            answer = failure(503, "The server cannot do this at the moment. Try again later.")
        answer.headers.update({**NO_STORE, **OPEN})
        return answer

    async def _holder(self, session: AsyncSession, request: Request) -> Holder:
        """Raises OAuthError."""
        given = request.headers.getlist("authorization")
        if not given:
            raise OAuthError("", "No key was sent.", status=401, headers=_NONE)
        scheme, _, secret = given[0].partition(" ")
        if len(given) > 1 or scheme.lower() != "bearer" or not secret.strip():
            raise OAuthError("", "Send one key as Authorization: Bearer.", status=401, headers=_BAD)
        secret = secret.strip()
        if secret.startswith(PREFIX):
            ip = request.client.host if request.client else None
            return await self._by_key(session, secret, ip)
        return await self._by_token(session, secret)

    async def _by_key(self, session: AsyncSession, secret: str, ip: str | None) -> Holder:
        mac, now = self._mac(secret), self._now()
        query = select(KeyRow).where(
            or_(KeyRow.mac == mac, (KeyRow.previous_mac == mac) & (KeyRow.previous_until > now)),
            KeyRow.revoked_at.is_(None),
            or_(KeyRow.expires_at.is_(None), KeyRow.expires_at > now),
        )
        row = (await session.scalars(query)).first()
        if row is None:
            raise _unknown()
        if not await ground.is_open(session, row.project):
            text = "The project of this key is switched off."
            raise OAuthError("project_inactive", text, status=403)
        _require_address(row, ip)
        return Holder(
            key_id=row.key_id, label=row.name, project=row.project, expires_at=row.expires_at
        )

    async def _by_token(self, session: AsyncSession, secret: str) -> Holder:
        trust = Trust(issuer=self._issuer, keys=await self._keys.public_in(session))
        try:
            token = verify(secret, trust, self._now().timestamp())
        except InvalidToken:
            raise _unknown() from None
        query = select(GrantRow).where(GrantRow.grant_id == token.grant_id)
        grant = await session.scalar(query)
        if grant is None or await session.get(RevokedRow, token.token_id) is not None:
            raise _unknown()
        if not await ground.stands(session, grant, self._now()):
            raise _unknown()
        if ACCOUNT not in token.scopes:
            text = f"The token lacks the scope {ACCOUNT}."
            raise OAuthError("insufficient_scope", text, status=403, headers=_LACKS)
        return Holder(
            key_id=grant.grant_id,
            label=token.client_id,
            project=grant.project,
            expires_at=datetime.fromtimestamp(token.expires_at, UTC),
            user=token.subject if grant.user_id is not None else None,
        )

    async def _key(
        self, session: AsyncSession, holder: Holder, _request: Request
    ) -> dict[str, Any]:
        now = self._now()
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        since = {
            "total": None,
            "daily": today,
            "weekly": today - timedelta(days=today.weekday()),
            "monthly": today.replace(day=1),
        }
        used = {name: await _used(session, holder.key_id, at) for name, at in since.items()}
        limit, reset = await _limit(session, holder.key_id)
        left = None if limit is None else max(0.0, limit - used[reset or "total"])
        return {
            "label": holder.label,
            "limit": limit,
            "limit_remaining": left,
            "limit_reset": reset,
            "include_byok_in_limit": False,
            "usage": used["total"],
            "usage_daily": used["daily"],
            "usage_weekly": used["weekly"],
            "usage_monthly": used["monthly"],
            "currency": "RUB",
            "is_free_tier": False,
            "is_management_key": False,
            "is_provisioning_key": False,
            "rate_limit": {"requests": -1, "interval": "10s", "note": "Not used; see limits."},
            "expires_at": None if holder.expires_at is None else holder.expires_at.isoformat(),
            "creator_user_id": holder.user,
        }

    async def _credits(
        self, session: AsyncSession, holder: Holder, _request: Request
    ) -> dict[str, Any]:
        paid = select(func.sum(LineRow.amount)).where(
            LineRow.account == f"project:{holder.project}", LineRow.kind != "charge"
        )
        used = select(func.sum(ChargeRow.total)).where(ChargeRow.project == holder.project)
        return {
            "total_credits": _rubles(await session.scalar(paid)),
            "total_usage": _rubles(await session.scalar(used)),
            "currency": "RUB",
        }

    async def _generation(
        self, session: AsyncSession, holder: Holder, request: Request
    ) -> dict[str, Any]:
        found = _ID.fullmatch(request.query_params.get("id", ""))
        if found is None:
            raise OAuthError("", "The id is missing, or is none of ours.", status=400)
        serial = found["serial"]
        at = _began(serial)
        query = (
            select(UsageRow)
            .where(UsageRow.key_id == holder.key_id)
            .where(UsageRow.at > at - _BEFORE_S, UsageRow.at < at + _AFTER_S)
            .where(UsageRow.request_id == "req_" + serial)
        )
        row = (await session.scalars(query)).first()
        if row is None:
            raise OAuthError("", "There is no such generation, or not yet.", status=404)
        charge = await session.get(ChargeRow, row.event_id)
        return _shown(row, charge, request.query_params["id"])


def _shown(row: UsageRow, charge: ChargeRow | None, name: str) -> dict[str, Any]:
    cost = 0.0 if charge is None else _rubles(charge.total)
    first = row.first_token_ms
    return {
        "id": name,
        "upstream_id": row.upstream_request_id,
        "request_id": row.request_id,
        "model": row.model_served or row.model_requested,
        "provider_name": row.provider,
        "created_at": datetime.fromtimestamp(row.at, UTC).isoformat(),
        "api_type": row.operation,
        "streamed": row.streamed,
        "cancelled": row.outcome == "cancelled",
        "finish_reason": row.finish_reason,
        "native_finish_reason": row.finish_reason,
        "tokens_prompt": row.tokens_in,
        "tokens_completion": row.tokens_out,
        "native_tokens_prompt": row.tokens_in,
        "native_tokens_completion": row.tokens_out,
        "native_tokens_reasoning": row.tokens_reasoning,
        "native_tokens_cached": row.tokens_cached,
        "usage": cost,
        "total_cost": cost,
        "currency": "RUB",
        "is_byok": False,
        "latency": first if first is not None else row.total_ms,
        "generation_time": row.total_ms - (first or 0.0),
    }


async def _used(session: AsyncSession, key_id: str, since: datetime | None) -> float:
    query = select(func.sum(ChargeRow.total)).where(ChargeRow.key_id == key_id)
    if since is not None:
        query = query.where(ChargeRow.at >= since.timestamp())
    return _rubles(await session.scalar(query))


async def _limit(session: AsyncSession, key_id: str) -> tuple[float | None, str | None]:
    """The tightest of its budgets, and how often it begins anew."""
    query = select(LimitRow.amount, LimitRow.window).where(
        LimitRow.subject == f"key:{key_id}",
        LimitRow.meter == "money",
        LimitRow.model.is_(None),
        LimitRow.is_enabled,
        LimitRow.window.in_(_WINDOWS),
    )
    found = (await session.execute(query.order_by(LimitRow.amount))).first()
    return (None, None) if found is None else (_rubles(found[0]), _WINDOWS[found[1]])


def _began(serial: str) -> float:
    """Unix seconds of a ULID."""
    value = 0
    for digit in serial[:_TIME_DIGITS]:
        value = value * len(_ALPHABET) + _ALPHABET.index(digit)
    return value / _MS


def _require_address(row: KeyRow, ip: str | None) -> None:
    """As at the door of the data plane. Raises OAuthError."""
    try:
        Bounds(networks=tuple(map(compact, row.ip_ranges))).require_address(ip)
    except (Forbidden, ValueError):
        text = "The key may not be used from this address."
        raise OAuthError("ip_not_allowed", text, status=403) from None


def _rubles(billionths: Any) -> float:
    return int(billionths or 0) / _RUBLE


def _unknown() -> OAuthError:
    return OAuthError("invalid_token", "The key is not known here.", status=401, headers=_BAD)
