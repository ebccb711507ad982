"""The entries of a journal, in batches. Nothing is edited; corrections are new entries.

Money follows the two-phase rule of accounting databases (TigerBeetle's two-phase transfers): a `Reserve`
holds an amount, then exactly one `Post` or `Void` settles it. An attempt that is renewed holds one
reservation for each lease; `Close` ends the attempt once all of them are settled. A cost found later is an
`Adjust`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from comptroller.ledger.accounts import AccountName
from comptroller.ledger.names import AttemptKey
from comptroller_api.money import Currency
from comptroller_api.study import Resources
from comptroller_api.trial import End

FORMAT = 2
"""The format of the batches that this release writes, and the newest that it reads.

It counts up with each release that adds a kind of entry or a field, so that an older release refuses what it
does not know as newer, and not as damaged. `version` and the checksum at the end are in every format.
"""

Micro = Annotated[int, Field(ge=0, le=10**15)]
"""Micro-units of the currency."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A digest, in hex."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ceiling(_Entry):
    """The amount that an account may hold and spend, from here on."""

    kind: Literal["Ceiling"] = "Ceiling"
    account: AccountName
    revision: int = Field(ge=0, description="Counts the changes of this account's ceiling from 0.")
    amount: Micro
    currency: Currency
    starts: int | None = Field(default=None, description="First unix second of its period; null: unbounded.")
    ends: int | None = Field(default=None, description="First unix second after its period; null: unbounded.")
    carried: Micro = Field(
        default=0, description="What the budget spent within the period on its other periods' accounts."
    )
    pending: Micro = Field(
        default=0, description="What attempts that are open there have spent and hold, which may become such."
    )
    credited: Micro = Field(
        default=0, description="What the budget's credits had spent before the period began."
    )

    @property
    def id(self) -> str:
        """Unique in the journal."""
        return f"ceiling/{self.account}/{self.revision}"


class Transfer(_Entry):
    """Room of one account becomes another's, such as what a budget's period left and the next takes over."""

    kind: Literal["Transfer"] = "Transfer"
    source: AccountName
    target: AccountName
    number: int = Field(ge=0, description="Counts the transfers out of the source from 0.")
    amount: Micro

    @property
    def id(self) -> str:
        """Unique in the journal."""
        return f"transfer/{self.source}/{self.number}"


class Price(_Entry):
    """A node class's prices as the operator knew them, so that a balance can be explained years later."""

    kind: Literal["Price"] = "Price"
    node_class: str
    revision: int = Field(ge=0)
    currency: Currency
    rates: dict[str, Micro] = Field(description="Micro-units per hour, by `<capacity>.<resource>`.")
    since: int = Field(default=0, ge=0, description="Unix seconds from which it is charged.")

    @property
    def id(self) -> str:
        """Unique in the journal."""
        return f"price/{self.node_class}/{self.revision}"


class _OfAttempt(_Entry):
    study: str = Field(description="The study's uid.")
    trial: int = Field(ge=0)
    attempt: int = Field(ge=0)

    @property
    def key(self) -> AttemptKey:
        """The attempt."""
        return AttemptKey(self.study, self.trial, self.attempt)


class Reserve(_OfAttempt):
    """A lease: `amount` held on every account before the attempt may run for `seconds` more."""

    kind: Literal["Reserve"] = "Reserve"
    lease: int = Field(ge=0, description="0 launches the attempt, each further one renews it.")
    name: str = Field(description="The attempt's name, which is also its Job's.")
    rung: int = Field(ge=0)
    node_class: str
    capacity: Literal["OnDemand", "Spot"]
    resources: Resources = Field(description="What each pod will have, and what is billed.")
    accounts: tuple[AccountName, ...] = Field(min_length=1)
    amount: Micro
    seconds: int = Field(ge=1)

    @property
    def id(self) -> str:
        """Unique in the journal."""
        return f"reserve/{self.study}/{self.trial}/{self.attempt}/{self.lease}"


class Start(_OfAttempt):
    """The attempt's first pod was seen on a node.

    From here on a Job that is no longer there was taken away by hand and has cost money: the attempt is never
    launched again, and time that nobody can confirm is billed to the end of its lease.
    """

    kind: Literal["Start"] = "Start"
    job: str = Field(max_length=64, description="The uid of the attempt's Job.")
    at: int = Field(ge=0, description="Unix seconds at which the pod was bound to its node.")

    @property
    def id(self) -> str:
        """Unique in the journal."""
        return f"start/{self.study}/{self.trial}/{self.attempt}"


class Place(_OfAttempt):
    """The attempt's pods run on nodes that cost something else than the capacity it was launched for."""

    kind: Literal["Place"] = "Place"
    number: int = Field(ge=0, description="Counts the places of this attempt from 0.")
    node_class: str = Field(max_length=63, description="Of the node; empty: no price list knows the node.")
    capacity: Literal["OnDemand", "Spot", "Cap"]
    rates: dict[str, Micro] = Field(
        max_length=8, description="Micro-units per hour, by `<capacity>.<resource>`."
    )
    since: int = Field(ge=0, description="Unix seconds from which they are charged; 0: from its start.")

    @property
    def id(self) -> str:
        """Unique in the journal."""
        return f"place/{self.study}/{self.trial}/{self.attempt}/{self.number}"


class Post(_OfAttempt):
    """A reservation becomes an expense of `amount`; what it held beyond that is released."""

    kind: Literal["Post"] = "Post"
    lease: int = Field(ge=0)
    amount: Micro
    overrun: bool = Field(default=False, description="`amount` is above what was held: a bug by P1.")

    @property
    def id(self) -> str:
        """Unique in the journal."""
        return f"settle/{self.study}/{self.trial}/{self.attempt}/{self.lease}"


