"""Say on what a figure was measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path


def describe_machine(*packages: str) -> str:
    """Return one line: processor, cores, load, threads, Python, and the versions of these packages."""
    model = platform.processor() or "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    threads = os.environ.get("OMP_NUM_THREADS", "default")
    hardware = f"{model}, {os.cpu_count()} cores ({load}), OMP_NUM_THREADS={threads}"
    return f"{hardware}; Python {platform.python_version()}, {versions}"
