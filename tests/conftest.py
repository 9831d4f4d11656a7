"""What many tests share: the model cache, and a service whose workspace holds the packaged samples."""

import importlib.util
import os
from pathlib import Path

import hypothesis
import platformdirs
import pytest
import torch

from retrieval.encoders.torchvision_ops import declare_missing_operators

hypothesis.settings.register_profile("mmkgrag", deadline=None)  # no test asserts wall-clock time
hypothesis.settings.load_profile("mmkgrag")
pytest.register_assert_rewrite("kg.testing", "retrieval.testing")  # contracts speak as clearly as tests
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `mmkg` does, before anything loads OpenMP
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the same
declare_missing_operators()  # it loads torch; after it, test modules may import transformers themselves
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton's kernels run in its interpreter, read when they are made

CACHE = Path(os.environ.get("MMKG_CACHE") or platformdirs.user_cache_dir("mmkgrag"))
REQUIRED = ("minilm", "spacy-en")


@pytest.fixture(scope="session")
def model_cache() -> Path:
    """The cache with the models that ingest, search and ask need; `make test` pulls them."""
    missing = [name for name in REQUIRED if not (CACHE / "models" / name / ".mmkg-manifest.json").is_file()]
    if missing:
        pytest.skip(f"the models {', '.join(missing)} are not in {CACHE}: run `mmkg models pull`")
    return CACHE


@pytest.fixture(scope="session")
def sample_corpus() -> Path:
    return Path(__file__).resolve().parent.parent / "api" / "samples" / "corpus"


@pytest.fixture(scope="session")
def samples_home(tmp_path_factory, model_cache, sample_corpus) -> Path:
    """A home whose workspace `demo` holds the samples, its predictor trained. Tests that change it copy it first."""
    from api.settings import load_settings
    from api.wiring import build_service

    home = tmp_path_factory.mktemp("samples-home")
    service = build_service(load_settings(environ={}, overrides={"home": home, "cache": model_cache}))
    report = service.ingest("demo", [sample_corpus])
    service.complete("demo", head="Skua", relation="home port", tail=None, k=1)
    service.close()
    assert report.n_failed == 0
    return home


@pytest.fixture(scope="session")
def samples_service(samples_home, model_cache):
    """A service over the samples that no test changes."""
    from api.settings import load_settings
    from api.wiring import build_service

    service = build_service(load_settings(environ={}, overrides={"home": samples_home, "cache": model_cache}))
    yield service
    service.close()


@pytest.fixture(scope="session")
def bolt(tmp_path_factory):
    """The tests' graph database over Bolt: ArcadeDB in a process of its own, or what MMKG_TEST_NEO4J_URI names."""
    if importlib.util.find_spec("neo4j") is None:
        pytest.skip("the driver is not installed: pip install 'mmkgrag[neo4j]'")
    uri = os.environ.get("MMKG_TEST_NEO4J_URI", "")
    if uri:
        from kg.graph.neo4j_driver import BoltServer

        yield BoltServer(
            uri=uri,
            user=os.environ.get("MMKG_TEST_NEO4J_USER", "neo4j"),
            password=os.environ.get("MMKG_TEST_NEO4J_PASSWORD", ""),
            database=os.environ.get("MMKG_TEST_NEO4J_DATABASE", ""),
        )
        return
    if importlib.util.find_spec("arcadedb_embedded") is None:
        pytest.skip("no graph database: install arcadedb-embedded (extra dev), or set MMKG_TEST_NEO4J_URI")
    from tests.kg.graph.bolt_server import BoltProcess

    process = BoltProcess(tmp_path_factory.mktemp("bolt"))
    yield process.server()
    process.kill()
