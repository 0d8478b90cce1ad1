"""What a side of a verification ran on: versions and machine."""

from __future__ import annotations

import os
import platform
from importlib import metadata

PACKAGES = ("keras", "tf_keras", "tensorflow", "torch", "numpy", "h5py", "safetensors")


def environment() -> dict[str, str]:
    """Returns the versions of what is installed, the system, the processor."""
    versions = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    versions["processors"] = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
