"""Makes the tiny models of the tests folder importable, and offers one text model per session."""

import pytest

pytest.importorskip("ftfy", reason="needs the extra `clip` (open_clip)")


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    from tiny_models import write_bert

    return write_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def clip():
    from medvlp import torchvision_guard

    torchvision_guard.install()
    return pytest.importorskip("open_clip", reason="needs the extra `clip` (open_clip)")
