"""Every test has a home folder of its own, no key, and nothing that leaves the machine."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from runtime.breaker import forget
from runtime.persistence import Persistence, open_persistence

settings.register_profile("quick", max_examples=30, deadline=None)
settings.register_profile("thorough", max_examples=2000, deadline=None)  # make test-all
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

ENVIRONMENT = ("OPENAI_API_KEY", "MOTET_MODEL", "MOTET_PLANNER", "MOTET_WORKER", "MOTET_JUDGE", "MOTET_BASE_URL")


@pytest.fixture(autouse=True)
def own_breakers() -> None:
    forget()


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
