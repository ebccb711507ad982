"""The API server gives the answers of the table for each manifest, and `lint` gives the same ones."""

import pytest

from support import manifests
from support.apiserver import ApiServer, sentences


def answer(api_server: ApiServer, case: manifests.Case) -> tuple[str, ...]:
    if case.stored is None:
        return sentences(api_server.create(case.sent, dry=True))
    api_server.delete(case.stored)
    stored = api_server.store(case.stored)
    try:
        return sentences(api_server.update(stored, case.sent))
    finally:
        api_server.delete(case.stored)


@pytest.mark.parametrize("case", manifests.cases("accepted"), ids=str)
def test_the_api_server_accepts(api_server: ApiServer, case: manifests.Case) -> None:
    assert answer(api_server, case) == ()


@pytest.mark.parametrize("case", manifests.cases("refused"), ids=str)
def test_the_api_server_refuses(api_server: ApiServer, case: manifests.Case) -> None:
    assert sorted(answer(api_server, case)) == sorted(case.says)
