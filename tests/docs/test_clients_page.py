"""docs/clients.md shows the projects of examples/stubs as they are. tests/integration/languages builds and runs them."""

from __future__ import annotations

import re

import pytest

from tests.support.stubs.projects import LANGUAGES, PAGE, PROJECTS, ROOT, Language, files_of

LOCKS = {"go.sum", "package-lock.json"}
INSTALLS = re.compile(r"^sudo apt-get install --yes (.+)$", re.M)


@pytest.fixture(params=sorted(LANGUAGES))
def language(request: pytest.FixtureRequest) -> Language:
    return LANGUAGES[request.param]


def test_every_project_is_on_the_page():
    assert {path.name for path in PROJECTS.iterdir() if path.is_dir()} == set(LANGUAGES)


def test_the_page_shows_the_files_of_the_project(language):
    shown = {title: text for kind, title, text in language.blocks() if kind != "bash"}
    files = {path.relative_to(language.project).as_posix(): path for path in files_of(language.project)}
    kept = {name: path.read_text() for name, path in files.items() if name not in LOCKS and not name.startswith(".")}
    assert shown == kept


def test_the_line_that_cancels_is_in_the_program(language):
    rows = dict(re.findall(r"^\| (\S+) \| `([^`]+)`", PAGE.read_text(), re.M))
    [main] = [path for path in files_of(language.project) if path.stem.lower() in ("stream", "main")]
    assert rows[language.heading] in main.read_text()


def test_the_gate_installs_the_debian_packages_of_the_page():
    gate = (ROOT / ".ci" / "run").read_text()
    packages = {package for line in INSTALLS.findall(PAGE.read_text()) for package in line.split()}
    assert packages
    assert packages | {"tmux", "nginx", "systemd"} == set(re.findall(r"^packages=\((.+)\)$", gate, re.M)[0].split())
