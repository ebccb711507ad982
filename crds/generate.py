"""Write the CustomResourceDefinitions to `crds/*.yaml`, and a copy of each as a template of the chart.

`--check` writes nothing and fails if a file differs from the models.
"""

import argparse
import sys
from pathlib import Path

import yaml

from comptroller_api.crd import KINDS, definition
from comptroller_api.meta import GROUP

HERE = Path(__file__).resolve().parent
CHART = HERE.parent / "charts" / "comptroller" / "templates" / "crds"
HEADER = "# Generated from crds/comptroller_api by `make generate`. Do not edit.\n"


class _Dumper(yaml.SafeDumper):
    """A dumper that writes shared nodes in full."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def manifest(document: object) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)


def template(text: str) -> str:
    """Return a manifest as a template of the chart, with labels and the toggle that keeps it at uninstall."""
    if "{{" in text:
        raise ValueError("a manifest that contains {{ cannot become a template")
    name, rest = text.split("\nspec:\n", 1)
    return (
        "{{- if .Values.crds.install }}\n"
        f"{name}\n"
        "  labels:\n"
        '    {{- include "comptroller.labels" . | nindent 4 }}\n'
        "  {{- if .Values.crds.keep }}\n"
        "  annotations:\n"
        "    helm.sh/resource-policy: keep\n"
        "  {{- end }}\n"
        f"spec:\n{rest}"
        "{{- end }}\n"
    )


def files() -> dict[Path, str]:
    """Return the content of each generated file."""
    out = {}
    for kind in KINDS:
        text = HEADER + manifest(definition(kind))
        out[HERE / f"{GROUP}_{kind.plural}.yaml"] = text
        out[CHART / f"{kind.plural}.yaml"] = template(text)
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    check = parser.parse_args().check
    expected = files()
    stale = [path for path, text in expected.items() if not path.exists() or path.read_text() != text]
    odd = {*HERE.glob("*.yaml"), *CHART.glob("*.yaml")} - expected.keys()
    for path in stale:
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(expected[path])
    for path in [*stale, *odd]:
        outcome = "differs from the models" if check else "written"
        outcome = "has no model" if path in odd else outcome
        print(f"{path.relative_to(HERE.parent)}: {outcome}")  # noqa: T201 - a script
    return 1 if odd or (check and stale) else 0


if __name__ == "__main__":
    sys.exit(main())
