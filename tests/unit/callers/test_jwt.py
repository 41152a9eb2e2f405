"""The tokens of issuers: which are taken, and what the error of each other one says."""

from __future__ import annotations

import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from headwater_server.callers.admission import Admission
from headwater_server.callers.caller import Caller
from headwater_server.callers.issuers.jwt_issuers import IssuerTerms, JwtIssuer, JwtIssuers
from headwater_server.callers.issuers.key_sources import KeyFile
from headwater_server.domain.errors import HeadwaterError
from tests.support.callers.issuer import AUDIENCE, ISSUER, Key, jwks

KEY = Key()
OTHER = Key()
"""Another key under the same name."""


def issuers(folder: Path, *keys: Key | dict[str, Any], **terms: Any) -> JwtIssuers:
    file = folder / "jwks.json"
    file.write_text(jwks(*(keys or (KEY,))))
    usual = {"name": "corp", "issuer": ISSUER, "audience": (AUDIENCE, "second"), "leeway_seconds": 5.0}
    usual |= {"caller_claim": "sub", "scope_claim": "scope", "caller_prefix": ""}
    return JwtIssuers([JwtIssuer(IssuerTerms(**{**usual, **terms}), KeyFile("corp", file))], lambda _: frozenset())


async def caller_of(known: JwtIssuers, token: str) -> Caller:
    answer = await known.admit(token)
    assert isinstance(answer, Admission), answer
    assert answer.why_over is not None
    assert answer.why_over() == ""
    return answer.caller


async def refusal_of(known: JwtIssuers, token: str) -> str:
    with pytest.raises(HeadwaterError) as caught:
        await known.admit(token)
    assert caught.value.reason == "CALLER_UNAUTHENTICATED"
    assert not [part for part in token.split(".") if len(part) > 8 and part in caught.value.message]
    return caught.value.message


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "RS512", "ES256", "ES384", "ES512", "EdDSA"])
async def test_each_asymmetric_algorithm_is_taken(tmp_path, algorithm):
    key = Key("k", algorithm)
    known = issuers(tmp_path, KEY, key.described(use="sig", alg=algorithm))
    assert await caller_of(known, key.token("alice", scope="stream worker:q openid")) == Caller(
        "alice", frozenset(["stream", "worker:q"])
    )


