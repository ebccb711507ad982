"""`Trial` objects: building them. Pure."""

from comptroller.actions import CreateTrial
from comptroller.cluster.jobs import MANAGED, STUDY, STUDY_UID, Body
from comptroller_api.meta import API_VERSION


def trial_body(action: CreateTrial) -> Body:
    """The `Trial` object, owned by its study."""
    study, trial = action.study.metadata, action.trial
    return {
        "apiVersion": API_VERSION,
        "kind": "Trial",
        "metadata": {
            "name": trial.metadata.name,
            "namespace": trial.metadata.namespace,
            "labels": MANAGED | {STUDY: study.name, STUDY_UID: study.uid},
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": "Study",
                    "name": study.name,
                    "uid": study.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": trial.spec.to_json(),
    }
