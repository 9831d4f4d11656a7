"""Build the wheel, install it into a clean environment, and use it from another folder.

``make check-wheel`` runs it. It shows what an installed user gets: only the declared dependencies, no repository on the
path. Exit status 1 and the failing command's output if anything is off.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"kg", "retrieval", "generation", "moe_backbone", "api"}


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None, ok: tuple[int, ...] = (0,)) -> str:
    """Run a command; on an unexpected status print what it said and stop."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode not in ok:
        sys.exit(
            f"{' '.join(map(str, command))} exited {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
    return done.stdout


def check_contents(wheel: Path) -> None:
    """Refuse a wheel that holds other top-level packages, or lacks the data that code reads."""
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if not name.split("/")[0].endswith(".dist-info")}
    if top != PACKAGES:
        sys.exit(f"the wheel's top level is {sorted(top)}, expected {sorted(PACKAGES)}")
    needed = [f"{package}/py.typed" for package in PACKAGES]
    needed += ["api/samples/questions.json", "api/samples/corpus/seabird-report.pdf", "api/evaluation/default.yaml"]
    missing = [name for name in needed if name not in names]
    if missing or not any(name.endswith(".jinja") for name in names):
        sys.exit(f"the wheel lacks {missing or 'its prompt templates'}")
    samples = sum(
        info.file_size for info in zipfile.ZipFile(wheel).infolist() if info.filename.startswith("api/samples/")
    )
    if samples > 2_000_000:
        sys.exit(f"the samples are {samples} bytes, more than 2 MB")


def main() -> None:
    """Build, install, use."""
    started = time.monotonic()
    os.environ.pop("PYTHONPATH", None)  # pip would take a repository that stands there for the installed package
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # nothing is compiled before its first import
    with tempfile.TemporaryDirectory(prefix="mmkg-wheel-") as scratch:
        folder = Path(scratch)
        run(sys.executable, "-m", "build", "--wheel", "--outdir", folder / "dist", ROOT, cwd=folder)
        (wheel,) = (folder / "dist").glob("*.whl")
        check_contents(wheel)
        print(f"built {wheel.name} ({wheel.stat().st_size / 1e6:.2f} MB) after {time.monotonic() - started:.0f} s")
        venv.create(folder / "env", with_pip=True)
        python = folder / "env" / "bin" / "python"
        options = ["--disable-pip-version-check", "--quiet", "--no-compile", "-c", ROOT / "constraints.txt"]
        pip = [python, "-m", "pip", "install", *options]
        run(*pip, "torch", cwd=folder)
        run(*pip, wheel, cwd=folder)
        print(f"installed into a clean environment after {time.monotonic() - started:.0f} s")
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        environment = {**os.environ, "MMKG_HOME": str(folder / "home")}
        mmkg = folder / "env" / "bin" / "mmkg"
        run(mmkg, "--help", cwd=elsewhere, env=environment)
        run(mmkg, "doctor", cwd=elsewhere, env=environment)
        demo = json.loads(run(mmkg, "demo", "--json", cwd=elsewhere, env=environment))
        wrong = [row["question"] for row in demo["answers"] if not row["correct"]]
        if wrong:
            sys.exit(f"the installed demo answers these wrongly: {wrong}")
        pictures = [row for row in demo["answers"] if row["needs_picture"]]
        if not pictures or not all(any(c["asset"] for c in row["citations"]) for row in pictures):
            sys.exit("an answer that stands in a picture does not cite the picture")
        found = json.loads(run(mmkg, "search", "puffins", "-w", "demo", "--json", cwd=elsewhere, env=environment))
        if not found["evidence"]:
            sys.exit("the installed search finds nothing")
    print(f"the wheel works: {len(demo['answers'])} demo questions right, after {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
