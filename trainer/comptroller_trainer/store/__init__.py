"""Objects below a prefix, in S3 or in a directory."""

from comptroller_trainer.store.base import ObjectStore


def open_store(uri: str) -> ObjectStore:
    """Return the store of an `s3://bucket/prefix` or `file:///directory`.

    Raises:
        ValueError: another scheme.
    """
    scheme, _, rest = uri.partition("://")
    # Imported by need: boto3 is most of a second, and a local run has no use for it.
    if scheme == "s3":
        from comptroller_trainer.store.s3 import S3ObjectStore  # noqa: PLC0415 - see above

        bucket, _, prefix = rest.partition("/")
        return S3ObjectStore(bucket, prefix)
    if scheme == "file":
        from comptroller_trainer.store.directory import DirectoryObjectStore  # noqa: PLC0415 - see above

        return DirectoryObjectStore(rest)
    raise ValueError(f"{uri!r} is neither s3:// nor file://")


__all__ = ["ObjectStore", "open_store"]
