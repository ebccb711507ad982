"""The names of accounts. Nothing else knows how a name is put together."""

from typing import Any, Literal, NamedTuple, Self, TypeAlias

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

AccountKind: TypeAlias = Literal["Study", "Period", "Credit", "Cap"]
"""A study's own ceiling; of a budget a period, a credit, or the amount that one study may have of it."""


class Family(NamedTuple):
    """The accounts of one kind that have one budget, or none."""

    kind: AccountKind | None
    budget: str | None


class AccountName(str):
    """The name of an account: a path, such as `budget/team/2026-12`. In a journal it is this text.

    A journal that somebody else wrote may have names of no kind. They are read like others.
    """

    __slots__ = ()

    @classmethod
    def of_study(cls, uid: str) -> Self:
        """Return the account of the own ceiling of the study with this uid."""
        return cls(f"study/{uid}")

    @classmethod
    def of_period(cls, budget: str, label: str) -> Self:
        """Return the account of one period of a budget."""
        return cls(f"budget/{budget}/{label}")

    @classmethod
    def of_credit(cls, budget: str, day: str) -> Self:
        """Return the account of the credit of a budget that ends with `day`."""
        return cls(f"budget/{budget}/credit/{day}")

    @classmethod
    def of_cap(cls, budget: str, study: str) -> Self:
        """Return the account of what the study with the uid `study` may have of a budget."""
        return cls(f"budget/{budget}/cap/{study}")

    @property
    def kind(self) -> AccountKind | None:
        """Return what the account is of; `None` for a name that no operator makes."""
        match self.split("/"):
            case ["study", _]:
                return "Study"
            case ["budget", _, _]:
                return "Period"
            case ["budget", _, "credit", _]:
                return "Credit"
            case ["budget", _, "cap", _]:
                return "Cap"
        return None

    @property
    def budget(self) -> str | None:
        """Return the name of the budget that the account belongs to; `None` for a study's own account."""
        kind, _, rest = self.partition("/")
        return rest.partition("/")[0] if kind == "budget" else None

    @property
    def study(self) -> str | None:
        """Return the uid of the study whose own account this is; `None` for an account of a budget."""
        kind, _, uid = self.partition("/")
        return uid if kind == "study" else None

    @property
    def family(self) -> Family:
        """Return the accounts that this one belongs with."""
        return Family(self.kind, self.budget)

    @property
    def in_words(self) -> str:
        """Return the name with its first word apart, as a sentence begins with it: `budget team/2026-12`."""
        return self.replace("/", " ", 1)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read a name from a string, and write it as one."""
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())
