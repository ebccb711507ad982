"""Five minutes of `make chaos`: despite all faults and tampering, ceilings hold and the books are correct."""

import random

import pytest

from chaos.run import chaos
from support.realcluster import ROOT, RealCluster

MINUTES = 5


@pytest.mark.alone
@pytest.mark.timeout(60 * MINUTES + 1200)
def test_under_faults_and_tampering_ceilings_hold_and_nothing_runs_unbilled(cluster: RealCluster) -> None:
    assert chaos(cluster, MINUTES, random.SystemRandom().randrange(10**6), ROOT / "out" / "chaos") == []
