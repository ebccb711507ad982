"""Money: an integer count of micro-units of a currency in Python, a decimal string in objects."""

import re
from decimal import Decimal
from functools import lru_cache
from typing import Annotated

from pydantic import Field

from comptroller_api.meta import MORE_THAN_ZERO, Rule, quoting

MICRO = 1_000_000
_AMOUNT = r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,6})?$"
_CURRENCY = r"^[A-Z]{3}$"
_CODES = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF
CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD
HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL
LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP
PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT
TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
"""
CURRENCIES = tuple(_CODES.split())
"""ISO 4217's codes of currencies in use, without metals, funds and test codes."""

_AN_AMOUNT = (
    "must be an amount such as '25.00', not negative, with at most 9 digits before the point and 6 after it"
)
_A_CURRENCY = "must be the ISO 4217 code of a currency in use, such as 'USD'"

Amount = Annotated[
    str,
    Field(pattern=_AMOUNT, max_length=32, description="A decimal amount such as '25.00'."),
    Rule(
        f"self.matches(r'{_AMOUNT}')", _AN_AMOUNT, message_expression=quoting("'", "self", f"' {_AN_AMOUNT}")
    ),
]
"""A decimal string such as `"25.00"`: at most nine digits before the point and six after it, no sign.

An amount has at most fifteen digits, so that a rule can compare two amounts as doubles without loss.
"""

PositiveAmount = Annotated[Amount, MORE_THAN_ZERO]
"""An amount of at least one micro-unit."""

Currency = Annotated[
    str,
    Field(pattern=_CURRENCY, max_length=16, description="An ISO 4217 code such as USD."),
    Rule(
        f"self.matches(r'{_CURRENCY}') && self in {list(CURRENCIES)}",
        _A_CURRENCY,
        message_expression=quoting("'", "self", f"' {_A_CURRENCY}"),
    ),
]
"""An ISO 4217 code."""


@lru_cache(maxsize=4096)
def to_micro(amount: str) -> int:
    """Return the exact micro-units of `amount`.

    Raises:
        ValueError: the text is not an `Amount`.
    """
    if not re.fullmatch(_AMOUNT, amount):
        raise ValueError(f"{amount!r} is not a decimal amount such as '25.00'")
    return int(Decimal(amount) * MICRO)


@lru_cache(maxsize=4096)
def to_amount(micro: int) -> str:
    """Return the shortest decimal string of `micro`, with at least two digits after the point."""
    sign, micro = ("-", -micro) if micro < 0 else ("", micro)
    whole, rest = divmod(micro, MICRO)
    digits = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{digits}"


def amount_at_least(left: str, right: str) -> str:
    """Return CEL that is true if the amount `left` is not under `right`, or if either is malformed."""
    either_malformed = f"[{left}, {right}].exists(a, !a.matches(r'{_AMOUNT}'))"
    return f"{either_malformed} || double({left}) >= double({right})"


def ceil_div(a: int, b: int) -> int:
    """Return `a / b` rounded up, so that a debt is never rounded away."""
    return -(-a // b)
