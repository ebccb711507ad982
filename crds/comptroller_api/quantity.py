"""Kubernetes strings for durations, sizes and numbers, and their values in Python."""

import math
import re
from decimal import Decimal
from functools import lru_cache
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from comptroller_api.meta import MORE_THAN_ZERO, RULES, Rule, matches, quoting

_UNIT_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DURATION = r"^([0-9]{1,5}(\.[0-9]{1,6})?(ns|us|ms|s|m|h)){1,4}$"
_QUANTITY = r"^[0-9]{1,12}(\.[0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
_NUMBER = r"^-?[0-9]{1,15}(\.[0-9]{1,15})?([eE]-?[0-9]{1,2})?$"
_WHOLE = r"^-?[0-9]{1,15}$"
_MEASURED = r"^-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]{1,3})?$"
_SUFFIX = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
}  # fmt: skip

Duration = Annotated[
    str,
    Field(pattern=_DURATION, max_length=32, description="A duration such as '20ms', '30s' or '1h30m'."),
    matches(_DURATION, "must be a duration with its unit, such as '20ms', '30s', '10m' or '1h30m'"),
    MORE_THAN_ZERO,
]
"""A Go duration of more than zero with its units: `20ms`, `10m`, `1h30m`.

A duration has at most four numbers of five digits each, so that it cannot overflow.
"""

Quantity = Annotated[
    str,
    Field(pattern=_QUANTITY, max_length=20, description="A quantity such as '500m', '2' or '512Mi'."),
    matches(_QUANTITY, "must be a quantity such as '500m', '2' or '512Mi', not negative"),
]
"""A Kubernetes quantity: `500m`, `2`, `512Mi`."""


def at_least(least: str, why: str) -> Rule:
    """Return the rule that refuses a quantity of less than `least` and gives the reason `why`."""
    sentence = f"must be at least {least}: {why}"
    return Rule(
        f"!self.matches(r'{_QUANTITY}') || !quantity(self).isLessThan(quantity('{least}'))",
        sentence,
        message_expression=quoting("'", "self", f"' {sentence}"),
    )


PositiveQuantity = Annotated[Quantity, MORE_THAN_ZERO]
"""A quantity of more than zero."""

Number = Annotated[
    str,
    Field(pattern=_NUMBER, max_length=36, description="A number as text, such as '0.1' or '3e-4'."),
    matches(_NUMBER, "must be a number as text, such as '0.1' or '3e-4'"),
]
"""A number as text, since the Kubernetes API conventions keep floats out of objects."""

PositiveNumber = Annotated[
    Number, MORE_THAN_ZERO, Rule("!self.startsWith('-')", "must be more than zero, not negative")
]
"""A number greater than zero."""


def _text(value: float) -> str:
    return repr(float(value))


Measured = Annotated[
    float,
    BeforeValidator(lambda value: float(value) if isinstance(value, str) else value),
    PlainSerializer(_text, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": 32,
            "description": "A number as text.",
            RULES: [matches(_MEASURED, "must be a number as text").to_json()],
        }
    ),
]
"""A float in Python that is its shortest exact text in the object."""


def is_number(value: str) -> str:
    """Return CEL that is true if `value` is a `Number`."""
    return f"{value}.matches(r'{_NUMBER}')"


def is_whole(value: str) -> str:
    """Return CEL that is true if `value` is a whole `Number`."""
    return f"{value}.matches(r'{_WHOLE}')"


def durations(comparison: str, left: str, right: str) -> str:
    """Return CEL that compares two durations, and is also true if either is malformed."""
    either_malformed = f"[{left}, {right}].exists(d, !d.matches(r'{_DURATION}'))"
    return f"{either_malformed} || duration({left}) {comparison} duration({right})"


@lru_cache(maxsize=4096)
def nanoseconds(duration: str) -> int:
    """Return the whole nanoseconds of a `Duration`, rounded up, so that a positive duration is never zero.

    Raises:
        ValueError: the text is not a duration with units.
    """
    if not re.fullmatch(_DURATION, duration):
        raise ValueError(f"{duration!r} is not a duration such as '20ms' or '10m'")
    return math.ceil(
        sum(
            Decimal(n) * _UNIT_NS[unit]
            for n, unit in re.findall(r"([0-9]+(?:\.[0-9]+)?)(ns|us|ms|s|m|h)", duration)
        )
    )


@lru_cache(maxsize=4096)
def seconds(duration: str) -> int:
    """Return the whole seconds of a `Duration`, rounded up."""
    return -(-nanoseconds(duration) // 10**9)


def exact(quantity: str) -> Decimal:
    """Return the exact value of a `Quantity`.

    Raises:
        ValueError: the text is not a quantity.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?", quantity)
    if not match:
        raise ValueError(f"{quantity!r} is not a quantity such as '500m', '2' or '512Mi'")
    return Decimal(match[1]) * _SUFFIX[match[2] or ""]


@lru_cache(maxsize=4096)
def milli(quantity: str) -> int:
    """Return the thousandths of a `Quantity`, rounded up: `milli("1") == 1000`.

    Raises:
        ValueError: the text is not a quantity.
    """
    return int((exact(quantity) * 1000).to_integral_value(rounding="ROUND_CEILING"))


def whole(quantity: str) -> int:
    """Return the whole units (bytes, for a size) of a `Quantity`, rounded up."""
    return -(-milli(quantity) // 1000)
