"""The end of a study, as the commands that change studies report it."""

from comptroller.plan.verdict import reopened, settled_verdict
from comptroller_api.study import Study
from comptroller_api.text import plain

_LONGEST_REASON = 512


def ended(study: Study) -> str:
    """Return that the study has ended or is being deleted, as the rest of a sentence; empty if neither.

    A change of the spec may let an ended study continue: until the operator has looked at the change, the
    study counts as not ended.
    """
    if study.metadata.deletion_timestamp:
        return "is being deleted"
    verdict = settled_verdict(study)
    if verdict is None or reopened(study):
        return ""
    # Anybody who may write the status may have written the reason.
    return plain(f"is {verdict.state} ({verdict.reason}: {verdict.message})", _LONGEST_REASON)
