"""The command: without arguments, run the guard and its worker; `parameters` prints a trial's parameters.

`parameters --json` prints them for `comptroller lint --trainer`; `drift` compares new data with the data
that a model was trained on.
"""

import sys
from collections.abc import Sequence

_USAGE = "usage: comptroller-trainer [parameters [--json] | drift ARTIFACTS DATA]"
_EXIT_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one attempt, or what the first argument names."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments:
        # Imported here, like everything in this package: nobody waits for what is not needed yet.
        from comptroller_trainer.runtime.guard import main as guard  # noqa: PLC0415 - the guard needs no torch

        return guard()
    if arguments == ["parameters"]:
        from comptroller_trainer.recipe.reference import page  # noqa: PLC0415 - seconds

        sys.stdout.write(page())
        return 0
    if arguments == ["parameters", "--json"]:
        from comptroller_trainer.recipe.description import description  # noqa: PLC0415 - seconds

        sys.stdout.write(description().model_dump_json(exclude_defaults=True, indent=1) + "\n")
        return 0
    if arguments[0] == "drift":
        from comptroller_trainer.drift import main as drift  # noqa: PLC0415 - seconds

        return drift(arguments[1:])
    sys.stderr.write(_USAGE + "\n")
    return _EXIT_USAGE
