"""A row that fails shows both lists of lines."""

import pytest

pytest.register_assert_rewrite("unit.plan.table")
