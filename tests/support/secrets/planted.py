"""A server whose settings, files and environment are full of marked secrets, and calls that bring more of them."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from headwater.v1 import RunRequest
from headwater.v1.agent_pb2 import (
    ROLE_ASSISTANT,
    ROLE_TOOL,
    ROLE_USER,
    AgentConfig,
    ChatMessage,
    FunctionTool,
    Image,
    Part,
    ProviderData,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from headwater_server.callers.token_file import add_token, revoke_tokens
from headwater_server.callers.tokens import TOKEN_PREFIX, Token, hash_of
from tests.support.secrets.marks import core, secret, words

CONFIGURATION = """
[server]
allow_caller_api_keys = true
[providers.chat]
type = "openai"
base_url = "{url}/v1"
api = "chat_completions"
api_key_env = "PLANTED_KEY"
caller_headers = ["x-note"]
[providers.responses]
type = "openai"
base_url = "{url}/v1"
api = "responses"
token_command = [{command}]
[providers.claude]
type = "anthropic"
base_url = "{url}"
api_key_file = "{key_file}"
[providers.gemini]
base_url = "{url}"
auth = "none"
headers = { x-tenant-secret = "${PLANTED_HEADER}" }
query = { key = "${PLANTED_QUERY}" }
[providers.llama]
type = "ollama"
base_url = "{url}"
headers = { x-tenant-secret = "{header}" }
[providers.proxied]
type = "openai"
base_url = "http://example.org/v1"
api_key_env = "PLANTED_KEY"
proxy = "http://user:{password}@127.0.0.1:1"
"""
PROVIDERS = ("chat", "responses", "claude", "gemini", "llama", "proxied")


@dataclass(frozen=True)
class Planted:
    """The files of such a server.

    Attributes:
        folder: has all of them: `headwater.toml`, `data`, `tmp`, `work` (the current folder).
        variables: its environment.
        tokens: of callers, by their places in KEYS.
    """

    folder: Path
    variables: dict[str, str]
    tokens: dict[str, str]

    @property
    def config(self) -> str:
        """The file of its settings."""
        return str(self.folder / "headwater.toml")

    def metadata(self, place: str) -> tuple[tuple[str, str], ...]:
        """The metadata of a caller with this token."""
        return (("authorization", f"Bearer {self.tokens[place]}"),)


def plant(folder: Path, url: str) -> Planted:
    """Writes the files. `url`: of the provider."""
    for name in ("data", "tmp", "work"):
        (folder / name).mkdir(mode=0o700)
    key_file, token_file = folder / "key", folder / "token"
    key_file.write_text(secret("file_key"))
    token_file.write_text(secret("command_key"))
    key_file.chmod(0o600)
    program = f"print(open({str(token_file)!r}).read())"
    settings = {
        "url": url,
        "key_file": str(key_file),
        "command": f'"{sys.executable}", "-c", "{program}"',
        "header": secret("header_key"),
        "password": quote(secret("proxy_password"), safe=""),
    }
    text = CONFIGURATION
    for name, value in settings.items():
        text = text.replace(f"{{{name}}}", value)
    (folder / "headwater.toml").write_text(text)
    variables = {
        "PLANTED_KEY": secret("environment_key"),
        "PLANTED_HEADER": secret("header_key"),
        "PLANTED_QUERY": secret("query_key"),
        "OPENAI_API_KEY": secret("environment_key"),
        "HEADWATER_DATA_DIR": str(folder / "data"),
        "HEADWATER_CONFIG": str(folder / "headwater.toml"),
        "TMPDIR": str(folder / "tmp"),
    }
    return Planted(folder, variables, _tokens(folder / "data"))


def _tokens(data: Path) -> dict[str, str]:
    """The tokens of callers, made in the data directory; one was never made."""
    texts = {
        place: TOKEN_PREFIX + secret(place) for place in ("right_token", "wrong_token", "revoked_token", "other_token")
    }
    scopes = ("stream", "workflow", "worker:q")
    for number, (place, text) in enumerate(texts.items()):
        if place != "wrong_token":
            add_token(data, Token(f"tok_{number:08}", place.partition("_")[0], scopes, hash_of(text), time.time()))
    revoke_tokens(data, "revoked", time.time())
    return texts


def question(provider: str) -> RunRequest:
    """A question to the provider, with a mark in every field that holds content. Its images are data where the provider
    takes no address.
    """
    image = Image(data=core("image").encode(), media_type="image/png")
    address = Image(url=f"https://example.org/{core('image_url')}.png")
    call = ToolCall(id="call_1", name="look", arguments_json=f'{{"q": "{words("arguments")}"}}')
    thinking = Thinking(text=words("thinking"), signature=core("signature"))
    data = ProviderData(provider=provider, account="x", data_json=f'{{"a": "{core("provider_data")}"}}')
    conversation = [
        ChatMessage(role=ROLE_USER, parts=[Part(text=words("message")), Part(image=image)]),
        ChatMessage(role=ROLE_ASSISTANT, parts=[Part(thinking=thinking, provider_data=data), Part(tool_call=call)]),
        ChatMessage(
            role=ROLE_TOOL, parts=[Part(tool_result=ToolResult(tool_call_id="call_1", content=words("result")))]
        ),
    ]
    if provider != "llama":
        conversation[0].parts.append(Part(image=address))
    schema = f'{{"type": "object", "properties": {{"q": {{"description": "{words("schema")}"}}}}}}'
    tool = Tool(function=FunctionTool(name="look", description=words("description"), parameters_json=schema))
    agent = AgentConfig(model=f"{provider}/m", instructions=words("instructions"), tools=[tool], max_attempts=1)
    agent.user = words("user")
    agent.provider_options[provider].update({"metadata": {"note": words("options")}})
    return RunRequest(prompt=words("prompt"), messages=conversation, agent=agent)
