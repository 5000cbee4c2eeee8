"""One smoke zoo and its trained encoders for all benches."""

from pathlib import Path

import pytest

from weightatlas.evaluate.protocols.stage import Stage, stage


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benches")


@pytest.fixture(scope="session")
def there(cache: Path) -> Stage:
    return stage("digits", "smoke", cache)


@pytest.fixture(scope="session")
def netspace_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("netspace")