class Void(_OfAttempt):
    """A reservation is released whole."""

    kind: Literal["Void"] = "Void"
    lease: int = Field(ge=0)

    @property
    def id(self) -> str:
        """Unique in the journal; the same as a `Post` of this reservation, since only one may be."""
        return f"settle/{self.study}/{self.trial}/{self.attempt}/{self.lease}"


class Close(_OfAttempt):
    """The attempt has ended and will not run again."""

    kind: Literal["Close"] = "Close"
    end: End
    reason: str = Field(default="", max_length=512)
    seconds: int = Field(ge=0, description="Billed, from scheduled to terminated; the mean of several pods.")
    started: int = Field(default=0, ge=0, description="Unix seconds; 0: it never ran.")
    ended: int = Field(default=0, ge=0, description="Unix seconds.")
    report: Sha256 | Literal[""] | None = Field(
        default=None,
        description="Of its report, by the trainer's termination message; empty where that has none."
        " Absent in batches of releases that did not read it.",
    )

    @property
    def id(self) -> str:
        """Unique in the journal."""
        return f"close/{self.study}/{self.trial}/{self.attempt}"


class Adjust(_OfAttempt):
    """An expense of an attempt that was found after its books were closed. It was not held, so it breaks P1.

    Such as a pod that somebody kept from being seen, or that ran on after its lease.
    """

    kind: Literal["Adjust"] = "Adjust"
    number: int = Field(ge=0, description="Counts the adjustments of this attempt from 0.")
    amount: Micro
    seconds: int = Field(ge=0, description="Billed beyond those that `Close` has; the mean of several pods.")
    reason: str = Field(default="", max_length=512)

    @property
    def id(self) -> str:
        """Unique in the journal."""
        return f"adjust/{self.study}/{self.trial}/{self.attempt}/{self.number}"


class Manifest(_Entry):
    """A study's declared intent, as hashes: the first before any money is held, later ones amend it.

    Anyone with the study's manifest can prove from the journal alone that the manifest was not changed after
    results were seen, or when it was.
    """

    kind: Literal["Manifest"] = "Manifest"
    study: str = Field(description="The study's uid.")
    revision: int = Field(ge=0, description="Counts the amendments of this study's manifest from 0.")
    generation: int = Field(ge=0, description="The study's `metadata.generation`.")
    spec: Sha256 = Field(description="Of the spec as canonical JSON.")
    space: Sha256 = Field(description="Of the search space.")
    criteria: Sha256 = Field(description="Of what trials are judged by: objectives and ceilings.")

    @property
    def id(self) -> str:
        """Unique in the journal."""
        return f"manifest/{self.study}/{self.revision}"


class Approval(_Entry):
    """Somebody approved a study's ceiling up to an amount, which a budget asks for above its limit."""

    kind: Literal["Approval"] = "Approval"
    study: str = Field(description="The study's uid.")
    number: int = Field(ge=0, description="Counts this study's approvals from 0.")
    amount: Micro
    approver: str = Field(
        max_length=256,
        description="The user's name at the API server; empty where nothing vouched for it.",
    )

    @property
    def id(self) -> str:
        """Unique in the journal."""
        return f"approval/{self.study}/{self.number}"


class Takeover(_Entry):
    """An administrator lets an installation continue a journal that is not the one it expected."""

    kind: Literal["Takeover"] = "Takeover"
    number: int = Field(ge=0, description="Counts the takeovers of this journal from 0.")
    incarnation: str = Field(max_length=64, description="The installation that continues the journal.")
    expected: str = Field(
        default="", max_length=96, description="The head that the cluster had published, as SEQUENCE:HASH."
    )
    found: str = Field(max_length=96, description="The head that was accepted, or `empty`.")
    lost: dict[Currency, Micro] = Field(
        default_factory=dict,
        description="Micro-units that were published as spent and are not in the journal.",
    )

    @property
    def id(self) -> str:
        """Unique in the journal."""
        return f"takeover/{self.number}"


class Membership(_Entry):
    """A budget covers a study that has had a lease already, and continues to cover it if labels change.

    The budgets of the study's leases cover it without such an entry.
    """

    kind: Literal["Membership"] = "Membership"
    study: str = Field(description="The study's uid.")
    budget: str = Field(description="The budget's name.")

    @property
    def id(self) -> str:
        """Unique in the journal."""
        return f"membership/{self.study}/{self.budget}"


Entry = Annotated[
    Ceiling
    | Transfer
    | Price
    | Manifest
    | Approval
    | Membership
    | Reserve
    | Start
    | Place
    | Post
    | Void
    | Close
    | Adjust
    | Takeover,
    Field(discriminator="kind"),
]


class State(_Entry):
    """The hash of the folded books: a snapshot is believed only if the chain has its hash."""

    version: int = Field(ge=1, description="Of the canonical form, and so of the rules of the fold.")
    size: int = Field(ge=0, description="Bytes of the canonical form.")
    sha256: Sha256


class Batch(_Entry):
    """One object of the journal."""

    version: int = Field(default=FORMAT, ge=1, le=FORMAT, description="The batch's format.")
    cluster: str = Field(description="The cluster whose journal this is.")
    incarnation: str = Field(
        default="", max_length=64, description="The installation that wrote it; empty before format 2."
    )
    namespace: str
    sequence: int = Field(ge=0)
    previous: str = Field(description="SHA-256 of the batch before, as stored; zeros for the first.")
    writer: str = Field(description="Unique to one run of one operator.")
    time: int = Field(ge=0, description="The writer's clock, for people; order comes from `sequence` alone.")
    state: State | None = Field(
        default=None, description="Of the books after the batch before; now and then, for snapshots."
    )
    entries: tuple[Entry, ...] = Field(min_length=1)
