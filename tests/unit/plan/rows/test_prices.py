"""Leases hold the cap, attempts are billed the price, and both are booked before anything is launched."""

from comptroller.pricing import Fed, Unfed
from comptroller.pricing.fed import Fresh
from comptroller.pricing.rates import HourlyRates
from support.worlds import NOW
from unit.plan.scene import FIRST, leased, node_class, one, over, priced, proven, running, scene
from unit.plan.table import Row, table

SPOT = {"cpu": "1.80", "memoryGiB": "0", "nodeSelector": {"capacity": "spot"}}
BOTH = (priced(nodeClasses=[node_class(spot=SPOT, cpu="3.60")]),)
LARGE = node_class("large", nodeSelector={"size": "l"}, cpu="7.20", cap="7.20")
KNOWN = "price/small/USD/1"


def lease(trial=0, amount=FIRST):
    return f"reserve/u1/{trial}/0/0 rung 0: 60 s, {amount:_} on study/u1"


def spot(hedge=None):
    return one(runtime={"capacity": "Spot", "hedge": hedge})


def fed(cpu, ago=10):
    """Return the answer of a feed, in micro-units of a core's hour."""
    since = NOW - ago
    return {("list", "small"): Fed(since, Fresh(HourlyRates(None, cpu, 0), since), None)}


FROM_FEED = (
    priced(
        source="OpenCost",
        asOf=None,
        maxAge="1h",
        openCost={"url": "http://opencost:9003"},
        nodeClasses=[{"name": "small", "cap": {"cpu": "3.60", "memoryGiB": "0"}}],
    ),
)


@table(
    Row(
        "a lease holds the cap whatever the price is",
        scene(prices=(priced(nodeClasses=[node_class(cpu="0.36")], asOf="2027-01-15T07:00:00Z"),)).trial(0),
        does=[f"{KNOWN}: OnDemand.cpu 360_000, Cap.cpu 3_600_000 since -3600", lease()],
    ),
    Row("a price that the books have is not booked again", scene().trial(0), does=[lease()]),
    Row(
        "a price without a newer moment is charged from now on",
        scene(prices=(priced(nodeClasses=[node_class(cpu="0.36")]),)).trial(0),
        does=[f"{KNOWN}: OnDemand.cpu 360_000, Cap.cpu 3_600_000 since now", lease()],
    ),
    Row(
        "a price of the future is charged from now on",
        scene(prices=(priced(nodeClasses=[node_class(cpu="0.36")], asOf="2027-01-16T00:00:00Z"),)).trial(0),
        does=[f"{KNOWN}: OnDemand.cpu 360_000, Cap.cpu 3_600_000 since now", lease()],
    ),
    Row(
        "a list of higher priority wins",
        scene(prices=(priced(), priced("high", priority=1, nodeClasses=[node_class(cap="7.20")]))).trial(0),
        does=[f"{KNOWN}: OnDemand.cpu 3_600_000, Cap.cpu 7_200_000 since now", lease(amount=2 * FIRST)],
    ),
    Row(
        "two studies of one class book its price once",
        scene(one(), one("u2"), prices=(priced(nodeClasses=[node_class(cpu="0.36")]),))
        .trial(0)
        .trial(0, of="u2"),
        does=[
            f"{KNOWN}: OnDemand.cpu 360_000, Cap.cpu 3_600_000 since now",
            lease(),
            f"reserve/u2/0/0/0 rung 0: 60 s, {FIRST:_} on study/u2",
        ],
    ),
    Row(
        "two studies of one class that see other prices of it book one after the other",
        scene(
            one(),
            one("u2", runtime={"capacity": "Spot"}),
            prices=(priced(nodeClasses=[node_class(cpu="0.36", spot=SPOT)]),),
        )
        .trial(0)
        .trial(0, of="u2"),
        does=[f"{KNOWN}: OnDemand.cpu 360_000, Cap.cpu 3_600_000 since now", lease()],
    ),
)
def test_a_price_is_booked(row):
    row.check()


