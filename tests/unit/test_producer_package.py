"""What the package shows, and what it may need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nilo_producers
from nilo_producers.errors import ProducerError
from nilo_schemas.errors import NiloError

_WITHOUT_EXTRAS = """
import sys
for name in ("pyarrow", "numpy", "faust", "psycopg", "yaml", "avro", "typer", "rich", "deltalake"):
    sys.modules[name] = None  # every import of it fails
import nilo_producers
from nilo_producers.mapping import shipped
from nilo_producers.files import open_table
from pathlib import Path
assert len(shipped()) > 10
path = Path(sys.argv[1])
try:
    open_table(path)
except nilo_producers.FileError as error:
    print(error)
"""


def test_everything_public_is_there() -> None:
    assert sorted(nilo_producers.__all__) == nilo_producers.__all__
    assert all(hasattr(nilo_producers, name) for name in nilo_producers.__all__)


def test_every_error_is_one_of_ours() -> None:
    named = [getattr(nilo_producers, n) for n in nilo_producers.__all__ if n.endswith("Error")]

    assert len(named) == 8
    assert all(issubclass(error, ProducerError) for error in named)
    assert issubclass(ProducerError, NiloError)
    assert nilo_producers.QueueFullError.transient


def test_the_base_install_is_enough_and_parquet_names_the_extra(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    file.touch()

    ran = subprocess.run(
        [sys.executable, "-c", _WITHOUT_EXTRAS, file], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr
    assert "pip install 'nilometer[consumers]'" in ran.stdout
