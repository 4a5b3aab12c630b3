"""The text of a LiteLLM configuration, YAML or JSON, as plain values."""

from __future__ import annotations

import json
from typing import Any

import yaml

from xrouter.control.kit.storable import MAX_DEPTH
from xrouter.domain.errors import InvalidRequest, PayloadTooLarge

MAX_BYTES = 1 << 20
_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_OPENS = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_CLOSES = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


def read(raw: bytes) -> Any:
    """Values as JSON has them; whatever begins with a brace is read as JSON.

    Raises InvalidRequest, also for aliases (`*name`): few of them make a document without end.
    """
    if len(raw) > MAX_BYTES:
        raise PayloadTooLarge(f"The configuration has more than {MAX_BYTES} bytes.")
    try:
        text = raw.decode("utf-8-sig")
        found = json.loads(text) if text.lstrip().startswith("{") else _yaml(text)
        return json.loads(json.dumps(found, allow_nan=False, default=str))
    except json.JSONDecodeError as error:
        raise _unreadable(f"{error.msg}, line {error.lineno}, column {error.colno}") from None
    except UnicodeError:
        raise _unreadable("it is not UTF-8") from None
    except yaml.YAMLError as error:
        raise _unreadable(_where(error)) from None
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise _unreadable("there is a value in it that is none") from None


def _yaml(text: str) -> Any:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, _OPENS) - isinstance(event, _CLOSES)
        if depth > MAX_DEPTH:
            raise _unreadable(f"it has more than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            raise InvalidRequest(
                f"Aliases are not read{_place(event.start_mark)}.",
                code="yaml_alias",
                hint="Write them out: `yq 'explode(.)' config.yaml`.",
            )
    return yaml.load(text, Loader=_LOADER)  # noqa: S506 - it is a safe loader


def _where(error: yaml.YAMLError) -> str:
    """What is wrong and where; never the text itself, for there may be keys in it."""
    if isinstance(error, yaml.constructor.ConstructorError):
        return f"there is a value in it of an unknown kind{_place(error.problem_mark)}"
    if isinstance(error, yaml.MarkedYAMLError):
        return f"{error.problem or 'it is broken'}{_place(error.problem_mark)}"
    return "there is a character in it that is none"


def _place(mark: Any) -> str:
    return "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"


def _unreadable(cause: str) -> InvalidRequest:
    return InvalidRequest(
        f"The configuration is neither YAML nor JSON that can be read: {cause}.",
        code="invalid_config",
    )
