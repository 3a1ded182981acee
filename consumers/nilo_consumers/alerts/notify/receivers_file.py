"""Reads the file of the receivers; its errors name file and line and hold no secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from pydantic import ValidationError

from nilo_consumers.alerts.notify.apprises import apprise_problem
from nilo_consumers.alerts.notify.receivers import Receiver, Receivers
from nilo_consumers.alerts.notify.texts import template_problem
from nilo_consumers.errors import ReceiversError
from nilo_schemas.catalogue_files import line_of
from nilo_schemas.settings import Settings

_Place = tuple[str | int, ...]
_PLAIN = re.compile(r"\w{1,40}")


def receivers_of(settings: Settings) -> Receivers:
    """The receivers of `notify_file`.

    Raises:
        ReceiversError: it is not set, not readable, or refused.
        MissingExtraError: the extra `notify` is not installed.
    """
    if settings.notify_file is None:
        raise ReceiversError(
            "notify_file is not set: set NILO_NOTIFY to the YAML file of the receivers "
            "(docs/notify.md shows one)"
        )
    return load_receivers(settings.notify_file.expanduser())


def load_receivers(path: Path) -> Receivers:
    """The receivers of a file; raises as `receivers_of`."""
    try:
        content = path.read_text()
        tree, values = yaml.compose(content, yaml.SafeLoader), yaml.safe_load(content)
    except yaml.MarkedYAMLError as error:
        # Its whole text would show the line, and so what is secret in it.
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ReceiversError(f"{path}:{line}: not valid YAML") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ReceiversError(f"{path}: not valid YAML") from None
    except OSError as error:
        raise ReceiversError(f"{path} is not readable: {error.strerror}") from None
    try:
        found = Receivers.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise _refused(path, tree, first["loc"], first["msg"]) from None
    for place, problem in _problems(found):
        raise _refused(path, tree, place, problem)
    return found


def _problems(found: Receivers) -> Iterator[tuple[_Place, str]]:
    """What is wrong with a receiver that its model does not know of."""
    for number, receiver in enumerate(found.receivers):
        for field, problem in _problems_of(receiver):
            if problem:
                yield ("receivers", number, field), problem


def _problems_of(receiver: Receiver) -> Iterator[tuple[str, str | None]]:
    if receiver.kind == "apprise":
        yield "apprise", apprise_problem(receiver.url)
    yield "title", template_problem(receiver.title)
    yield "body", template_problem(receiver.body)


def _refused(path: Path, tree: yaml.Node | None, place: _Place, message: str) -> ReceiversError:
    # A URL that lost its key has become a key itself.
    where = ".".join(str(step) if _PLAIN.fullmatch(str(step)) else "…" for step in place)
    return ReceiversError(f"{path}:{line_of(tree, place)}: {where}: {message}")
