"""The only reader of the environment and of xrouter.toml.

Every setting is `XROUTER_<NAME>` in the environment, or `<name>` in `xrouter.toml` in the current
folder; the environment wins. Unknown settings are errors.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from typing_extensions import override

from xrouter.control.kit.schemas import Name
from xrouter.control.people.oidc.config import MAX_PROVIDERS, OidcProvider
from xrouter.domain.bounds import Network, compact
from xrouter.domain.secret import Secret

PREFIX = "XROUTER_"
FILE = "xrouter.toml"
SHORTEST_HANG_S = 3.0
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")


class SettingsError(Exception):
    """What is wrong with the settings, one line for each."""


class Seller(BaseModel):
    """Who runs this router and sells, as invoices and acts name it."""

    model_config = ConfigDict(extra="forbid", str_max_length=500, str_strip_whitespace=True)

    name: str = ""
    name_en: str = ""
    inn: str = ""
    kpp: str = ""
    ogrn: str = ""
    address: str = ""
    address_en: str = ""
    phone: str = ""
    bank: str = ""
    bank_en: str = ""
    bik: str = ""
    account: str = ""
    correspondent_account: str = ""
    director: str = ""
    director_en: str = ""
    accountant: str = ""
    accountant_en: str = ""


class Settings(BaseSettings):
    """How this process runs. Sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", toml_file=FILE)

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    workers: int = Field(1, ge=1, le=64)
    data_dir: Path = Path("var")
    database_url: SecretStr | None = None
    redis_url: SecretStr | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    access_log: bool = True
    public_status: bool = True
    trusted_proxies: str = ""
    sandbox: Literal["auto", "on", "off"] = "auto"
    max_body: int = Field(64 << 20, ge=1024)
    max_running: int = Field(2000, ge=1)
    max_bodies: int = Field(512 << 20, ge=1024)
    max_lag: float = Field(0.25, gt=0)
    body_timeout: float = Field(60.0, gt=0)
    grace: float = Field(25.0, ge=0)
    hang_timeout: float = Field(30.0, ge=0)
    journal_max_bytes: int = Field(2 << 30, ge=1 << 20)
    probe_every: float = Field(15.0, ge=0.5, le=3600)
    probe_token_every: float = Field(0.0, ge=0, le=86400)
    require_price: Literal["allow", "refuse"] = "allow"
    lease: float = Field(30.0, ge=1, le=3600)
    public_url: str | None = None
    token_life: float = Field(365 * 86400.0, ge=60, le=10 * 365 * 86400.0)
    token_algorithm: Literal["ES256", "RS256"] = "ES256"  # noqa: S105 - no secret
    oidc: Annotated[dict[Name, OidcProvider], NoDecode] = Field({}, max_length=MAX_PROVIDERS)
    seller: Annotated[Seller, NoDecode] = Seller()

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))

    @field_validator("seller", "oidc", mode="before")
    @classmethod
    def _from_json(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        try:
            return json.loads(given)
        except ValueError:
            raise ValueError('must be JSON, like {"name": "..."}') from None

    @field_validator("hang_timeout")
    @classmethod
    def _is_patient(cls, seconds: float) -> float:
        if 0 < seconds < SHORTEST_HANG_S:
            raise ValueError(f"must be 0 for never, or at least {SHORTEST_HANG_S:g}")
        return seconds

    @field_validator("public_url")
    @classmethod
    def _is_public(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        local = parts.hostname in ("127.0.0.1", "::1", "localhost")
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            raise ValueError("must begin with https://, or be http on this machine")
        if not parts.hostname or "@" in parts.netloc or "?" in url or "#" in url:
            raise ValueError("must be an address without user, '?' and '#'")
        return url.rstrip("/")

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(REDIS_SCHEMES):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return url

    @field_validator("trusted_proxies")
    @classmethod
    def _are_ranges(cls, text: str) -> str:
        for each in _listed(text):
            compact(each)
        return text

    @property
    def proxies(self) -> tuple[Network, ...]:
        """Whose word on where a request comes from is taken."""
        return tuple(map(compact, _listed(self.trusted_proxies)))

    @property
    def redis(self) -> Secret | None:
        """Where processes share state, None for one that shares nothing."""
        return None if self.redis_url is None else Secret(self.redis_url.get_secret_value())

    @property
    def issuer(self) -> str:
        """Who signs access tokens: our public address, never what a request says."""
        return self.public_url or f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> str:
        """The database's URL: as set, else SQLite in the data folder."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite+aiosqlite:///{(self.data_dir / 'xrouter.db').resolve()}"


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def load() -> Settings:
    """Read the settings. Raises SettingsError that names each wrong one, or the unreadable file."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = [n for n in os.environ if n.startswith(PREFIX) and n not in known]
    if unknown:
        raise SettingsError("\n".join(f"{name}: there is no such setting" for name in unknown))
    try:
        return Settings()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{FILE}: {error}") from None
    except ValidationError as error:
        lines = [
            f"{PREFIX}{'.'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
            for item in error.errors()
        ]
        raise SettingsError("\n".join(lines)) from None


def provider_environment() -> Mapping[str, str]:
    """The environment as adapters read their credentials from it; empty values count as absent."""
    return {name: value for name, value in os.environ.items() if value.strip()}
