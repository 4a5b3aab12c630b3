"""The control API as an ASGI application; every route lies under /control/v1."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from copy import copy
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, Depends, FastAPI
from fastapi.security import HTTPBearer
from msgspec import Struct, field
from starlette.datastructures import State

from xrouter.control import instances
from xrouter.control.audit import endpoints as audit
from xrouter.control.audit.service import AuditService
from xrouter.control.billing import endpoints as billing
from xrouter.control.billing.balances import Balances
from xrouter.control.billing.bills import Bills
from xrouter.control.billing.closing import Months
from xrouter.control.billing.documents import endpoints as documents
from xrouter.control.billing.documents.service import Documents
from xrouter.control.billing.ledger import Ledger
from xrouter.control.billing.packages import Packages
from xrouter.control.billing.reconcile import Reconciler
from xrouter.control.catalog import endpoints as catalog
from xrouter.control.catalog.adapters import Adapters
from xrouter.control.catalog.live import LiveLists
from xrouter.control.catalog.models import ModelService
from xrouter.control.catalog.service import ProviderService
from xrouter.control.catalog.sync import SyncService
from xrouter.control.credentials import endpoints as credentials
from xrouter.control.credentials.service import CredentialService
from xrouter.control.db.engine import Database
from xrouter.control.explain import endpoints as explain
from xrouter.control.explain.service import ExplainService
from xrouter.control.health import endpoints as health
from xrouter.control.health.events import Events
from xrouter.control.health.service import HealthService
from xrouter.control.identity import endpoints as identity
from xrouter.control.identity.service import KeyService
from xrouter.control.instances import Instances
from xrouter.control.kit import errors
from xrouter.control.kit.access import Doors
from xrouter.control.kit.guard import Guard
from xrouter.control.kit.rooms import Rooms
from xrouter.control.kit.schemas import ErrorBody
from xrouter.control.limits import endpoints as limits
from xrouter.control.limits.service import LimitService
from xrouter.control.oauth import endpoints as oauth_room
from xrouter.control.oauth.app import OAuth
from xrouter.control.oauth.config import Means, OAuthConfig
from xrouter.control.oauth.key_service import SigningKeyService
from xrouter.control.oauth.service import ClientService, GrantService
from xrouter.control.people import access, pages
from xrouter.control.people import auth_endpoints as auth
from xrouter.control.people import endpoints as people
from xrouter.control.people.members import MemberService
from xrouter.control.people.oidc import endpoints as oidc
from xrouter.control.people.oidc.config import OidcConfig
from xrouter.control.people.oidc.service import Means as OidcMeans
from xrouter.control.people.oidc.service import OidcService
from xrouter.control.people.sessions import Sessions
from xrouter.control.people.sign_in import SignInService
from xrouter.control.people.tenants import TenantService
from xrouter.control.people.throttle import Throttle
from xrouter.control.people.users import UserService
from xrouter.control.people.ways import Ways
from xrouter.control.registry import endpoints as registry_room
from xrouter.control.registry.check import Strategies
from xrouter.control.registry.history import HistoryService
from xrouter.control.registry.service import RegistryService
from xrouter.control.releases import endpoints as releases
from xrouter.control.releases.service import ReleaseService
from xrouter.control.routing import endpoints as routing
from xrouter.control.routing.catalogue import Catalogue
from xrouter.control.routing.prices import PriceService
from xrouter.control.routing.service import RouteService
from xrouter.control.state import endpoints as state
from xrouter.control.state.service import StateService
from xrouter.control.usage import endpoints as usage
from xrouter.control.usage.service import UsageService
from xrouter.domain.ports import Explainer, Meters
from xrouter.domain.secret import Secret
from xrouter.domain.tries import SharedTries
from xrouter.stores.vault import Vault
from xrouter.wire.client import Client
from xrouter.wire.tokens import TokenBook

PREFIX = "/control/v1"
_ROOMS: tuple[APIRouter, ...] = (
    catalog.router,
    identity.router,
    credentials.router,
    usage.router,
    health.router,
    instances.router,
    explain.router,
    registry_room.router,
    releases.router,
    routing.router,
    state.router,
    limits.router,
    auth.router,
    oidc.router,
    people.router,
    audit.router,
    oauth_room.router,
    billing.router,
    documents.router,
)

_PAGES: tuple[APIRouter, ...] = (pages.router, oidc.pages)
"""For browsers; their routes are whole."""

_SHOWN = HTTPBearer(
    auto_error=False, scheme_name="AdminToken", description="The token in data_dir/admin.token."
)
"""For the document alone: the guard checks the token, before anything else."""


def nothing() -> None:
    """For those who need not know of changes."""


class Services(Struct, frozen=True):
    """What the control API is made of. changed: called after each change (`Publisher.poke`).

    explainer: None in a process without a data plane. strategies: the check of each one's options.
    meters: where limits are counted, None in a process that counts nothing. seller: who documents
    say sells. tries: that processes count together, None for one that shares nothing.
    """

    db: Database
    vault: Vault
    adapters: Adapters
    client: Client
    tokens: TokenBook
    changed: Callable[[], None] = nothing
    events: Events = field(default_factory=Events)
    explainer: Explainer | None = None
    instances: Instances | None = None
    strategies: Strategies | None = None
    meters: Meters | None = None
    oauth: OAuthConfig = OAuthConfig(issuer="")
    oidc: OidcConfig = OidcConfig()
    seller: Mapping[str, str] = field(default_factory=dict)
    tries: SharedTries | None = None


def create_app(services: Services, *, admin_token: Secret) -> FastAPI:
    """The application. It opens nothing and closes nothing: the services are the caller's.

    Raises ValueError for an empty admin token.
    """
    frame = _frame()
    app = copy(frame)
    app.state = State({"rooms": _rooms(services), "methods": frame.state.methods})
    app.user_middleware = []
    app.add_middleware(
        Guard,
        admin_token=admin_token,
        doors=Doors([*((PREFIX, room) for room in _ROOMS), *(("", page) for page in _PAGES)]),
        visitors=app.state.rooms.get(Sessions),
    )
    return app


@cache
def _frame() -> FastAPI:
    """The routes without services. They are worked out when they are asked first, and then kept."""
    app = FastAPI(
        title="XRouter control API",
        version=own_version(),
        openapi_url=PREFIX + "/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(_SHOWN)],
        responses={"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}},
    )
    for router in _ROOMS:
        app.include_router(router, prefix=PREFIX)
    for router in _PAGES:
        app.include_router(router)
    errors.install(app, _ROOMS, PREFIX)
    return app


def own_version() -> str:
    """The version of this installation."""
    try:
        return version("xrouter")
    except PackageNotFoundError:
        return "0"


def _rooms(s: Services) -> Rooms:
    live = LiveLists(s.client, s.tokens)
    registry = RegistryService(s.db, s.vault, s.adapters, s.changed, s.strategies)
    prices = PriceService(s.db, s.changed)
    sessions = Sessions(s.db, s.vault)
    throttle = Throttle(shared=s.tries)
    sign_in = SignInService(s.db, s.vault, sessions, throttle=throttle)
    by_provider = OidcMeans(s.db, s.vault, s.client, sessions, sign_in, throttle)
    ways = Ways({each.name: each.title for each in s.oidc.providers})
    means = Means(s.db, s.vault, s.oauth, s.changed, ways=ways, tries=s.tries)
    oauth = OAuth(means, sessions, sign_in)
    versions = {"xrouter": own_version(), "python": platform.python_version()}
    return Rooms(
        s.adapters,
        ProviderService(
            s.db, s.vault, s.adapters, s.client, changed=s.changed, strategies=s.strategies
        ),
        ModelService(s.db, s.adapters, s.changed, s.strategies),
        SyncService(s.db, s.vault, s.adapters, live, changed=s.changed),
        KeyService(s.db, s.vault, s.changed),
        CredentialService(s.db, s.vault, s.adapters, s.changed),
        UsageService(s.db),
        HealthService(s.db, s.events),
        s.instances or Instances(s.db),
        ExplainService(s.explainer),
        registry,
        RouteService(s.db, s.changed, s.strategies),
        prices,
        Catalogue(s.db, prices),
        HistoryService(s.db, s.vault, s.adapters, s.changed),
        ReleaseService(s.db, s.changed),
        StateService(s.db, versions),
        LimitService(s.db, s.changed, s.meters),
        sessions,
        sign_in,
        ways,
        OidcService(by_provider, s.oidc),
        UserService(s.db, s.vault, sessions),
        TenantService(s.db, s.changed),
        MemberService(s.db, s.vault, sessions),
        AuditService(s.db, access.organization),
        *_billing(s, live),
        oauth,
        ClientService(s.db, s.vault, s.changed),
        GrantService(s.db, s.changed),
        SigningKeyService(s.db, oauth.keys, s.changed),
    )


def _billing(s: Services, live: LiveLists) -> tuple[object, ...]:
    return (
        Bills(s.db),
        Months(s.db, seller=s.seller),
        Documents(s.db, s.seller),
        Ledger(s.db),
        Packages(s.db),
        Reconciler(s.db),
        Balances(s.db, s.vault, s.adapters, live),
    )