async def test_one_rsa_key_checks_all_its_algorithms_unless_it_names_one(tmp_path):
    key = Key("k", "RS256")
    pss = jwt.encode(
        {"iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 9, "sub": "a"}, key.private, "PS384", {"kid": "k"}
    )
    assert (await caller_of(issuers(tmp_path, key.described()), pss)).name == "a"
    assert "none for its algorithm" in await refusal_of(issuers(tmp_path, key.described(alg="RS256")), pss)


DAY = 86_400
"""Seconds; the claims below are made when the tests are collected, long before they run."""


@pytest.mark.parametrize(
    ("claims", "mistake"),
    [
        ({"exp": int(time.time()) - 6}, "has expired"),
        ({"exp": None}, "lacks the claim exp"),
        ({"exp": "soon"}, "cannot be read"),
        ({"exp": float("nan")}, "cannot be read"),
        ({"exp": float("inf")}, "cannot be read"),
        ({"nbf": int(time.time()) + DAY}, "is not valid yet"),
        ({"iat": int(time.time()) + DAY}, "raise leeway_seconds of jwt.corp"),
        ({"aud": "another"}, "is for another audience; its claim aud must have headwater or second"),
        ({"aud": None}, "lacks the claim aud"),
        ({"aud": []}, "lacks the claim aud"),
        ({"aud": {"headwater": 1}}, "another audience"),
        ({"sub": None}, "the claim sub of the JWT is no name"),
        ({"sub": "a b"}, "the claim sub of the JWT is no name"),
        ({"sub": ""}, "the claim sub of the JWT is no name"),
        ({"sub": "x" * 201}, "the claim sub of the JWT is no name"),
        ({"sub": "a\nb"}, "the claim sub of the JWT is no name"),
    ],
)
async def test_a_token_with_a_wrong_claim_is_refused_and_the_error_says_which(tmp_path, claims, mistake):
    assert mistake in await refusal_of(issuers(tmp_path), KEY.token(**claims))


async def test_a_token_may_expire_in_the_far_future(tmp_path):
    assert (await caller_of(issuers(tmp_path), KEY.token(exp=10**400))).name == "alice"


async def test_the_leeway_covers_clocks_that_differ(tmp_path):
    now = int(time.time())
    assert (await caller_of(issuers(tmp_path, leeway_seconds=60.0), KEY.token(exp=now - 30))).name == "alice"
    assert (await caller_of(issuers(tmp_path, leeway_seconds=60.0), KEY.token(nbf=now + 30))).name == "alice"


async def test_a_token_of_another_key_is_refused(tmp_path):
    assert "the signature of the JWT does not fit" in await refusal_of(issuers(tmp_path), OTHER.token())
    assert "the key of the JWT is none of jwt.corp" in await refusal_of(issuers(tmp_path), Key("unknown").token())


async def test_a_token_that_was_changed_is_refused(tmp_path):
    head, _, signature = KEY.token().split(".")
    _, body, _ = KEY.token("root", scope="operator").split(".")
    assert "signature" in await refusal_of(issuers(tmp_path), f"{head}.{body}.{signature}")


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def forged(header: dict[str, Any], secret: bytes = b"") -> str:
    """A token whose header says how it is not signed; with a secret, an HMAC is its signature."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60, "sub": "root", "scope": "operator"}
    said = ".".join(encoded(json.dumps(each).encode()) for each in (header, claims))
    return f"{said}.{encoded(hmac.digest(secret, said.encode(), 'sha256')) if secret else ''}"


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "HS512", "", "ES256K", "RS1", None, 7, [], {}])
async def test_no_other_algorithm_is_taken_whatever_the_header_says(tmp_path, algorithm):
    token = forged({"alg": algorithm, "kid": "a"})
    assert "must be signed with one of" in await refusal_of(issuers(tmp_path), token)


async def test_a_public_key_is_no_secret_for_an_hmac(tmp_path):
    known = issuers(tmp_path, KEY, {"kty": "oct", "k": encoded(b"s" * 32), "kid": "s", "alg": "HS256"})
    pem = KEY.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for secret in (json.dumps(KEY.described()).encode(), pem, b"s" * 32):
        for key_id in ("a", "s"):
            token = forged({"kid": key_id, "alg": "HS256"}, secret)
            assert "must be signed with one of" in await refusal_of(known, token)


async def test_a_header_that_wants_more_than_is_known_is_refused(tmp_path):
    wanting = KEY.token(header={"crit": ["exp"], "exp": 1})
    assert await issuers(tmp_path).admit(wanting) == "the token is neither one of `headwater token create` nor a JWT"
    embedded = OTHER.token(
        header={"jwk": OTHER.described(), "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/"}
    )
    assert "does not fit" in await refusal_of(issuers(tmp_path), embedded)


async def test_an_rsa_key_that_is_too_short_is_refused(tmp_path):
    key = Key("k", "RS256", bits=1024)
    with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
        token = key.token()
    assert "too short" in await refusal_of(issuers(tmp_path, key), token)


async def test_a_token_without_a_key_id_needs_a_single_key_that_fits(tmp_path):
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60, "sub": "alice"}
    token = jwt.encode(claims, KEY.private, "ES256")
    assert (await caller_of(issuers(tmp_path, KEY, Key("r", "RS256")), token)).name == "alice"
    assert "none of jwt.corp" in await refusal_of(issuers(tmp_path, KEY, Key("b")), token)


@pytest.mark.parametrize("token", ["x", "a.b", "a.b.c", "hw_x", "..", "e30.e30.e30", "\udcff", "[" * 9_000])
async def test_what_is_no_token_of_an_issuer_is_left_to_others(tmp_path, token):
    assert isinstance(await issuers(tmp_path).admit(token), str)


async def test_a_token_of_an_unknown_issuer_is_left_to_others(tmp_path):
    for issuer in ("https://id.example.com", None, ["x"], 1):
        try:
            answer = await issuers(tmp_path).admit(KEY.token(iss=issuer))
        except TypeError:
            continue  # the library makes no such token
        assert answer == "the issuer of the JWT is none of this server's; get a token of one that it trusts"


async def test_claims_and_prefix_are_as_configured(tmp_path):
    known = issuers(tmp_path, caller_claim="client_id", scope_claim="roles", caller_prefix="corp/")
    token = KEY.token(client_id="billing", roles=["operator", "x", 7, "worker:"])
    assert await caller_of(known, token) == Caller("corp/billing", frozenset(["operator"]))


@pytest.mark.parametrize(
    ("own", "other", "subject", "is_taken"),
    [
        ("", "corp:", "corp:alice", False),
        ("a", "ab", "balice", False),
        ("corp:", "", "corp:alice", True),
        ("", "", "alice", True),
        ("", "corp:", "alice", True),
        ("x:", "corp:", "corp:alice", True),
    ],
)
async def test_no_issuer_names_a_caller_that_has_the_prefix_of_another(tmp_path, own, other, subject, is_taken):
    (mine,) = issuers(tmp_path, caller_prefix=own).by_issuer.values()
    (theirs,) = issuers(tmp_path, name="partner", issuer="https://b.example/", caller_prefix=other).by_issuer.values()
    known = JwtIssuers([mine, theirs], lambda _: frozenset())
    if is_taken:
        assert (await caller_of(known, KEY.token(subject))).name == own + subject
    else:
        assert "begins as those of another issuer; give jwt.corp" in await refusal_of(known, KEY.token(subject))


async def test_scopes_of_the_configuration_come_on_top(tmp_path):
    known = issuers(tmp_path)
    known._scopes_of = lambda name: frozenset(["workflow"] if name == "alice" else ())
    assert (await caller_of(known, KEY.token())).scopes == {"stream", "workflow"}
    assert (await caller_of(known, KEY.token("bob", scope=None))).scopes == frozenset()


async def test_a_call_ends_when_its_token_expires_and_when_its_issuer_is_taken_away(tmp_path, monkeypatch):
    known = issuers(tmp_path)
    answer = await known.admit(KEY.token())
    assert isinstance(answer, Admission)
    assert answer.why_over
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3_604)
    assert answer.why_over() == ""
    monkeypatch.setattr(time, "time", lambda: now + 3_606)
    assert "has expired" in answer.why_over()
    known.by_issuer[ISSUER].is_trusted = False
    assert "no longer one of this server's" in answer.why_over()
