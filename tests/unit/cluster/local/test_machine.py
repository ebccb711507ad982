"""The attempts that fit on this machine, and the share that each gets."""

from hypothesis import given
from hypothesis import strategies as st

from comptroller.cluster.local import Machine
from comptroller.cluster.local.machine import Share
from comptroller_api import quantity
from comptroller_api.study import Resources

GIB = 2**30
MACHINE = Machine((0, 1, 2, 3), 8 * GIB, 2)


def a_share(wanted: Resources, taken: list[Share]) -> Share:
    found = MACHINE.share(wanted, taken)
    assert found is not None
    return found


def test_a_request_for_more_than_the_machine_has_can_never_run() -> None:
    assert MACHINE.refusal(Resources(cpu="4", memory="8Gi", gpu=2)) is None
    assert MACHINE.refusal(Resources(cpu="4001m")) == "it asks for 4001m CPUs and this machine has 4"
    assert MACHINE.refusal(Resources(memory="9Gi")) == "it asks for 9Gi of memory and this machine has 8192Mi"
    assert MACHINE.refusal(Resources(gpu=3)) == "it asks for 3 GPUs and this machine has 2"


def test_no_share_where_one_resource_is_used_up() -> None:
    taken = [Share(Resources(cpu="3", memory="1Gi", gpu=1), (0, 1, 2), (0,))]
    assert MACHINE.share(Resources(cpu="2", memory="1Gi"), taken) is None
    assert MACHINE.share(Resources(cpu="1", memory="7.5Gi"), taken) is None
    assert MACHINE.share(Resources(cpu="1", memory="1Gi", gpu=2), taken) is None
    assert a_share(Resources(cpu="1", memory="7Gi", gpu=1), taken).gpus == (1,)


def test_small_attempts_share_a_core_and_large_ones_have_their_own() -> None:
    taken = [Share(Resources(cpu="2", memory="1Gi"), (1, 2), ())]
    half = a_share(Resources(cpu="500m", memory="1Gi"), taken)
    assert half.cores == (0,)
    assert a_share(Resources(cpu="1", memory="1Gi"), [*taken, half]).cores == (3,)


def test_this_machine_can_be_queried() -> None:
    machine = Machine.this()
    assert machine.cores
    assert machine.memory > 0


@given(
    st.lists(st.tuples(st.sampled_from(["250m", "500m", "1", "1500m", "2"]), st.integers(0, 1)), max_size=20)
)
def test_nothing_is_ever_given_twice(wishes: list[tuple[str, int]]) -> None:
    taken: list[Share] = []
    for cpu, gpu in wishes:
        share = MACHINE.share(Resources(cpu=cpu, memory="512Mi", gpu=gpu), taken)
        if share is not None:
            taken.append(share)
    gpus = [number for share in taken for number in share.gpus]
    assert len(gpus) == len(set(gpus))
    assert sum(quantity.milli(share.resources.cpu) for share in taken) <= 4000
    assert sum(quantity.whole(share.resources.memory) for share in taken) <= 8 * GIB
