"""The only reader of the environment and of xrouter.toml.

Every setting is `XROUTER_<NAME>` in the environment, or `<name>` in `xrouter.toml` in the current
folder; the environment wins. Unknown settings are errors.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from typing_extensions import override

PREFIX = "XROUTER_"
FILE = "xrouter.toml"


class SettingsError(Exception):
    """What is wrong with the settings, one line for each."""


class Settings(BaseSettings):
    """How this process runs. Sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", toml_file=FILE)

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    data_dir: Path = Path("var")
    database_url: SecretStr | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    access_log: bool = True
    sandbox: Literal["auto", "on", "off"] = "auto"
    max_body: int = Field(64 << 20, ge=1024)
    max_running: int = Field(2000, ge=1)
    body_timeout: float = Field(60.0, gt=0)
    grace: float = Field(25.0, ge=0)
    journal_max_bytes: int = Field(2 << 30, ge=1 << 20)
    probe_every: float = Field(15.0, ge=0.5, le=3600)
    probe_token_every: float = Field(0.0, ge=0, le=86400)

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

    @property
    def database(self) -> str:
        """The database's URL: as set, else SQLite in the data folder."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite+aiosqlite:///{(self.data_dir / 'xrouter.db').resolve()}"


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
