"""Every test has a home folder of its own, no key, and nothing that leaves the machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.persistence import Persistence, open_persistence

ENVIRONMENT = ("OPENAI_API_KEY", "MOTET_MODEL", "MOTET_PLANNER", "MOTET_WORKER", "MOTET_JUDGE", "MOTET_BASE_URL")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (*ENVIRONMENT, "MOTET_DB", "MOTET_DOCS", "MOTET_PRICES", "MOTET_RPS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    monkeypatch.setenv("MOTET_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def memory() -> Persistence:
    return open_persistence("memory://")


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Persistence]:
    home = open_persistence(f"sqlite:///{tmp_path / 'threads.db'}")
    yield home
    home.close()
