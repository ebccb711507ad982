"""A published head in a real API server is replaced only if it is unchanged, whichever operator publishes."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from kubernetes.aio.client import ApiClient, Configuration

from comptroller.cluster.anchors import ACCEPT, KubernetesAnchor
from comptroller.cluster.api import Api
from comptroller.ledger.anchor import Published, UnreadableAnchor, published_heads
from comptroller.ledger.encoding import Head
from support.apiserver import ApiServer

MAPS = "/api/v1/namespaces/default/configmaps"
HEAD = Head(41, "ab" * 32)
FIRST = Published(HEAD, {"USD": 1_250_000}, 1_790_000_000, "s3://books")


@pytest.fixture
async def api(api_server: ApiServer) -> AsyncIterator[Api]:
    configuration = Configuration()
    configuration.host = str(api_server.client.base_url).rstrip("/")
    configuration.verify_ssl = False
    configuration.api_key = {"BearerToken": f"Bearer {api_server.token}"}
    found = Api(ApiClient(configuration))
    yield found
    await found.close()
    selector = {"labelSelector": "comptroller.dev/anchor"}
    api_server.client.delete(MAPS, params=selector).raise_for_status()


async def test_an_installation_has_one_name_whichever_operator_is_first(api: Api) -> None:
    one, two = KubernetesAnchor(api, "default"), KubernetesAnchor(api, "default")
    assert await one.incarnation() == await two.incarnation() == await one.incarnation()
    assert len(await one.incarnation()) == 32


async def test_what_is_published_is_read_back_by_any_operator(api: Api, api_server: ApiServer) -> None:
    one, two = KubernetesAnchor(api, "default"), KubernetesAnchor(api, "default")
    assert await one.read("team") is None
    assert await one.write("team", FIRST, None) == FIRST
    assert await two.read("team") == FIRST
    listed = api_server.client.get(MAPS, params={"labelSelector": "comptroller.dev/anchor=ledger"})
    assert published_heads(listed.content) == {"team": HEAD}
    labels = listed.json()["items"][0]["metadata"]["labels"]
    assert labels["app.kubernetes.io/managed-by"] == "comptroller"


async def test_a_head_is_replaced_only_as_it_was_seen(api: Api) -> None:
    one, two = KubernetesAnchor(api, "default"), KubernetesAnchor(api, "default")
    seen = await one.write("team", FIRST, None)
    assert await two.write("team", FIRST, None) is None
    later = replace(FIRST, head=Head(42, "cd" * 32))
    assert await two.write("team", later, await two.read("team")) == later
    assert await one.write("team", replace(FIRST, time=1_790_000_009), seen) is None
    assert await one.read("team") == later


async def test_an_administrators_acceptance_is_read_and_removed_by_the_next_head(
    api: Api, api_server: ApiServer
) -> None:
    anchor = KubernetesAnchor(api, "default")
    seen = await anchor.write("team", FIRST, None)
    command = anchor.acceptance("team", Head())
    assert command.endswith(f"-n default configmap/comptroller-ledger-team {ACCEPT}=empty")
    note = {"metadata": {"annotations": {ACCEPT: "empty"}}}
    api_server.client.patch(
        f"{MAPS}/comptroller-ledger-team",
        json=note,
        headers={"Content-Type": "application/merge-patch+json"},
    ).raise_for_status()
    assert await anchor.write("team", FIRST, seen) is None
    accepted = await anchor.read("team")
    assert accepted is not None
    assert accepted.accepted == "empty"
    assert await anchor.write("team", FIRST, accepted) == FIRST
    assert await anchor.read("team") == FIRST


async def test_a_config_map_that_is_no_anchor_is_refused_and_one_that_is_gone_is_written_again(
    api: Api, api_server: ApiServer
) -> None:
    anchor = KubernetesAnchor(api, "default")
    seen = await anchor.write("team", FIRST, None)
    api_server.client.delete(f"{MAPS}/comptroller-ledger-team").raise_for_status()
    assert await anchor.write("team", FIRST, seen) is None
    assert await anchor.write("team", FIRST, None) == FIRST
    api_server.client.patch(
        f"{MAPS}/comptroller-ledger-team",
        json={"data": {"head": "nonsense"}},
        headers={"Content-Type": "application/merge-patch+json"},
    ).raise_for_status()
    with pytest.raises(UnreadableAnchor, match="SEQUENCE:HASH"):
        await anchor.read("team")
