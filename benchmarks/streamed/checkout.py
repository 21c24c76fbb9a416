"""An earlier version of tickwire from the repository, with an interpreter of its own and the packages of this one."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]


def checked_out(commit: str, folder: Path) -> Path:
    """Extract a commit into `folder`, which is made, and return an interpreter that imports tickwire from there.

    Raises SystemExit for an unknown commit.
    """
    tree, own = folder / "tree", folder / "venv"
    tree.mkdir(parents=True)
    packed = subprocess.run(["git", "-C", ROOT, "archive", commit], capture_output=True, check=False)
    if packed.returncode:
        raise SystemExit(f"{commit} cannot be checked out: {packed.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", tree], input=packed.stdout, check=True)
    venv.create(own)
    python = own / "bin" / "python"
    # Packages of this interpreter, but not its tickwire, which is in a .pth file that is not read there.
    sources = [each.parent for pattern in ("*/tickwire", "*/*/tickwire") for each in tree.glob(pattern)]
    paths = dict.fromkeys(map(str, (*sources, sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    lines = "".join(f"{path}\n" for path in paths)
    (own / "lib" / version / "site-packages" / "tickwire.pth").write_text(lines)
    return python
