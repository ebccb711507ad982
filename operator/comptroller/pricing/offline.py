"""Price lists read without their feeds, for commands that need no network."""

from datetime import UTC, datetime

from comptroller_api.pricelist import FEEDS, Capacity, GpuProfile, NodeClass, PriceList, Rates

_RATES = ("gpu", "cpu", "memory_gib", "storage_gib")


def declared(prices: PriceList, now: int) -> PriceList:
    """Return a list that needs no feed: each price is what the list declares, or else its cap.

    The cap is the most that can be charged, so what is reckoned with it is the worst case.
    """
    spec = prices.spec
    if spec.source == "Static":
        return prices
    stamp = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}"
    static = {"source": "Static", "as_of": stamp, "max_age": None, **dict.fromkeys(FEEDS.values())}
    classes = [_static(node_class) for node_class in spec.node_classes]
    return prices.model_copy(update={"spec": spec.model_copy(update=static | {"node_classes": classes})})


def _static(one: NodeClass) -> NodeClass:
    filled = {
        "on_demand": _filled(one.on_demand or Capacity(), one.cap),
        # Without a declared spot capacity nothing says which nodes are spot.
        "spot": None if one.spot is None else _filled(one.spot, one.cap),
        "gpu_profiles": [_profile(profile, spot=one.spot is not None) for profile in one.gpu_profiles],
    }
    return one.model_copy(update=filled)


def _filled(capacity: Capacity, cap: Rates) -> Capacity:
    missing = {name: getattr(cap, name) for name in _RATES if getattr(capacity, name) is None}
    return capacity.model_copy(update=missing)


def _profile(profile: GpuProfile, *, spot: bool) -> GpuProfile:
    found = {"on_demand": profile.on_demand or profile.cap}
    return profile.model_copy(update=found | ({"spot": profile.spot or profile.cap} if spot else {}))
