"""How long a user waits for a command that starts from nothing: wall and CPU seconds, each in fresh processes.

Usage: ``python -m tests.benchmarks.startup [--home HOME --workspace NAME --question TEXT] [--runs N]``

Without ``--home`` the packaged samples are ingested into a temporary home first. Figures are ``min / median`` of N
fresh processes (default 5), files in the system's cache after one run that is not counted. The trivial baseline is
``python -c pass``. The breakdown of ``mmkg search`` takes the same steps as the command one after the other in a
process of its own. ``ask`` is timed by what arrives on its standard output: the first line of evidence, and the last
line of the answer.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from api.settings import load_settings
from api.wiring import build_service
from tests.benchmarks.machine import describe_machine

SAMPLES = Path(__file__).parents[2] / "api" / "samples" / "corpus"
MMKG = (sys.executable, "-c", "from api.cli import main; main()")
STEPS = (
    "python starts",
    "imports of the command line",
    "imports of the service",
    "open the record",
    "encoder: tokenizer, settings",
    "load the indexes",
    "encoder: weights, first question",
    "the next question encoded",
    "first search",
    "the next search",
)
BREAKDOWN = """
import json, os, sys, time
marks = [time.monotonic()]
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as api.cli.main does
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
def mark():
    marks.append(time.monotonic())
import api.cli.app
mark()
from api.settings import load_settings
from api.wiring import Wiring
from api.service import Service
from retrieval.types import Query
wiring = Wiring(load_settings())
service = Service(wiring)
mark()
workspace = service.workspaces.get(sys.argv[1], create=False)
mark()
encoder = wiring.encoder()
mark()
workspace.engine.refresh()
mark()
encoder.encode([sys.argv[2]])
mark()
encoder.encode([sys.argv[2]])
mark()
service.search(sys.argv[1], Query(text=sys.argv[2]))
mark()
service.search(sys.argv[1], Query(text=sys.argv[2]))
mark()
service.close()
print(json.dumps(marks))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process: seconds from its start to its first and its last output and to its end, and CPU seconds."""

    first_s: float
    last_s: float
    wall_s: float
    cpu_s: float
    started: float
    output: str


def run(command: Sequence[str], environment: dict[str, str]) -> Run:
    """Run a command to its end.

    :param command: Program and arguments.
    :param environment: Its whole environment.
    :returns: The times; CPU is of the process and its threads, as the kernel counts it.
    :raises RuntimeError: If it fails.
    """
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    if process.stdout is None:
        raise RuntimeError("no pipe")
    pieces, first, last = [], 0.0, 0.0
    while piece := os.read(process.stdout.fileno(), 65536):
        last = time.monotonic() - started
        first = first or last
        pieces.append(piece)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode != 0:
        raise RuntimeError(f"{command} ended with {process.returncode}: run it by hand")
    return Run(
        first_s=first,
        last_s=last,
        wall_s=wall,
        cpu_s=usage.ru_utime + usage.ru_stime,
        started=started,
        output=b"".join(pieces).decode(),
    )


def repeated(command: Sequence[str], environment: dict[str, str], n_runs: int) -> list[Run]:
    """Run a command once for the system's cache and then ``n_runs`` times."""
    run(command, environment)
    return [run(command, environment) for _ in range(n_runs)]


def shown(seconds: Sequence[float]) -> str:
    """Return ``min / median``."""
    return f"{min(seconds):7.2f} / {statistics.median(seconds):5.2f}"


@contextmanager
def home_of(options: argparse.Namespace) -> Iterator[Path]:
    """Yield the home to measure in; without ``--home`` a temporary one with the samples."""
    if options.home is not None:
        yield options.home
        return
    with tempfile.TemporaryDirectory() as home:
        service = build_service(load_settings(overrides={"home": Path(home)}))
        service.ingest(options.workspace, [SAMPLES])
        service.close()
        yield Path(home)


def print_breakdown(home_environment: dict[str, str], workspace: str, question: str, n_runs: int) -> None:
    """Print the steps of a search."""
    command = (sys.executable, "-c", BREAKDOWN, workspace, question)
    steps: list[list[float]] = [[] for _ in STEPS]
    for done in repeated(command, home_environment, n_runs):
        marks = [done.started, *json.loads(done.output)]
        for step, before, after in zip(steps, marks[:-1], marks[1:], strict=True):
            step.append(after - before)
    print(f"\n{'a search, step by step':38s} {'wall s':>15s}")
    for name, seconds in zip(STEPS, steps, strict=True):
        print(f"{name:38s} {shown(seconds)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--workspace", default="demo")
    parser.add_argument("--question", default="Who founded the Velmara Ferry Company?")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(describe_machine("mmkgrag", "torch", "faiss-cpu", "bm25s", "scipy", "sqlalchemy"))
    with home_of(options) as home:
        environment = {**os.environ, "MMKG_HOME": str(home), "MMKG_WORKSPACE": options.workspace}
        information = run((*MMKG, "info", "--json"), environment).output
        counts = json.loads(information)
        print(f"workspace: {counts['documents']} documents, {counts['chunks']} chunks, {counts['entities']} entities")
        print(f"n = {options.runs} fresh processes each\n\n{'command':38s} {'wall s':>15s} {'CPU s':>15s}")
        commands: dict[str, tuple[str, ...]] = {
            "python -c pass (baseline)": (sys.executable, "-c", "pass"),
            "import kg": (sys.executable, "-c", "import kg"),
            "mmkg --help": (*MMKG, "--help"),
            "mmkg info": (*MMKG, "info"),
            "mmkg search --mode bm25": (*MMKG, "search", options.question, "--mode", "bm25"),
            "mmkg search": (*MMKG, "search", options.question),
            "mmkg ask --show-evidence": (*MMKG, "ask", options.question, "--show-evidence"),
        }
        for name, command in commands.items():
            runs = repeated(command, environment, options.runs)
            print(f"{name:38s} {shown([r.wall_s for r in runs])} {shown([r.cpu_s for r in runs])}", flush=True)
        print(f"{'  until evidence is printed':38s} {shown([r.first_s for r in runs])}")
        print(f"{'  until the answer is printed':38s} {shown([r.last_s for r in runs])}")
        print_breakdown(environment, options.workspace, options.question, options.runs)


if __name__ == "__main__":
    main()
