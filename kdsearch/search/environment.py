"""Where a search ran: what a reader needs to judge a figure, and nothing that is secret."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("kdsearch", "torch", "ray", "optuna", "mlflow", "pyarrow")


def environment() -> dict[str, str]:
    """Commit, versions and hardware of the driver."""
    facts = {package: _version(package) for package in _PACKAGES}
    return facts | {
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
    }


def commit() -> str:
    """The git commit of the code, with a plus sign if files differ from it; empty without git."""
    folder = Path(__file__).parents[1]
    try:
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(folder, "status", "--porcelain", "--", str(folder)) else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10)
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
