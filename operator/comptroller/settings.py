"""The operator's settings, from its environment; every one is documented in the chart's values."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from comptroller.ledger.stores import ObjectLock
from comptroller.site import SitePolicy
from comptroller_api.quantity import Duration


class Settings(BaseSettings):
    """`COMPTROLLER_*` variables."""

    model_config = SettingsConfigDict(env_prefix="COMPTROLLER_", frozen=True)

    ledger_uri: str = Field(description="s3://bucket/prefix of the journals.")
    ledger_lock_mode: Literal["", "Governance", "Compliance"] = Field(
        default="", description="S3 Object Lock of the ledger's batches; none where empty."
    )
    ledger_lock_days: int = Field(default=365, ge=1, le=36500, description="How long it lasts.")
    trainer_image: str = Field(default="", description="For studies that name no image.")
    cluster_id: str = Field(
        default="", description="Whose journal it is; the uid of the namespace kube-system where empty."
    )
    operator_namespace: str = Field(
        default="",
        description="Where the heads of ledgers are published; the operator's own namespace where empty.",
    )
    namespaces: str = Field(default="", description="Comma-separated namespaces to watch; all where empty.")
    resync_seconds: float = Field(default=5.0, ge=0.5, le=600, description="A pass at least this often.")
    scrape_seconds: float = Field(default=5.0, ge=0.5, le=600, description="A heartbeat this often.")
    feed_seconds: float = Field(default=300.0, ge=10, le=86400, description="Prices are read this often.")
    health_port: int = Field(default=8080, ge=1, le=65535, description="/healthz")
    metrics_port: int = Field(default=9090, ge=0, le=65535, description="/metrics; 0: none.")
    unverified_reports: bool = Field(
        default=False, description="Take reports whose digest the trainer's termination message lacks."
    )
    pod_s3_endpoint: str = Field(default="", description="The object store as trainer pods reach it.")
    pod_s3_region: str = Field(default="us-east-1", description="Its region.")

    pod_mlflow_uri: str = Field(default="", description="An MLflow server that trainers tell their rungs to.")
    lease_min_duration: Duration = Field(default="10s", description="A study with a shorter lease is held.")
    lease_min_grace: Duration = Field(default="2s", description="A shorter grace period is held.")
    lease_min_slack: Duration = Field(default="5s", description="A shorter slack is held.")
    allowed_images: str = Field(
        default="", description="Comma-separated trainer images that studies may name; any where empty."
    )

    guarded_images: str = Field(
        default="",
        description="Comma-separated images, besides the operator's own, that run under our guard.",
    )

    @property
    def ledger_lock(self) -> ObjectLock | None:
        """Return the protection of batches from deletion."""
        mode = self.ledger_lock_mode
        return ObjectLock(mode, self.ledger_lock_days) if mode else None

    @property
    def watched(self) -> list[str]:
        """The namespaces to watch; none: all."""
        return [name for name in self.namespaces.split(",") if name]

    @property
    def site(self) -> SitePolicy:
        """Return the platform team's requirements for every study."""
        return SitePolicy(
            min_duration=self.lease_min_duration,
            min_grace=self.lease_min_grace,
            min_slack=self.lease_min_slack,
            guarded=tuple(image for image in self.guarded_images.split(",") if image),
            images=tuple(image for image in self.allowed_images.split(",") if image),
            ledger=self.ledger_uri,
        )
