import pytest

from support.watched import Filled


@pytest.fixture
def cluster() -> Filled:
    return Filled()
