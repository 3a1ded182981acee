"""The one place that answers when a package of an extra is absent."""

from __future__ import annotations

from importlib.util import find_spec

from nilo_consumers.errors import MissingExtraError

PACKAGES = ("pyarrow", "numpy", "pyruhvro", "psycopg", "deltalake", "prometheus_client")


NOTIFY = ("apprise", "jinja2")


def require(packages: tuple[str, ...] = PACKAGES, extra: str = "consumers") -> None:
    """Raise MissingExtraError with the install command when a package is absent."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"the sinks need {', '.join(missing)}: "
            f"install them with: pip install 'nilometer[{extra}]'"
        )
