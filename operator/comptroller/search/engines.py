"""The engines, by their names in `Study` (`spec.search.engine`)."""

from collections.abc import Mapping
from types import MappingProxyType

from comptroller.search import tpe, uniform
from comptroller.search.engine import Engine

ENGINES: Mapping[str, Engine] = MappingProxyType({"Random": uniform.candidates, "TPE": tpe.candidates})
