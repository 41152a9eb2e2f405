"""The TypeScript package works however npm brings it into a project, and after a second `npm install`."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from tests.support.stubs.known_replies import known_replies
from tests.support.stubs.projects import LANGUAGES, ROOT, Program, lay_out, run_in

TYPESCRIPT = LANGUAGES["typescript"]
WAYS = {
    "linked": "npm install ../headwater/clients/typescript",
    "copied": "npm install --install-links ../headwater/clients/typescript",
    "packed": "npm install $(npm pack --silent ../headwater/clients/typescript)",
}

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("way", ["linked", "packed", pytest.param("copied", marks=pytest.mark.chaos)])
async def test_the_package_works(way: str, tmp_path: Path) -> None:
    if missing := TYPESCRIPT.missing():
        pytest.skip(f"{TYPESCRIPT.name}: not on PATH: {', '.join(missing)}")
    lay_out(TYPESCRIPT, tmp_path)
    project = tmp_path / "stream"
    without_the_package(project)
    for install in (WAYS[way], "npm install"):
        run_in(project, install)
        shutil.rmtree(project / "dist", ignore_errors=True)
        run_in(project, "npm run build")
        await runs(Program(("node", "dist/stream.js"), project))


def without_the_package(project: Path) -> None:
    """Takes the package out of the project's dependencies."""
    manifest = json.loads((project / "package.json").read_text())
    del manifest["dependencies"]
    (project / "package.json").write_text(json.dumps(manifest))
    (project / "package-lock.json").unlink()


async def runs(program: Program) -> None:
    """Fails unless the program streams, leaves and reads an error."""
    async with known_replies() as replies, program.started(replies.target, "a prompt") as process:
        replies.second_chunk.set()
        out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, err.decode()) == (0, "")
    assert out.decode().endswith("INVALID_REQUEST headwater.ai\nprompt: is a lie\n")


@pytest.mark.parametrize("folder", ["clients/typescript", "examples/stubs/typescript", "tools"])
def test_no_lock_file_names_a_registry(folder: str) -> None:
    packages = json.loads((ROOT / folder / "package-lock.json").read_text())["packages"]
    assert not [name for name, facts in packages.items() if "://" in facts.get("resolved", "")]
