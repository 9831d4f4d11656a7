import pytest

pytest.register_assert_rewrite("kg.testing.contract", "kg.testing.contract_graph")
