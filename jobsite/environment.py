"""What the environment says: variables first, then the `.env` file, then the defaults.

Owns the names and types of the project's own settings, and the rule of what may be missing. Every
`JOBS_*` name is passed on as text: `jobs.conf` converts and judges those.
"""

from __future__ import annotations

import os
import secrets
from functools import cached_property
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from dotenv import dotenv_values
from pydantic import AliasChoices, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

BASE_DIR = Path(__file__).resolve().parent.parent
HELP = "scripts/up writes a .env for development; docs/settings.md lists every setting."


class Environment(BaseSettings):
    """The project's settings, typed. Field x is the variable X."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    debug: bool = False
    secret_key: str = ""
    allowed_hosts: str = ""
    csrf_trusted_origins: str = ""
    behind_tls_proxy: bool = False
    force_script_name: str = Field("", pattern=r"^((/[\w.~-]+)+/?)?$")

    database_url: str = ""
    redis_url: str = ""
    redis_sentinels: str = ""
    redis_sentinel_service: str = ""

    email_url: str = ""
    default_from_email: str = "jobs@localhost"

    serve_head_timeout_s: float = Field(10, gt=0, le=3600)
    serve_body_timeout_s: float = Field(60, gt=0, le=86_400)
    serve_head_max_bytes: int = Field(32_768, ge=1024, le=1_048_576)

    stated_data_dir: Path = Field(default=Path("var"), validation_alias=AliasChoices("JOBS_DATA_DIR", "jobs_data_dir"))

    @field_validator("*", mode="before")
    @classmethod
    def _or_default(cls, value: Any, info: ValidationInfo) -> Any:
        """A variable that is empty is one that is not set: `DEBUG= manage.py …` turns off what the file turns on."""
        return cls.model_fields[info.field_name or ""].default if value == "" else value

    @field_validator("stated_data_dir")
    @classmethod
    def _is_a_path(cls, path: Path) -> Path:
        text = str(path)
        if any(character < " " or "\ud800" <= character <= "\udfff" for character in text):
            raise ValueError("a path holds no line breaks and is UTF-8")
        try:
            return path.expanduser()
        except RuntimeError:
            raise ValueError("~ stands for no folder here") from None

    @cached_property
    def data_dir(self) -> Path:
        """Absolute: a relative one counts from the project's folder, whatever the working directory."""
        return Path(os.path.abspath(BASE_DIR / self.stated_data_dir))

    @property
    def is_broker_embedded(self) -> bool:
        return not (self.redis_url or self.redis_sentinels)

    def missing(self) -> list[str]:
        """What production needs and nobody stated. Development has a default for each."""
        if self.debug:
            return []
        needed = {"SECRET_KEY": self.secret_key, "DATABASE_URL": self.database_url}
        needed["REDIS_URL"] = self.redis_url or self.redis_sentinels
        return [name for name, value in needed.items() if not value]


def env_file() -> Path:
    """`ENV_FILE` chooses another file, for one per environment; one that is not there is no slip to pass over."""
    stated = os.environ.get("ENV_FILE")
    if stated and not Path(stated).exists():
        raise ImproperlyConfigured(f"ENV_FILE={stated}: there is no such file.")
    found = Path(stated or BASE_DIR / ".env")
    try:
        text = found.read_text() if found.is_file() or found.is_dir() else ""  # what comes by a pipe can be read once
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise ImproperlyConfigured(f"The settings file {found} cannot be read: {reason}.") from None
    if "\0" in text:
        raise ImproperlyConfigured(f"The settings file {found} cannot be read: it is no text.")
    return found


def load() -> Environment:
    """The environment, checked. Raises ImproperlyConfigured with everything that is wrong, in words."""
    try:
        found = Environment(_env_file=env_file())
    except ValidationError as error:
        raise ImproperlyConfigured(_sentence([_in_words(problem) for problem in error.errors()])) from None
    problems = [f"{name} is missing (needed unless DEBUG=1)" for name in found.missing()]
    if found.redis_sentinels and not found.redis_sentinel_service:
        problems.append("REDIS_SENTINEL_SERVICE is missing (REDIS_SENTINELS is set)")
    if problems:
        raise ImproperlyConfigured(_sentence(problems))
    return found


def jobs_settings() -> dict[str, str]:
    """Every `JOBS_*` name that the file or the environment states, as text."""
    stated = {**dotenv_values(env_file()), **os.environ}
    return {name: value for name, value in stated.items() if name.startswith("JOBS_") and value is not None}


def seconds(text: str | None, default: float) -> float:
    """A duration that the project's settings need before the checks judge it: a bad one is theirs to name."""
    try:
        return float(text) if text else default
    except ValueError:
        return default


def private_dir(path: Path, setting: str = "JOBS_DATA_DIR") -> Path:
    """The folder that a setting names, made for its owner alone where it does not exist."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(f"The folder {path} cannot be made: {error.strerror}. Set {setting}.") from None
    return path


def private_file(path: Path, text: str = "", setting: str = "JOBS_DATA_DIR") -> Path:
    """The file; where there is none it is made with `text`, readable by its owner alone.

    Of several processes that come at once one writes, and all find the same.
    """
    try:
        if path.exists():
            return path
        draft = private_dir(path.parent, setting) / f".{secrets.token_hex(8)}"
        draft.touch(mode=0o600)
        try:
            draft.write_text(text)
            os.link(draft, path)
        except FileExistsError:
            pass  # the rival process was first
        finally:
            draft.unlink()
    except OSError as error:
        raise ImproperlyConfigured(f"The file {path} cannot be made: {error.strerror}. Set {setting}.") from None
    return path


def _in_words(problem: Any) -> str:
    name = str(problem["loc"][0]).upper()
    return f"{name}={problem['input']!r} is not valid: {problem['msg']}"


def _sentence(problems: list[str]) -> str:
    return "The settings are not complete: " + "; ".join(problems) + ". " + HELP
