"""docs/airflow.md: its DAGs say what beamsight takes, and Airflow takes them."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runners.cli import app
from runners.template import parameters

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "airflow.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

# What Airflow's Python says of a folder of DAGs, and of their tasks with the day filled in.
LOOK = """
import json, sys, pendulum
from airflow.dag_processing.dagbag import DagBag
from jinja2 import Environment
bag = DagBag(sys.argv[1])
assert not bag.import_errors, bag.import_errors
environment = Environment()
environment.filters["ds"] = lambda moment: moment.strftime("%Y-%m-%d")
context = {"data_interval_end": pendulum.datetime(2026, 11, 20, 23, 30)}  # 00:30 of the 21st in Berlin
render = lambda text: environment.from_string(text).render(context)
told = {}
for name, dag in bag.dags.items():
    for task in dag.tasks:
        fields = {field: getattr(task, field) for field in task.template_fields}
        told[f"{name}.{task.task_id}"] = json.loads(render(json.dumps(fields, default=str)))
print(json.dumps(told))
"""


def literals(block: str) -> dict[str, str]:
    """The names at the top of a block that stand for texts."""
    namespace: dict[str, str] = {}
    for node in ast.parse(block).body:
        if isinstance(node, ast.Assign):
            exec(compile(ast.Module([node], []), "airflow.md", "exec"), namespace)
    return namespace


def test_there_are_two_and_they_are_python() -> None:
    assert len(BLOCKS) == 2
    for block in BLOCKS:
        compile(block, "airflow.md", "exec")
        assert literals(block)["ZONE"] == "Europe/Berlin"


def test_the_commands_are_ours() -> None:
    names = literals(BLOCKS[0])
    calls = [node for node in ast.walk(ast.parse(BLOCKS[0])) if isinstance(node, ast.keyword)]
    (command,) = (node.value for node in calls if node.arg == "bash_command")
    text = str(eval(compile(ast.Expression(command), "airflow.md", "eval"), dict(names)))
    lines = re.sub(r"\{\{.*?\}\}", "2026-11-21", text).splitlines()
    ours = [line.split()[1:] for line in lines if line.split()[:1] == [names["BEAMSIGHT"]]]
    assert [words[0] for words in ours] == ["nightly", "report"]
    for words in ours:
        needed = ["--images=gs://b/*", "--output=gs://b/out"] if words[0] == "nightly" else []  # they are in the file
        parsed = app.parser().parse([*words, *needed])
        assert not parsed.beam
        assert str(parsed.values.get("day")) == ("2026-11-21" if needed else "None")
    (codes,) = (ast.literal_eval(node.value) for node in calls if node.arg == "skip_on_exit_code")
    assert codes == [4]  # another run works on the output


def test_the_parameters_are_the_templates() -> None:
    there = {each["name"]: each for each in parameters.metadata()["parameters"]}
    pairs = [node for node in ast.walk(ast.parse(BLOCKS[1])) if isinstance(node, ast.Dict)]
    (given,) = (
        dict(zip((ast.literal_eval(key) for key in node.keys if key), node.values, strict=True))
        for node in pairs
        if any(isinstance(key, ast.Constant) and key.value == "images" for key in node.keys)
    )
    values = {name: ast.literal_eval(node) for name, node in given.items() if not isinstance(node, ast.Name)}
    values |= {"date": "2026-11-21", "time_zone": literals(BLOCKS[1])["ZONE"]}
    assert given.keys() == values.keys()
    for name, value in values.items():
        assert re.fullmatch(there[name]["regexes"][0], value), name


def test_airflow_takes_them(tmp_path: Path) -> None:
    python = os.environ.get("BEAMSIGHT_AIRFLOW_PYTHON")
    if not python and not importlib.util.find_spec("airflow"):
        pytest.skip("no Airflow here, and BEAMSIGHT_AIRFLOW_PYTHON names no Python that has it")
    dags = tmp_path / "dags"
    dags.mkdir()
    for number, block in enumerate(BLOCKS):
        (dags / f"dag{number}.py").write_text(block, encoding="utf-8")
    home = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "false", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [python or sys.executable, "-c", LOOK, str(dags)], capture_output=True, text=True, check=False, env=home
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told.keys() == {"beamsight.nightly", "beamsight_on_dataflow.nightly"}
    assert told["beamsight.nightly"]["bash_command"].split("\n")[1].endswith("beamsight.toml --date 2026-11-21")
    launch = told["beamsight_on_dataflow.nightly"]["body"]["launchParameter"]
    assert launch["parameters"]["date"] == "2026-11-21"
    assert launch["parameters"]["images"] == "gs://BUCKET/photos/{yesterday:%Y/%m/%d}/**"
