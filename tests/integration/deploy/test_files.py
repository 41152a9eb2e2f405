"""The files of examples/deploy agree with the command that they start, and with each other."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater_server.cli import serve
from headwater_server.config import ServerSettings, load

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "examples" / "deploy"
CLOSING_SECONDS = 15
"""The time that docs/operations.md asks for, above `drain_seconds`."""


def flags(arguments: list[str]) -> dict[str, Any]:
    """The flags of `headwater serve`, as the command itself reads them. Raises UsageError for one that it lacks."""
    assert arguments[0] == "serve"
    given = serve.make_context("serve", arguments[1:]).params
    return {name: value for name, value in given.items() if value}


def settings(variables: dict[str, str]) -> ServerSettings:
    """The server's settings with these variables."""
    return load(None, variables, {}).settings.server


@pytest.fixture(scope="module")
def unit() -> dict[str, str]:
    """The lines of the unit; of those with one name the last."""
    lines = (DEPLOY / "headwater.service").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))


@pytest.fixture(scope="module")
def image() -> dict[str, str]:
    """The lines of the Containerfile's last stage, by their instructions."""
    text = (DEPLOY / "Containerfile").read_text()
    lines = text[text.rindex("\nFROM ") + 1 :].splitlines()
    return dict(line.split(" ", 1) for line in lines if re.match(r"[A-Z]+ ", line))


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """The objects of Kubernetes, by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}


@pytest.fixture(scope="module")
def pod(objects: dict[str, Any]) -> dict[str, Any]:
    """The template of a pod."""
    pod: dict[str, Any] = objects["StatefulSet"]["spec"]["template"]["spec"]
    return pod


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    """The one container."""
    (container,) = pod["containers"]
    return dict(container)


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


def test_the_unit_starts_a_command_that_there_is(unit):
    program, *arguments = shlex.split(unit["ExecStart"])
    assert program.endswith("/headwater")
    assert flags(arguments)["data_dir"] == f"/var/lib/{unit['StateDirectory']}"
    assert str(flags(arguments)["file"]).startswith(f"/etc/{unit['ConfigurationDirectory']}/")


def test_the_unit_waits_for_the_drain(unit):
    name, _, value = unit["Environment"].partition("=")
    assert int(unit["TimeoutStopSec"]) >= settings({name: value}).drain_seconds + CLOSING_SECONDS
    assert settings({name: value}).drain_seconds == 60
    assert unit["KillMode"] == "mixed", "a process would get SIGTERM twice, which interrupts its streams"


def test_the_image_starts_a_command_that_there_is(image):
    given = flags(json.loads(image["CMD"]))
    assert (json.loads(image["ENTRYPOINT"]), given["host"], given["insecure"]) == (["headwater"], "0.0.0.0", True)
    assert int(image["EXPOSE"]) == settings({}).port


def test_the_image_keeps_runs_below_its_volume(image):
    name, _, value = image["ENV"].split()[-1].partition("=")
    assert Path(settings({name: value}).data_dir).parent == Path(image["VOLUME"])


def test_a_pod_starts_a_command_that_there_is(container):
    given = flags(container["args"])
    assert (given["host"], given["insecure"]) == ("0.0.0.0", True)
    assert container["ports"] == [{"name": "grpc", "containerPort": given["port"]}]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["grpc"] == {"port": given["port"]}


def test_a_pod_keeps_runs_in_a_folder_that_the_server_makes_in_its_volume(objects, container):
    (claim,) = objects["StatefulSet"]["spec"]["volumeClaimTemplates"]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert Path(settings(variables(container)).data_dir).parent == Path(mounts[claim["metadata"]["name"]])


def test_a_pod_waits_for_the_drain(pod, container):
    server = settings(variables(container))
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= pause + server.drain_seconds + CLOSING_SECONDS
    assert server.drain_seconds == 60


def test_a_pod_runs_as_the_user_of_the_image(pod, image):
    context = pod["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == image["USER"]


def test_the_objects_of_kubernetes_find_each_other(objects, container):
    labels = objects["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    service = objects["Service"]
    assert service["spec"]["selector"] == labels
    assert ports[service["spec"]["ports"][0]["targetPort"]] == service["spec"]["ports"][0]["port"]
    assert objects["StatefulSet"]["spec"]["serviceName"] == service["metadata"]["name"]
    assert objects["StatefulSet"]["spec"]["selector"]["matchLabels"] == labels
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert objects["NetworkPolicy"]["spec"]["ingress"][0]["ports"][0]["port"] in ports
