"""The channel that the environment describes."""

import os
import re

import grpc

LOCAL = re.compile(r"(dns:///)?(localhost|127(\.\d+){3}|\[::1\]):\d+|unix:.*")


def from_environment() -> grpc.Channel:
    target = os.environ.get("HEADWATER_TARGET") or "localhost:50051"
    address = target.removeprefix("https://")
    if address == target:
        channel = grpc.insecure_channel(target)
    else:
        files = [read(f"HEADWATER_{name}_FILE") for name in ("CA", "KEY", "CERT")]
        with_port = address if re.search(r":\d+$", address) else f"{address}:443"
        channel = grpc.secure_channel(with_port, grpc.ssl_channel_credentials(*files))
    if token := os.environ.get("HEADWATER_TOKEN"):
        told = os.environ.get("HEADWATER_PLAINTEXT_TOKEN") == "true"
        if address == target and not LOCAL.fullmatch(target) and not told:
            raise SystemExit(f"HEADWATER_TOKEN would go to {target} unencrypted; write https:// before the target")
        channel = grpc.intercept_channel(channel, WithToken(token))
    return channel


def read(variable: str) -> bytes | None:
    path = os.environ.get(variable)
    if not path:
        return None
    with open(path, "rb") as file:
        return file.read()


class WithToken(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    def __init__(self, token: str) -> None:
        self.header = ("authorization", f"Bearer {token}")

    def intercept_unary_unary(self, continuation, details, request):  # type: ignore[no-untyped-def]
        return continuation(self.sent_with(details), request)

    def intercept_unary_stream(self, continuation, details, request):  # type: ignore[no-untyped-def]
        return continuation(self.sent_with(details), request)

    def sent_with(self, details):  # type: ignore[no-untyped-def]
        return details._replace(metadata=[*(details.metadata or ()), self.header])
