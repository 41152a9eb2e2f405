"""Programs that a server starts get no key that they do not need."""

from __future__ import annotations

from pathlib import Path

from headwater_server.providers.local import child
from headwater_server.workflows.expressions.process import HelperProcess
from tests.support.secrets.marks import KEYS, found, secret

NAMES = ("OPENAI_API_KEY", "HEADWATER_TOKEN", "MY_SECRET", "AWS_SESSION_TOKEN", "DB_PASSWORD")


def environment(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text()


async def test_the_embedded_model_and_the_helper_of_expressions_have_no_key(monkeypatch):
    monkeypatch.setattr(child, "PROGRAM", "tests.support.fake_model")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    for name in NAMES:
        monkeypatch.setenv(name, secret("environment_key"))
    model = await child.ModelProcess.start({})
    try:
        assert found(environment(model.pid), KEYS) == set()
        assert "CUDA_VISIBLE_DEVICES=0" in environment(model.pid)
    finally:
        await model.stop()
    helper = await HelperProcess.start(1.0)
    try:
        assert found(environment(helper.pid), KEYS) == set()
    finally:
        await helper.stop()
