"""deploy/version.sh says what the build backend says; `make .env` passes it on to compose."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deployment import composed
from deployment.composed import ROOT

pytestmark = pytest.mark.system


def git(folder: Path, *arguments: str) -> None:
    """Run git in a folder, as somebody."""
    who = {f"GIT_{role}_{what}": "a@b.example" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(["git", *arguments], cwd=folder, env=os.environ | who, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with what makes the version, and one commit."""
    folder = tmp_path / "checkout"
    (folder / "deploy").mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", "deploy/version.sh"):
        shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def ours(folder: Path) -> str:
    """The version by the script, run from elsewhere."""
    done = subprocess.run([folder / "deploy/version.sh"], cwd="/", check=True, capture_output=True, text=True)
    return done.stdout.strip()


def built(folder: Path, **env: str) -> str:
    """The version by the build backend."""
    argv = [sys.executable, "-m", "hatchling", "version"]
    return subprocess.run(
        argv, cwd=folder, env=os.environ | env, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_script_says_what_the_build_backend_says(checkout: Path) -> None:
    def commit(text: str) -> None:
        (checkout / "README.md").write_text(text)
        git(checkout, "commit", "--quiet", "--all", "--message", text)

    found = [ours(checkout)]
    assert found[-1] == built(checkout)
    git(checkout, "tag", "v1.2.3")
    found.append(ours(checkout))
    assert found[-1] == built(checkout) == "1.2.3"
    (checkout / "README.md").write_text("changed")
    found.append(ours(checkout))
    assert found[-1] == built(checkout)
    commit("second")
    found.append(ours(checkout))
    assert found[-1] == built(checkout)
    git(checkout, "tag", "1.3.0rc1")
    found.append(ours(checkout))
    assert found[-1] == built(checkout) == "1.3.0rc1"
    assert len(set(found)) == 5


def test_without_a_repository_it_is_the_one_that_the_build_falls_back_to(checkout: Path) -> None:
    shutil.rmtree(checkout / ".git")
    assert ours(checkout) == built(checkout)


def test_the_build_of_an_image_takes_the_version_that_it_is_given(checkout: Path) -> None:
    (variable,) = [
        found[1]
        for instruction, rest in composed.dockerfile()
        if instruction == "RUN" and (found := re.match(r'(\w+)="\$\{VERSION\}"', rest))
    ]
    shutil.rmtree(checkout / ".git")
    assert built(checkout, **{variable: "7.8.9.post1.dev2+gabc"}) == "7.8.9.post1.dev2+gabc"


def test_make_writes_the_version_again_and_keeps_passwords(tmp_path: Path) -> None:
    before = composed.passwords(tmp_path)
    file = tmp_path / ".env"
    file.write_text(file.read_text().replace(before["TICKWIRE_VERSION"], "0.0.1"))
    after = composed.passwords(tmp_path)
    assert after == before
    assert after["TICKWIRE_VERSION"] == ours(ROOT)
