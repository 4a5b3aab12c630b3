"""How sign-in providers are set up: what the operator writes, and what the room works with."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator

from xrouter.control.kit.schemas import BaseUrl, File, In, Name, Title, Url, Word
from xrouter.control.people.roles import Role
from xrouter.domain.secret import Secret

MAX_PROVIDERS = 20
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SECRET = 4096

Algorithm = Literal[
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
]
"""Of ID tokens; none that a public key could be the secret of."""
USUAL: tuple[Algorithm, ...] = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")


class Fixed(Struct, frozen=True, kw_only=True):
    """A provider without discovery. subject, email, name, audience: fields of what it tells.

    scheme: of the header Authorization there.
    """

    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str
    scheme: str
    subject: str
    email: str
    name: str
    audience: str


class Preset(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of a provider. hosted_email: it vouches for addresses at its own hosts."""

    title: str = ""
    issuer: str = ""
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    hosted_email: bool = False
    fixed: Fixed | None = None


def _presets() -> dict[str, Preset]:
    text = Path(__file__).with_name("presets.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Preset])


PRESETS = _presets()


def _domain(text: str) -> str:
    return text.strip().lower()


Domain = Annotated[
    str,
    AfterValidator(_domain),
    StringConstraints(min_length=1, max_length=253, pattern=r"^[^@\s/]+$"),
]


class Joining(In):
    """What a new user becomes. project: its slug, None for the whole organisation."""

    organization: Name
    project: Name | None = None
    role: Role = Role.viewer

    @model_validator(mode="after")
    def _is_modest(self) -> Joining:
        if self.role == Role.owner:
            raise ValueError("nobody becomes an owner by signing in")
        return self


class OidcProvider(In):
    """As the operator writes it; docs/people.md explains the fields."""

    preset: str = "oidc"
    title: Title | None = None
    issuer: BaseUrl | None = None
    client_id: Word
    client_secret: SecretStr | None = Field(None, max_length=_SECRET)
    client_secret_file: File | None = None
    client_auth: Literal["basic", "post"] | None = None
    scopes: list[Word] | None = None
    algorithms: list[Algorithm] = Field([*USUAL], min_length=1)
    audiences: list[Word] = Field([])
    trust_email: bool = False
    link_by_email: bool = False
    domains: dict[Domain, Joining] = Field({}, max_length=100)
    ca_bundle: File | None = None
    proxy: Url | None = None
    allow_http: bool = False
    allow_private: bool = False

    @model_validator(mode="after")
    def _is_whole(self) -> OidcProvider:
        preset = PRESETS.get(self.preset)
        if preset is None:
            raise ValueError(f"there is no preset '{self.preset}'; there are {', '.join(PRESETS)}")
        if preset.issuer and self.issuer is not None:
            raise ValueError(f"the preset '{self.preset}' knows its issuer; leave 'issuer' out")
        if not (preset.issuer or self.issuer):
            raise ValueError("'issuer' is missing")
        if self.client_secret is not None and self.client_secret_file is not None:
            raise ValueError("give 'client_secret' or 'client_secret_file', not both")
        if self.client_secret_file is not None:
            try:
                _read(self.client_secret_file)
            except (OSError, UnicodeDecodeError):
                raise ValueError("'client_secret_file' cannot be read") from None
        if self.issuer is not None and not may(self.issuer, allow_http=self.allow_http):
            raise ValueError("'issuer' must begin with https:// (or set 'allow_http')")
        return self


class ProviderConfig(Struct, frozen=True, kw_only=True):
    """A provider as the room works with it. title: on its button.

    audiences: besides ours, of which ID tokens may be as well. trust_email: its addresses count as
    verified though it does not say so.
    """

    name: str
    title: str
    issuer: str
    client_id: str
    client_secret: Secret | None = None
    client_auth: Literal["basic", "post"] | None = None
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    algorithms: tuple[str, ...] = USUAL
    audiences: tuple[str, ...] = ()
    trust_email: bool = False
    hosted_email: bool = False
    link_by_email: bool = False
    domains: dict[str, Joining] = {}
    ca_bundle: str | None = None
    proxy: str | None = None
    allow_http: bool = False
    allow_private: bool = False
    fixed: Fixed | None = None


class OidcConfig(Struct, frozen=True):
    """public_url: ours, without a slash at its end; never what a request says."""

    public_url: str = ""
    providers: tuple[ProviderConfig, ...] = ()

    @property
    def is_secure(self) -> bool:
        """Whether browsers come by https."""
        return self.public_url.startswith("https://")


def configured(public_url: str, given: Mapping[str, OidcProvider]) -> OidcConfig:
    """The room's configuration. Raises OSError for a file of a secret that cannot be read."""
    return OidcConfig(public_url, tuple(_resolved(name, each) for name, each in given.items()))


def may(url: str, *, allow_http: bool, local: bool = True) -> bool:
    """Whether an address is safe enough. local: plain http may be used on this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and allow_http):
        return True
    return parts.scheme == "http" and local and parts.hostname in _LOOPBACK


def _resolved(name: str, given: OidcProvider) -> ProviderConfig:
    preset = PRESETS[given.preset]
    return ProviderConfig(
        name=name,
        title=given.title or preset.title or name,
        issuer=given.issuer or preset.issuer,
        client_id=given.client_id,
        client_secret=_secret(given),
        client_auth=given.client_auth,
        scopes=tuple(given.scopes or preset.scopes),
        algorithms=tuple(given.algorithms),
        audiences=tuple(given.audiences),
        trust_email=given.trust_email,
        hosted_email=preset.hosted_email,
        link_by_email=given.link_by_email,
        domains=given.domains,
        ca_bundle=given.ca_bundle,
        proxy=given.proxy,
        allow_http=given.allow_http,
        allow_private=given.allow_private,
        fixed=preset.fixed,
    )


def _secret(given: OidcProvider) -> Secret | None:
    if given.client_secret is not None:
        return Secret(given.client_secret.get_secret_value())
    if given.client_secret_file is not None:
        return Secret(_read(given.client_secret_file))
    return None


def _read(file: str) -> str:
    return Path(file).read_text("utf-8").strip()
