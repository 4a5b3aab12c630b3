"""Coming in by a provider: begun here, brought back by the browser, ended with a session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from msgspec import Struct
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.audit import log as audit
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.people import IdentityRow, LinkRow, UserRow
from xrouter.control.kit.actor import actor
from xrouter.control.people import cookies, links, repository
from xrouter.control.people.links import Links
from xrouter.control.people.oidc import id_token
from xrouter.control.people.oidc.arrival import Arrivals
from xrouter.control.people.oidc.config import OidcConfig
from xrouter.control.people.oidc.flow import Flow, FlowBook
from xrouter.control.people.oidc.provider import Identity, Provider
from xrouter.control.people.oidc.words import SignInProblem
from xrouter.control.people.sessions import Sessions
from xrouter.control.people.sign_in import SignInService
from xrouter.control.people.throttle import Throttle
from xrouter.domain.errors import Conflict, NotFound, RateLimited, XRouterError
from xrouter.domain.secret import Secret
from xrouter.stores.vault import Vault
from xrouter.telemetry.logs import log
from xrouter.wire.client import Client

PURPOSE = "oidc"
"""Of the rows of `one_time_links` that say which attempts have come back."""
MAX_QUERY = 8192
_MAX_FIELDS = 50
_MAX_CODE = 4096
_SHOWN = 60


class Means(Struct, frozen=True):
    """What the room works with. throttle: the one of the passwords."""

    db: Database
    vault: Vault
    client: Client
    sessions: Sessions
    sign_in: SignInService
    throttle: Throttle
    now: Callable[[], datetime] = utc_now


class Begun(Struct, frozen=True):
    """Where the browser goes, and what it keeps."""

    url: str
    flow: Flow


class Ended(Struct, frozen=True):
    """How an attempt ended. secret: for the cookie of a session, None where one was there."""

    flow: Flow
    secret: Secret | None


class OidcService:
    """Raises SignInProblem for whatever keeps somebody out."""

    def __init__(self, means: Means, config: OidcConfig) -> None:
        self.config = config
        self.flows = FlowBook(means.vault, means.now, is_secure=config.is_secure)
        self._means = means
        self._db = means.db
        self._sessions = means.sessions
        self._vault = means.vault
        book = Links(means.vault, means.now)
        self._links = book
        self._arrivals = Arrivals(book, means.sign_in, means.sessions, means.now)
        self._providers = {
            each.name: Provider(means.client, each, now=lambda: means.now().timestamp())
            for each in config.providers
        }

    async def begin(
        self,
        name: str,
        next_url: str | None,
        *,
        session_id: int | None = None,
        invite: str | None = None,
    ) -> Begun:
        """An attempt. next_url: where it goes on at; what is no address of ours is left out."""
        provider = self._provider(name)
        flow = self.flows.new(name, next_url, session_id=session_id, invite=invite)
        try:
            return Begun(await provider.address(flow, self._redirect_uri(name)), flow)
        except SignInProblem as problem:
            log.warning("oidc_not_begun", provider=name, detail=problem.detail)
            raise

    async def begin_invite(self, name: str, secret: Secret) -> Begun:
        """An attempt that takes an invite. Raises InvalidRequest for one that does not work."""
        ip = actor.get().ip
        await self._means.throttle.enter(None, ip)
        async with self._db.read() as session:
            await self._links.find(session, links.INVITE, secret)
        await self._means.throttle.passed(None, ip)
        return await self.begin(name, None, invite=secret.reveal())

    async def end(self, name: str, query: bytes, headers: cookies.Headers, language: str) -> Ended:
        """What the browser brought back; every way out but success is written down."""
        self._provider(name)
        ip = actor.get().ip
        try:
            await self._means.throttle.enter(None, ip)
        except RateLimited:
            raise SignInProblem("wait") from None
        try:
            ended = await self._end(name, query, headers, language)
        except SignInProblem as problem:
            log.warning("oidc_refused", provider=name, reason=problem.reason, detail=problem.detail)
            await self._refused(name, problem)
            raise
        except XRouterError as error:
            log.error("oidc_failed", provider=name, error=error.message, hint=error.hint)
            raise SignInProblem("database") from None
        except IntegrityError:
            log.warning("oidc_twice_at_once", provider=name)
            raise SignInProblem("database") from None
        await self._means.throttle.passed(None, ip)
        return ended

    async def identities(self) -> Sequence[IdentityRow]:
        """Of who is signed in, in the order in which they were linked."""
        person = actor.get().person()
        query = select(IdentityRow).where(IdentityRow.user_id == person.row_id)
        async with self._db.read() as session:
            return (await session.scalars(query.order_by(IdentityRow.id))).all()

    async def unlink(self, identity_id: int) -> Secret:
        """Take an identity of one's own away. All sessions end, and one begins: its secret.

        Raises NotFound, and Conflict for the last way in.
        """
        person = actor.get().person()
        async with self._db.write() as session:
            user = await repository.user(session, person.user_id, lock=True)
            query = select(IdentityRow).where(IdentityRow.user_id == user.id)
            rows = {row.id: row for row in await session.scalars(query)}
            if identity_id not in rows:
                raise NotFound(f"You have no identity {identity_id}.", param="identity_id")
            if user.password is None and len(rows) == 1:
                raise Conflict(
                    "This is the last way in: you have no password.",
                    code="last_identity",
                    hint="Ask an operator for a link to choose a password first.",
                )
            gone = rows[identity_id]
            await session.delete(gone)
            await self._sessions.end(session, user.id)
            secret = await self._sessions.begin(session, user)
            await audit.record(
                session,
                action="identity.unlink",
                object=f"user:{user.user_id}",
                detail={"issuer": gone.issuer, "subject": gone.subject},
            )
        return secret

    async def _end(self, name: str, query: bytes, headers: cookies.Headers, language: str) -> Ended:
        provider = self._provider(name)
        given = _fields(query)
        pairs = list(headers)
        flow = self.flows.read(pairs)
        if (
            flow is None
            or flow.provider != name
            or not id_token.same(given.get("state"), flow.state)
        ):
            raise SignInProblem("expired", "no attempt of this browser")
        await self._spend(flow)
        await provider.require_issuer(given.get("iss"))
        if "error" in given:
            raise SignInProblem("denied", given["error"][:_SHOWN])
        code = given.get("code", "")
        if not 0 < len(code) <= _MAX_CODE:
            raise SignInProblem("failed", "no code")
        identity = await provider.identity(code, flow, self._redirect_uri(name))
        if flow.session_id is not None:
            return await self._linked(provider, flow, identity, pairs)
        return await self._arrived(provider, flow, identity, pairs, language)

    async def _arrived(
        self,
        provider: Provider,
        flow: Flow,
        identity: Identity,
        headers: cookies.Headers,
        language: str,
    ) -> Ended:
        config = provider.config
        async with self._db.write() as session:
            if flow.invite is None:
                user = await self._arrivals.arrive(session, config, identity, language)
            else:
                user = await self._arrivals.invited(
                    session, config, identity, flow.invite, language
                )
            await self._sessions.leave(session, headers)
            secret = await self._welcome(session, user, config.name)
        return Ended(flow, secret)

    async def _welcome(self, session: AsyncSession, user: UserRow, provider: str) -> Secret:
        user.last_sign_in_at = self._means.now()
        secret = await self._sessions.begin(session, user)
        name = f"user:{user.user_id}"
        detail = {"provider": provider}
        await audit.record(session, action="session.begin", object=name, detail=detail, by=name)
        return secret

    async def _linked(
        self, provider: Provider, flow: Flow, identity: Identity, headers: cookies.Headers
    ) -> Ended:
        """The session that began it must be there still, in the same browser."""
        person = await self._sessions.of(headers)
        if person is None or person.session_id != flow.session_id:
            raise SignInProblem("session")
        async with self._db.write() as session:
            await self._arrivals.link_own(session, person, identity, provider.config.name)
        return Ended(flow, None)

    async def _spend(self, flow: Flow) -> None:
        """An attempt comes back once, in whatever process."""
        now = self._means.now()
        row = LinkRow(
            mac=self._vault.mac("oidc:" + flow.state),
            purpose=PURPOSE,
            created_at=now,
            expires_at=datetime.fromtimestamp(flow.expires_at, UTC),
            used_at=now,
        )
        old = delete(LinkRow).where(LinkRow.purpose == PURPOSE, LinkRow.expires_at <= now)
        try:
            async with self._db.write() as session:
                await session.execute(old)
                session.add(row)
                await session.flush()
        except IntegrityError:
            raise SignInProblem("expired", "the attempt came back a second time") from None

    async def _refused(self, name: str, problem: SignInProblem) -> None:
        who = problem.detail if problem.detail.startswith("user:") else "user:unknown"
        detail = {"provider": name[:_SHOWN], "reason": problem.reason}
        try:
            async with self._db.write() as session:
                await audit.record(session, action="session.refuse", object=who, detail=detail)
        except XRouterError as error:
            log.error("oidc_refusal_not_written", error=error.message, hint=error.hint)

    def _provider(self, name: str) -> Provider:
        found = self._providers.get(name)
        if found is None:
            raise SignInProblem("unheard")
        return found

    def _redirect_uri(self, name: str) -> str:
        """Of this provider alone, so that no other one's answer is taken for its."""
        return f"{self.config.public_url}/control/oidc/{name}/callback"


def _fields(query: bytes) -> dict[str, str]:
    """Parameters of an answer; empty ones are absent. Raises SignInProblem for one that repeats."""
    try:
        if len(query) > MAX_QUERY:
            raise ValueError
        pairs = parse_qsl(query.decode("ascii"), strict_parsing=False, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise SignInProblem("failed", "the answer cannot be read") from None
    given = dict(pairs)
    if len(given) != len(pairs):
        raise SignInProblem("failed", "a parameter comes twice")
    return given
