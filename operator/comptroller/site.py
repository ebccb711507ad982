"""The site policy: what the platform team requires of every study of this cluster."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from comptroller_api import quantity
from comptroller_api.study import Study


@dataclass(frozen=True, slots=True)
class Refusal:
    """A study that the site policy does not allow to run: why, as a condition's reason and message."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class SitePolicy:
    """Floors below a study's lease, as durations, images that a study may name, and the ledger's place.

    The chart refuses other leases and images at admission; a study that is there all the same is held.
    """

    min_duration: str = ""
    """No floor where empty."""
    min_grace: str = ""
    """No floor where empty."""
    min_slack: str = ""
    """No floor where empty."""
    guarded: tuple[str, ...] = ()
    """Further images whose first process is our guard, written as `images` are."""
    images: tuple[str, ...] = ()
    """Images, in any tag and digest unless they name one, or prefixes that end in '/'; any where empty."""
    ledger: str = ""
    """The URI of the journals, which no key of a trainer may write."""

    def refusals(self, study: Study) -> Iterator[Refusal]:
        """Yield what the study asks for and may not have."""
        runtime = study.spec.runtime
        lease = runtime.lease
        for field, value, floor in (
            ("duration", lease.duration, self.min_duration),
            ("gracePeriod", lease.grace_period, self.min_grace),
            ("slack", lease.slack, self.min_slack),
        ):
            if floor and quantity.nanoseconds(value) < quantity.nanoseconds(floor):
                yield Refusal(
                    "LeaseBelowFloor",
                    f"spec.runtime.lease.{field}: {value} is below this cluster's floor of {floor};"
                    f" set it to {floor} or more",
                )
        if runtime.image is not None and not self.allows(runtime.image):
            allowed = ", ".join(self.images)
            yield Refusal(
                "ImageNotAllowed",
                f"spec.runtime.image: {runtime.image} is not an allowed trainer image; allowed: {allowed}",
            )

        artifacts = study.spec.artifacts.uri
        if _overlap(self.ledger, artifacts):
            yield Refusal(
                "ArtifactsInLedger",
                f"spec.artifacts.uri: {artifacts} overlaps the ledger's {self.ledger}, which the key of the"
                " artifacts could then write; name another bucket, or a prefix next to the ledger's",
            )

    def is_guarded(self, image: str) -> bool:
        """Return whether an image that a study names keeps to its lease by itself."""
        return any(_covers(guarded, image) for guarded in self.guarded)

    def allows(self, image: str) -> bool:
        """Return whether a study may name the image."""
        return not self.images or any(_covers(allowed, image) for allowed in self.images)


ANYTHING = SitePolicy()
"""A site policy that requires nothing."""


def _overlap(ledger: str, artifacts: str) -> bool:
    """Return whether one of two URIs of S3 is the other or below it."""
    if not ledger.startswith("s3://"):
        return False
    one, other = (
        f"{parts.netloc}/{parts.path.strip('/')}".rstrip("/") + "/"
        for parts in map(urlsplit, (ledger, artifacts))
    )
    return one.startswith(other) or other.startswith(one)


def _covers(allowed: str, image: str) -> bool:
    if allowed.endswith("/"):
        return image.startswith(allowed)
    # What follows the name is a tag or a digest; with a '/' in it, the name was a registry's.
    rest = image.removeprefix(allowed)
    return image == allowed or (image.startswith((f"{allowed}:", f"{allowed}@")) and "/" not in rest)
