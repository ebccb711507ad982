"""Objects below a prefix, in S3 or in a directory."""

from comptroller_trainer.store.base import Store


def open_store(uri: str) -> Store:
    """Return the store of an `s3://bucket/prefix` or `file:///directory`.

    Raises:
        ValueError: another scheme.
    """
    scheme, _, rest = uri.partition("://")
    # Imported by need: boto3 is most of a second, and a local run has no use for it.
    if scheme == "s3":
        from comptroller_trainer.store.s3 import S3Store  # noqa: PLC0415

        bucket, _, prefix = rest.partition("/")
        return S3Store(bucket, prefix)
    if scheme == "file":
        from comptroller_trainer.store.directory import DirectoryStore  # noqa: PLC0415

        return DirectoryStore(rest)
    raise ValueError(f"{uri!r} is neither s3:// nor file://")


__all__ = ["Store", "open_store"]