@table(
    Row(
        "spot capacity has its own price and selects its own nodes",
        scene(spot(), prices=BOTH).trial(0),
        does=[f"{KNOWN}: OnDemand.cpu 3_600_000, Cap.cpu 3_600_000, Spot.cpu 1_800_000 since now", lease()],
    ),
    Row(
        "spot capacity that costs as much as is declared is taken",
        scene(spot(50), prices=BOTH).trial(0),
        does=[f"{KNOWN}: OnDemand.cpu 3_600_000, Cap.cpu 3_600_000, Spot.cpu 1_800_000 since now", lease()],
    ),
    Row(
        "spot capacity that costs more than is declared is left for on demand",
        scene(spot(49), prices=BOTH).trial(0),
        does=[lease()],
    ),
    Row(
        "a lease of spot capacity is not launched on demand",
        scene(spot(49), prices=BOTH).trial(0, leased(capacity="Spot")),
        does=["bury s-u1-0000-0 with Trial: trials are running"],
    ),
    Row(
        "NoPrice: spot capacity that no list offers holds",
        scene(spot()).trial(0),
        does=[],
        study="Stalled NoPrice: node class 'small' has no spot price",
    ),
)
def test_spot_capacity(row):
    row.check()


@table(
    Row(
        "a feeds price is booked from when it is in force",
        scene(prices=FROM_FEED, feed=fed(1_800_000)).trial(0),
        does=[f"{KNOWN}: OnDemand.cpu 1_800_000, Cap.cpu 3_600_000 since -10", lease()],
    ),
    Row(
        "NoPrice: a feed that has not answered yet holds",
        scene(prices=FROM_FEED).trial(0),
        does=[],
        study="Stalled NoPrice: node class 'small' has no price: OpenCost has no price for PriceList"
        " 'list': it has not"
        " been read yet",
    ),
    Row(
        "NoPrice: a feed that fails says why",
        scene(prices=FROM_FEED, feed={("list", "small"): Unfed("refused")}).trial(0),
        does=[],
        study="Stalled NoPrice: node class 'small' has no price: OpenCost has no price for PriceList 'list':"
        " refused",
    ),
    Row(
        "StalePrice: a feeds price over its age holds",
        scene(prices=FROM_FEED, feed=fed(1_800_000, 3601)).trial(0),
        does=[],
        study="Stalled StalePrice: the price of node class 'small' in PriceList 'list' is of"
        " 2027-01-15T06:59:59Z, over"
        " its maxAge 1h",
    ),
    Row(
        "PriceAboveCap: a feeds price above the cap holds",
        scene(prices=FROM_FEED, feed=fed(3_600_001)).trial(0),
        does=[],
        study="Stalled PriceAboveCap: the on-demand price of node class 'small' is 3.600001 USD for an hour"
        " of cpu,"
        " above the cap 3.60 in PriceList 'list'",
    ),
    Row(
        "ImplausiblePrice: a feeds price far below the cap holds",
        scene(prices=FROM_FEED, feed=fed(179_999)).trial(0),
        does=[],
        study="Stalled ImplausiblePrice: the on-demand price of node class 'small' is 0.179999 USD for an"
        " hour"
        " of cpu, as OpenCost has it, under the floor 0.18, which is 5% of its cap in PriceList 'list': if"
        " that is the"
        " price, lower floorPercent",
    ),
    Row(
        "a price that is too old for a launch ends nothing that runs",
        proven(prices=(priced(maxAge="24h"),)).trial(1, running()),
        does=[],
    ),
)
def test_a_feed(row):
    row.check()


LABELLED = (priced(nodeClasses=[node_class(nodeSelector={"size": "s"}), LARGE]),)


def place(trial=0):
    return f"place/u1/{trial}/0/0"


@table(
    Row(
        "a pod on the node that it was sent to has no place of its own",
        scene(prices=LABELLED).trial(0, running(nodes=({"size": "s"},))),
        does=[],
    ),
    Row(
        "a pod on a node of another class is placed before anything else is done",
        scene(prices=LABELLED).trial(0, running(30, nodes=({"size": "l"},))).trial(1),
        does=[f"{place()}: OnDemand large since never"],
    ),
    Row(
        "a pod on a node that no list knows is placed at the cap",
        scene(prices=LABELLED).trial(0, running(nodes=({"size": "x"},))),
        does=[f"{place()}: Cap since never"],
    ),
    Row(
        "of several nodes the dearest is the place",
        scene(prices=LABELLED).trial(0, running(nodes=({"size": "s"}, {"size": "l"}))),
        does=[f"{place()}: OnDemand large since never"],
    ),
    Row(
        "what ends is placed before it is settled",
        scene(prices=LABELLED).trial(0, over(nodes=({"size": "l"},))),
        does=[f"{place()}: OnDemand large since never"],
    ),
)
def test_a_pod_is_placed(row):
    row.check()
