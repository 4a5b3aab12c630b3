"""The control API as an ASGI application; every route lies under /control/v1."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, Depends, FastAPI
from fastapi.security import HTTPBearer
from msgspec import Struct, field

from xrouter.control import instances
from xrouter.control.audit import endpoints as audit
from xrouter.control.audit.service import AuditService
from xrouter.control.billing import endpoints as billing
from xrouter.control.billing.bills import Bills
from xrouter.control.billing.closing import Months
from xrouter.control.billing.ledger import Ledger
from xrouter.control.billing.packages import Packages
from xrouter.control.billing.reconcile import Reconciler
from xrouter.control.catalog import endpoints as catalog
from xrouter.control.catalog.adapters import Adapters
from xrouter.control.catalog.live import LiveLists
from xrouter.control.catalog.models import ModelService
from xrouter.control.catalog.service import ProviderService
from xrouter.control.catalog.sync import SyncService
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
from xrouter.control.people.sessions import Sessions
from xrouter.control.people.sign_in import SignInService
from xrouter.control.people.tenants import TenantService
from xrouter.control.people.users import UserService
from xrouter.control.registry import endpoints as registry_room
from xrouter.control.registry.check import Strategies
from xrouter.control.registry.history import HistoryService
from xrouter.control.registry.service import RegistryService
from xrouter.control.releases import endpoints as releases
from xrouter.control.releases.service import ReleaseService
from xrouter.control.routing import endpoints as routing
from xrouter.control.routing.prices import PriceService
from xrouter.control.routing.service import RouteService
from xrouter.control.state import endpoints as state
from xrouter.control.state.service import StateService
from xrouter.control.usage import endpoints as usage
from xrouter.control.usage.service import UsageService
from xrouter.domain.ports import Explainer, Meters
from xrouter.domain.secret import Secret
from xrouter.stores.vault import Vault
from xrouter.wire.client import Client
from xrouter.wire.tokens import TokenBook

PREFIX = "/control/v1"
_ROOMS: tuple[APIRouter, ...] = (
    catalog.router,
    identity.router,
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
    people.router,
    audit.router,
    oauth_room.router,
    billing.router,
)

_PAGES: tuple[APIRouter, ...] = (pages.router,)
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
    meters: where limits are counted, None in a process that counts nothing.
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


def create_app(services: Services, *, admin_token: Secret) -> FastAPI:
    """The application. It opens nothing and closes nothing: the services are the caller's.

    Raises ValueError for an empty admin token.
    """
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
    app.state.rooms = _rooms(services)
    for router in _ROOMS:
        app.include_router(router, prefix=PREFIX)
    for router in _PAGES:
        app.include_router(router)
    errors.install(app, _ROOMS, PREFIX)
    app.add_middleware(
        Guard,
        admin_token=admin_token,
        doors=Doors([*((PREFIX, room) for room in _ROOMS), *(("", page) for page in _PAGES)]),
        visitors=app.state.rooms.get(Sessions),
    )
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
    sessions = Sessions(s.db, s.vault)
    sign_in = SignInService(s.db, s.vault, sessions)
    oauth = OAuth(Means(s.db, s.vault, s.oauth, s.changed), sessions, sign_in)
    versions = {"xrouter": own_version(), "python": platform.python_version()}
    return Rooms(
        s.adapters,
        ProviderService(
            s.db, s.vault, s.adapters, s.client, changed=s.changed, strategies=s.strategies
        ),
        ModelService(s.db, s.adapters, s.changed, s.strategies),
        SyncService(s.db, s.vault, s.adapters, live, changed=s.changed),
        KeyService(s.db, s.vault, s.changed),
        UsageService(s.db),
        HealthService(s.db, s.events),
        s.instances or Instances(s.db),
        ExplainService(s.explainer),
        registry,
        RouteService(s.db, s.changed, s.strategies),
        PriceService(s.db, s.changed),
        HistoryService(s.db, s.vault, s.adapters, s.changed),
        ReleaseService(s.db, s.changed),
        StateService(s.db, versions),
        LimitService(s.db, s.changed, s.meters),
        sessions,
        sign_in,
        UserService(s.db, s.vault, sessions),
        TenantService(s.db, s.changed),
        MemberService(s.db, s.vault, sessions),
        AuditService(s.db, access.organization),
        Bills(s.db),
        Months(s.db),
        Ledger(s.db),
        Packages(s.db),
        Reconciler(s.db),
        oauth,
        ClientService(s.db, s.vault, s.changed),
        GrantService(s.db, s.changed),
        SigningKeyService(s.db, oauth.keys, s.changed),
    )
