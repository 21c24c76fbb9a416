"""The systemd unit of deploy/systemd: valid for systemd, and what it runs works where it says."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.processes import Program, environment

pytestmark = pytest.mark.system

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "tickwire.service"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's home with tickwire installed as pipx does, and with the folder of the unit."""
    made = tmp_path / "home"
    (made / ".local" / "bin").mkdir(parents=True)
    (made / "tickwire").mkdir()
    (made / ".local" / "bin" / "tickwire").symlink_to(Path(sys.executable).parent / "tickwire")
    (made / "run").mkdir(mode=0o700)
    return made


@pytest.mark.needs("systemd")
def test_systemd_finds_no_fault_in_the_unit(home: Path) -> None:
    env = os.environ | {"HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run")}
    verify = ["systemd-analyze", "--user", "verify", "--man=no", str(UNIT)]
    done = subprocess.run(verify, env=env, capture_output=True, text=True, check=False)
    # Units of this machine that it needs are loaded, too, and may be faulty.
    said = [line for line in (done.stdout + done.stderr).splitlines() if UNIT.stem in line]
    assert (done.returncode, said) == (0, [])


async def test_what_the_unit_starts_serves_in_its_folder_and_ends_with_zero(home: Path) -> None:
    """systemd stops it with SIGTERM, as the unit names no other signal and no command."""
    unit = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes="#")
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    service = {name: value.replace("%h", str(home)) for name, value in unit["Service"].items()}
    assert not {"KillSignal", "ExecStop", "Type"} & service.keys()
    env = environment(home, HOME=str(home)) | {"PWD": service["WorkingDirectory"]}
    del env["TICKWIRE_DATA_DIR"]
    # As systemd does: in the folder, without a terminal.
    start = ["env", f"--chdir={service['WorkingDirectory']}", *service["ExecStart"].split()]
    program = Program(start, home / "journal", env, "ready: ")
    async with program:
        assert (home / "tickwire" / "tickwire-data" / "run.json").exists()
        assert await program.stop() == 0
    # A wrong configuration is not tried again.
    (home / "tickwire" / "tickwire.toml").write_text("nonsense = 1\n")
    program.ready = ""
    refused = await program.start()
    assert await refused.wait() == int(service["RestartPreventExitStatus"])
    await program.close()
