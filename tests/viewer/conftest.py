"""One diagnosed slide for all tests of the viewer, and a server on it."""

import importlib.util
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def slide(tmp_path_factory):
    if importlib.util.find_spec("openslide") is None or importlib.util.find_spec("tifffile") is None:
        pytest.skip("openslide or tifffile is not installed (extra slides)")
    from viewer_slides import write_slide

    return write_slide(tmp_path_factory.mktemp("slides"))


@pytest.fixture(scope="session")
def answer(slide, tmp_path_factory):
    from viewer_slides import write_answer

    return write_answer(slide, tmp_path_factory.mktemp("answers") / "answer")


@contextmanager
def running(*args, **options):
    """A viewer that answers in a thread."""
    from medvlp.viewer.server import open_viewer

    with open_viewer(*args, **options) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="session")
def server(answer):
    with running(answer) as server:
        yield server


@pytest.fixture(scope="session")
def run_viewer():
    return running
