"""Scenarios: the same study, were prices or durations other than they are."""

import re
from dataclasses import dataclass, replace

from comptroller.pricing.book import Quote
from comptroller.pricing.forecast import Case

_CHANGE = re.compile(r"(gpu|cpu|memory|storage|spot|ondemand|price|duration)([+-][0-9]{1,3})%")
_CAPACITIES = {"spot": "Spot", "ondemand": "OnDemand"}
_RATES = {"gpu": "gpu", "cpu": "cpu", "memory": "memory_gib", "storage": "storage_gib"}
_LEAST = -100


@dataclass(frozen=True, slots=True)
class Scenario:
    """The change of a scenario, in percent: of a rate, a capacity's rates, every price, or durations."""

    text: str
    changes: tuple[tuple[str, int], ...]

    @classmethod
    def parse(cls, text: str) -> "Scenario":
        """Read `gpu+30%`, or several at once: `gpu+30%,duration+50%`.

        Raises:
            ValueError: it is not of this form.
        """
        changes = []
        for part in text.split(","):
            found = _CHANGE.fullmatch(part.strip())
            if found is None or int(found[2]) <= _LEAST:
                raise ValueError(
                    f"{part.strip()!r} is not a scenario such as 'gpu+30%': one of gpu, cpu, memory, storage,"
                    " spot, ondemand, price and duration, then a change from -99% to +999%"
                )
            changes.append((found[1], 100 + int(found[2])))
        return cls(text, tuple(changes))

    def of(self, case: Case) -> Case:
        """The case under it. Caps stay as they are; a price may pass them."""
        durations = case.durations
        for what, percent in self.changes:
            if what == "duration" and durations is not None:
                durations = durations.scaled(percent)
        firm = None if case.firm is None else self._priced(case.firm)
        return replace(case, quote=self._priced(case.quote), firm=firm, durations=durations)

    def _priced(self, quote: Quote) -> Quote:
        rates = quote.rates
        for what, percent in self.changes:
            if what in _RATES:
                rates = replace(rates, **{_RATES[what]: getattr(rates.scaled(percent), _RATES[what])})
            elif what == "price" or _CAPACITIES.get(what) == quote.capacity:
                rates = rates.scaled(percent)
        return replace(quote, rates=rates)
