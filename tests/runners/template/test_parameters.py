"""The options of nightly as the Flex Template's parameters: described, there and back, launched by the real client."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import dataflow_v1beta3
from hypothesis import given
from hypothesis import strategies as st
from loopback import JsonHandler

from beamsight.options import Option
from runners.cli import app, launcher
from runners.template import parameters
from transforms.errors import UsageError

METADATA = Path(__file__).parents[3] / "containers" / "metadata.json"
PARAMETERS = {each["name"]: each for each in parameters.metadata()["parameters"]}
NEEDED = ["--images=gs://b/in/**.jpg", "--output=gs://b/out"]
TEMPLATE = "gs://b/templates/beamsight.json"

# A value for each option, as the command line takes it; a list is an option that may be repeated.
VALUES: dict[str, Any] = {
    "images": ["gs://b/in/**.jpg", "gs://b/a list, with all.csv"],
    "output": "gs://b/out",
    "classifier": "gs://b/models/b7",
    "embedder": "none",
    "uri_column": "where",
    "image_column": "picture",
    "image_feature": "image/raw",
    "retry_failed": True,
    "max_attempts": "3",
    "check_versions": True,
    "precision": "bf16",
    "engine": "openvino",
    "resizer": "pillow",
    "engine_threads": "7",
    "top_k": "3",
    "probabilities": True,
    "normalize": True,
    "max_pixels": "1_000_000",
    "max_bytes": "5,000,000",
    "fetch_timeout": "90.5",
    "per_host": "4",
    "allow_private_hosts": True,
    "ignore_robots_tags": True,
    "max_failures": "2.5%",
    "expect_at_least": "1_000",
    "limit": "10",
    "on_finish": "https://hooks.example/x",
    "unit_size": "64",
    "batch_size": "16",
    "threads": "9",
    "date": "2026-11-20",
    "from": "2026-11-01",
    "to": "2026-11-19",
    "time_zone": "America/Port-au-Prince",
    "catch_up": "14",
    "config": "beamsight.toml",
    "project": "my-project",
    "region": "europe-west4",
    "bucket": "gs://b",
    "job_name": "pictures",
    "service_account": "worker@my-project.iam.gserviceaccount.com",
    "network": "net",
    "subnetwork": "regions/europe-west4/subnetworks/net",
    "no_public_ips": True,
    "label": ["team=vision", "cost=low"],
    "container_image": "europe-west4-docker.pkg.dev/my-project/images/beamsight",
    "gpu": "nvidia-l4",
    "machine_type": ["g2-standard-16", "g2-standard-12"],
    "flexrs": True,
    "max_cost": "25",
    "workers": "2",
    "max_workers": "50",
    "disk_gb": "80",
    "wait": True,
}


ABSENT = {each.name.replace("-", "_") for each in parameters._OPTIONS if each.template is not True}


def values_of(words: list[str]) -> dict[str, Any]:
    """The values that words of the command line give, by field."""
    parsed = app.parser().parse(["nightly", *words])
    assert not parsed.beam
    return parsed.values


def options() -> dict[str, Option]:
    return {parameters._name(each): each for each in parameters._OPTIONS}


def as_words(name: str) -> list[str]:
    option, value = options()[name].flag, VALUES[name]
    if value is True:
        return [option]
    return [f"{option}={each}" for each in (value if isinstance(value, list) else [value])]


def as_parameter(name: str) -> str:
    value = VALUES[name]
    return "true" if value is True else "|".join(value) if isinstance(value, list) else value


def test_the_file_that_is_built_from_is_what_the_options_give() -> None:
    assert json.loads(METADATA.read_text(encoding="utf-8")) == parameters.metadata(), "run `make generated`"


def test_the_file_is_what_dataflow_takes() -> None:
    text = METADATA.read_text(encoding="utf-8")
    read = dataflow_v1beta3.TemplateMetadata.from_json(text, ignore_unknown_fields=False)
    assert [each.name for each in read.parameters] == list(PARAMETERS)
    assert {each.name for each in read.parameters if not each.is_optional} == {"images", "output"}
    assert all(each.label and each.help_text and each.regexes for each in read.parameters)


@pytest.mark.skipif(not shutil.which("gcloud"), reason="no gcloud on this machine")
def test_gcloud_makes_a_template_of_the_file(gcs: object) -> None:
    command = ["gcloud", "dataflow", "flex-template", "build", TEMPLATE, "--image=europe/image:1", "--project=p"]
    command += ["--sdk-language=PYTHON", f"--metadata-file={METADATA}", "--print-only", "--format=value(.)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["metadata"] == parameters.metadata()


def test_every_option_has_a_value_here_and_is_a_parameter() -> None:
    assert options().keys() == VALUES.keys(), "give the new option a value above"
    assert options().keys() - PARAMETERS.keys() == {*parameters.BESIDE, *ABSENT}


@pytest.mark.parametrize("name", sorted(VALUES.keys() - ABSENT))
def test_a_parameter_says_what_its_option_says(name: str) -> None:
    needed = [word for word in NEEDED if not word.startswith(f"--{name}=")]
    by_option = values_of([*needed, *as_words(name)])
    assert parameters.parse([*needed, f"--{name}={as_parameter(name)}"]) == (by_option, [])
    assert by_option[options()[name].field] != options()[name].default
    if name in PARAMETERS:
        assert re.fullmatch(PARAMETERS[name]["regexes"][0], as_parameter(name))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("images", "/home/me/photos"),
        ("images", "gs://b/a|/home/me/photos"),
        ("output", "out"),
        ("bucket", "b"),
        ("classifier", "./models/b7"),
        ("gpu", "nvidia-k80"),
        ("precision", "f16"),
        ("engine_threads", "0"),
        ("workers", "-1"),
        ("max_failures", "some"),
        ("label", "Team=Vision"),
        ("service_account", "me"),
        ("normalize", "yes"),
        ("date", "yesterday"),
        ("time_zone", "New York"),
        ("catch_up", "-1"),
    ],
)
def test_a_pattern_refuses_what_submit_would(name: str, value: str) -> None:
    assert not re.fullmatch(PARAMETERS[name]["regexes"][0], value)


def test_defaults_match_their_patterns() -> None:
    defaults = {name: each["defaultValue"] for name, each in PARAMETERS.items() if "defaultValue" in each}
    assert defaults["classifier"] == "efficientnet-b7"
    for name, default in defaults.items():
        assert re.fullmatch(PARAMETERS[name]["regexes"][0], default)
        assert parameters.parse([f"--{name}={default}"])[0] == {options()[name].field: options()[name].default}


def test_false_is_the_default_of_a_switch_and_an_empty_value_is_not_given() -> None:
    flags = [name for name, each in PARAMETERS.items() if each["paramType"] == "BOOLEAN"]
    assert len(flags) > 4
    assert parameters.parse([f"--{name}=false" for name in flags])[0] == {
        options()[name].field: False for name in flags
    }
    assert parameters.parse([f"--{name}=" for name in ("gpu", "label", "batch_size", "wait")]) == ({}, [])


def test_what_is_no_option_goes_on_to_beam() -> None:
    words = ["--template_location=gs://b/staging/job_object", "--runner=DataflowRunner", "--experiments=a,b"]
    assert parameters.parse(words) == ({}, words)


@pytest.mark.parametrize(
    ("parameter", "is_nightly"),
    [
        ("--date=2026-11-20", True),
        ("--time_zone=UTC", True),
        ("--catch_up=0", True),
        ("--images=gs://b/a.csv|gs://b/{yesterday}/**", True),
        ("--images=gs://b/{date:%Y/%m}/**", True),
        ("--images=gs://b/{a}/**", False),
        ("--uri_column=date", False),
        ("--time_zone=", False),
    ],
)
def test_what_names_days_is_a_night(parameter: str, is_nightly: bool) -> None:
    images = [] if "images" in parameter else ["--images=gs://b/in/**"]
    assert parameters.is_night(parameters.parse([*images, "--output=gs://b/out", parameter])[0]) == is_nightly


@pytest.mark.parametrize(
    ("parameter", "message"), [("--wait=true", "a launch returns at once"), ("--normalize=yes", "write true or false")]
)
def test_a_launcher_that_cannot_do_what_is_asked_says_so(
    parameter: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launcher.main([*NEEDED, parameter]) == 2
    assert message in capsys.readouterr().err


class Dataflow(ThreadingHTTPServer):
    """Where launches are sent to: keeps their paths and bodies."""

    def __init__(self) -> None:
        super().__init__(("localhost", 0), _Answers)
        self.launches: list[tuple[str, dict[str, Any]]] = []


class _Answers(JsonHandler):
    server: Dataflow

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.launches.append((self.path.partition("?")[0], json.loads(body)))
        self.answer(200, {"job": {"id": "2026-11-21_00", "name": "pictures"}})


@pytest.fixture
def dataflow() -> Iterator[Dataflow]:
    with Dataflow() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_launch_by_the_real_client_carries_every_option(dataflow: Dataflow, gcs: object) -> None:
    words = [word for name in VALUES.keys() - ABSENT for word in as_words(name)]
    client = dataflow_v1beta3.FlexTemplatesServiceClient(
        credentials=AnonymousCredentials(),
        transport="rest",
        client_options={"api_endpoint": f"http://localhost:{dataflow.server_port}"},
    )
    launched = client.launch_flex_template(parameters.launch_request(TEMPLATE, values_of(words), ["--experiments=x"]))

    assert launched.job.id == "2026-11-21_00"
    ((path, body),) = dataflow.launches
    assert path == "/v1b3/projects/my-project/locations/europe-west4/flexTemplates:launch"
    launch = body["launchParameter"]
    assert (launch["jobName"], launch["containerSpecGcsPath"]) == ("pictures", TEMPLATE)
    assert launch["environment"] == {
        "serviceAccountEmail": VALUES["service_account"],
        "network": "net",
        "subnetwork": VALUES["subnetwork"],
        "ipConfiguration": 2,
        "flexrsGoal": 2,
        "tempLocation": "gs://b/beamsight/temp",
        "stagingLocation": "gs://b/beamsight/staging",
        "additionalPipelineOptions": ["--experiments=x"],
    }
    assert launch["parameters"].keys() == PARAMETERS.keys()
    for name, value in launch["parameters"].items():
        assert re.fullmatch(PARAMETERS[name]["regexes"][0], value)

    # What the launcher then calls the template's program with.
    beside = ["--project=my-project", "--region=europe-west4", "--job_name=pictures"]
    called = [*beside, *(f"--{name}={value}" for name, value in launch["parameters"].items())]
    assert parameters.parse(called) == (values_of(words), [])


@given(st.sets(st.sampled_from(sorted(VALUES.keys() - ABSENT - {"images", "output"}))))
def test_what_is_not_said_is_not_launched_with(names: set[str]) -> None:
    words = [*NEEDED, *(word for name in sorted({*names, "project", "region"}) for word in as_words(name))]
    launch = parameters.launch_request(TEMPLATE, values_of(words), []).launch_parameter
    assert launch.parameters.keys() == {"images", "output", *names} - {*parameters.BESIDE}


def test_the_name_of_a_launch_is_always_the_same_so_that_two_do_not_run_together() -> None:
    words = [*NEEDED, "--project=p", "--region=r"]
    assert parameters.launch_request(TEMPLATE, values_of(words), []).launch_parameter.job_name == "beamsight"
    assert parameters.launch_request(TEMPLATE, values_of(words), []) == parameters.launch_request(
        TEMPLATE, values_of(words), []
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--region=r"], "--project is missing"),
        (["--project=p"], "--region is missing"),
        (["--project=p", "--region=r", "--wait"], "--wait is not for a template"),
        (["--project=p", "--region=r", "--config=x.toml"], "--config is not for a template"),
        (["--project=p", "--region=r", "--images=gs://b/a|b.jpg"], "name the file in a manifest"),
    ],
)
def test_a_launch_that_cannot_be_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        parameters.launch_request(TEMPLATE, values_of([*NEEDED, *words]), [])
