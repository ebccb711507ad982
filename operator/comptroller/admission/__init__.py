"""Admission: what the API server would say of a manifest, without one.

The same schema (`comptroller_api.crd`) is applied in the same order, and the same rules are evaluated.
`tests/cluster/test_api.py` holds the two to the same sentences. What the trainer would say is apart, in
`findings`.
"""

from comptroller.admission.admit import Verdict, admit, concerns
from comptroller.admission.manifests import Manifest, ManifestError, parse, read
from comptroller.admission.refusal import Refusal
from comptroller.admission.trainer import findings

__all__ = [
    "Manifest",
    "ManifestError",
    "Refusal",
    "Verdict",
    "admit",
    "concerns",
    "findings",
    "parse",
    "read",
]
