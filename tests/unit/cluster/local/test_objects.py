"""A directory instead of an API server."""

from pathlib import Path

import pytest

from comptroller.cluster.local import ObjectFiles
from comptroller_api.meta import FINALIZER
from comptroller_api.study import Study, StudyStatus

from .conftest import Bench


@pytest.fixture
def objects(bench: Bench) -> ObjectFiles:
    return bench.local.objects


def the(objects: ObjectFiles) -> Study:
    found = objects.study("default", "naps")
    assert found is not None
    return found


def test_an_applied_study_gets_what_an_api_server_gives(objects: ObjectFiles) -> None:
    meta = the(objects).metadata
    assert len(meta.uid) == 36
    assert meta.generation == 1
    assert str(meta.creation_timestamp).endswith("Z")


def test_applying_again_keeps_identity_and_status(objects: ObjectFiles) -> None:
    first = the(objects)
    objects.record(first, StudyStatus(progress="1/6"))
    again = objects.apply(first.model_copy(update={"status": None}))
    assert again.metadata == first.metadata
    assert again.status == StudyStatus(progress="1/6")


def test_a_changed_spec_is_a_new_generation(objects: ObjectFiles) -> None:
    first = the(objects)
    changed = first.model_copy(update={"spec": first.spec.model_copy(update={"suspend": True})})
    assert objects.apply(changed).metadata.generation == 2
    assert objects.suspend("default", "naps", suspended=False)
    assert objects.suspend("default", "naps", suspended=False)
    assert the(objects).metadata.generation == 3
    assert not objects.suspend("default", "none", suspended=True)


def test_a_change_by_another_process_is_seen_and_not_overwritten(objects: ObjectFiles, bench: Bench) -> None:
    study = the(objects)
    other = ObjectFiles(bench.directory / "objects")
    other.suspend("default", "naps", suspended=True)
    objects.record(study, StudyStatus(progress="1/6"))
    found = the(other)
    assert found.spec.suspend
    assert found.status == StudyStatus(progress="1/6")


def test_a_protected_study_goes_when_it_is_let_go(objects: ObjectFiles) -> None:
    study = the(objects)
    for _ in range(2):
        objects.protect(study)
    assert the(objects).metadata.finalizers == [FINALIZER]
    objects.unprotect(study)
    assert the(objects).metadata.finalizers == []
    objects.protect(study)
    path = objects._path(study)
    deleted = study.model_copy(
        update={
            "metadata": study.metadata.model_copy(
                update={"deletion_timestamp": "2026-01-01T00:00:00Z", "finalizers": [FINALIZER]}
            )
        }
    )
    objects._write(path, deleted)
    objects.unprotect(deleted)
    objects.unprotect(deleted)
    assert objects.study("default", "naps") is None


def test_namespaces_are_those_with_studies(objects: ObjectFiles, tmp_path: Path) -> None:
    assert objects.namespaces() == ["default"]
    assert ObjectFiles(tmp_path / "nothing").namespaces() == []


def test_what_is_stored_is_found_by_its_manifest(objects: ObjectFiles) -> None:
    assert objects.stored({"kind": "Study", "metadata": {"name": "naps"}}) == the(objects)
    assert objects.stored({"kind": "PriceList", "metadata": {"name": "laptop"}}) is not None
    for absent in ({}, {"kind": "Pod", "metadata": {"name": "naps"}}, {"kind": "Study", "metadata": None}):
        assert objects.stored(absent) is None
