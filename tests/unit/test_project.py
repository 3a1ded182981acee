"""The project itself: what the wheel holds, the lock, the documents of the settings."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from nilo_schemas.settings import CONFIG_FILE, Settings, load_settings

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
LOCK = (ROOT / "requirements.lock").read_text()
# Written in two halves, so that this file does not name them either.
REGISTRIES = [
    "pypi." + "org",
    "pythonhosted." + "org",
    "repo1.maven." + "org",
    "repo.maven." + "apache",
    "npmjs." + "org",
    "deb.debian." + "org",
    "crates." + "io",
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in a wheel that was built from this checkout, offline."""
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(out.glob("*.whl"))) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize("package", PACKAGES)
def test_the_wheel_holds_every_file_of_the_package(wheel: set[str], package: str) -> None:
    folder = ROOT / package
    files = {
        str(path.relative_to(folder.parent))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert f"{folder.name}/py.typed" in files
    assert files - wheel == set()


def test_the_wheel_holds_six_packages_and_no_tests(wheel: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel if ".dist-info/" not in name}

    assert tops == {Path(package).name for package in PACKAGES}
    assert len(tops) == 6


@pytest.mark.parametrize(
    "kind",
    [
        "nilo_schemas/avro/*/*.avsc",
        "nilo_schemas/catalogue/*.yaml",
        "*/mappings/*.toml",
        "nilo_consumers/postgres_sql/*/*.sql",
    ],
)
def test_the_wheel_holds_the_data_files(wheel: set[str], kind: str) -> None:
    assert [name for name in wheel if Path(name).match(kind)]


def test_the_lock_pins_every_dependency_with_hashes() -> None:
    blocks = re.split(r"\n(?=\S)", LOCK.strip())
    pinned = {re.split(r"==", block)[0] for block in blocks if "--hash=sha256:" in block}
    extras = PROJECT["project"]["optional-dependencies"].values()
    wanted = {
        re.split(r"[^a-z0-9-]", line.lower())[0]
        for line in PROJECT["project"]["dependencies"] + [one for extra in extras for one in extra]
    } - {"nilometer"}

    assert [block for block in blocks if not re.match(r"[a-z0-9-]+==.*--hash=", block, re.S)] == []
    assert wanted - pinned == set()


def test_no_file_names_a_package_registry() -> None:
    listed = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = [path for name in names.split("\0") if name and (path := ROOT / name).is_file()]
    texts = {str(path): path.read_text(errors="replace") for path in files}

    assert len(texts) > 50
    assert [
        (name, host) for name, text in texts.items() for host in REGISTRIES if host in text
    ] == []


def _row(name: str, field: FieldInfo) -> str:
    extra = field.json_schema_extra
    alias = extra.get("alias_env") if isinstance(extra, dict) else None
    names = f"`NILO_{name.upper()}`" + (f", `{alias}`" if alias else "")
    default = "" if field.default in (None, "") else f"`{field.default}`"
    if field.default_factory:
        default = "`~/.nilometer`"
    return f"| `{name}` | {names} | {default} | {field.description} |"


def test_the_document_of_the_settings_is_what_the_code_says() -> None:
    document = (ROOT / "docs/configuration.md").read_text()
    rows = [line for line in document.splitlines() if line.startswith("| `")]

    assert rows == [_row(name, field) for name, field in Settings.model_fields.items()]


def test_the_example_of_the_settings_is_whole_and_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = (ROOT / "nilo.example.toml").read_text()
    told = re.sub(r"^#(?=\w+ = )", "", example, flags=re.M)
    (tmp_path / CONFIG_FILE).write_text(told)
    monkeypatch.chdir(tmp_path)

    settings = load_settings(env={})

    assert set(tomllib.loads(told)) == set(Settings.model_fields)
    assert {settings.source(name) for name in Settings.model_fields} == {CONFIG_FILE}
    assert tomllib.loads(example) == {}
