"""Makes the tiny models of the tests folder importable and offers one text model per session."""

import pytest


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    from tiny_models import write_bert

    return write_bert(tmp_path_factory.mktemp("bert"))
