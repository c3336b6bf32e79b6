"""docs/monitoring.md, the alert rules and the dashboard name the metrics that there are."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nwc_service.metrics.exposition import Exposition
from nwc_service.metrics.instruments import FAMILIES, Family
from tests.ops.table import PAGE, ROOT, written

ALERTS = ROOT / "docs" / "monitoring" / "alerts.yml"
DASHBOARD = ROOT / "docs" / "monitoring" / "grafana.json"

NAME = re.compile(r"\b(?:nwc|process|python)_[a-z_]+")
OF_THE_PROCESS = {
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
}
UNITS = ("_seconds", "_msat", "_bytes", "_ratio", "_size")


def sample_names() -> set[str]:
    return {
        f"{family.name}{ending}"
        for family in FAMILIES.values()
        for ending in (("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",))
    }


def expressions() -> list[str]:
    """Every expression of the alert rules."""
    found = re.findall(r"^ +expr: (?:\|\n((?: {10,}.+\n)+)|(.+)\n)", ALERTS.read_text(), re.M)
    return [block or line for block, line in found]


def queries(node: object) -> Iterator[str]:
    """Every expression of the dashboard."""
    if isinstance(node, dict):
        if isinstance(node.get("expr"), str):
            yield node["expr"]
        for each in node.values():
            yield from queries(each)
    if isinstance(node, list):
        for each in node:
            yield from queries(each)


def test_the_page_has_the_table_of_what_there_is() -> None:
    assert PAGE.read_text() == written()


def test_all_that_the_alerts_ask_about_exists() -> None:
    named = set(NAME.findall(" ".join(expressions())))

    assert len(expressions()) == ALERTS.read_text().count("- alert:") > 20
    assert named - sample_names() - OF_THE_PROCESS == set()


def test_all_that_the_dashboard_shows_exists() -> None:
    asked = list(queries(json.loads(DASHBOARD.read_text())))
    named = set(NAME.findall(" ".join(asked)))

    assert len(asked) > 40
    assert named - sample_names() - OF_THE_PROCESS == set()


def test_the_dashboard_leaves_nothing_out_but_what_alerts_alone_need() -> None:
    shown = " ".join(queries(json.loads(DASHBOARD.read_text()))) + " ".join(expressions())

    assert [name for name in FAMILIES if name not in shown] == list(NOT_DRAWN)


NOT_DRAWN = ("nwc_outbox_published_total", "nwc_build_info")


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_name_has_its_unit_and_a_counter_its_total(family: Family[object]) -> None:  # type: ignore[type-var]
    assert re.fullmatch(r"nwc(_[a-z]+)+", family.name)
    assert family.name.endswith("_total") is (family.kind == "counter")
    assert family.help_text.endswith(".")
    if family.kind == "histogram":
        assert family.name.endswith(UNITS)


def test_labels_are_of_few_kinds() -> None:
    labels = {label for family in FAMILIES.values() for label in family.labels}

    assert labels == {
        *("method", "outcome", "reason", "backend", "kind", "to", "state", "relay", "lane"),
        *("file", "version", "python", "sqlite"),
    }


def test_prometheus_itself_reads_the_rules() -> None:
    assert "SUCCESS" in checked("rules", str(ALERTS))


def test_prometheus_itself_reads_what_the_dashboard_asks(tmp_path: Path) -> None:
    rules = [
        f"  - record: dashboard:number{number}\n    expr: {json.dumps(expression)}\n"
        for number, expression in enumerate(queries(json.loads(DASHBOARD.read_text())))
    ]
    text = "".join(rules).replace("$__rate_interval", "5m").replace("$instance", ".*")
    file = tmp_path / "dashboard.yml"
    file.write_text(f"groups:\n- name: dashboard\n  rules:\n{text}")

    assert f"SUCCESS: {len(rules)} rules found" in checked("rules", str(file))


async def test_prometheus_itself_finds_nothing_wrong_with_the_text() -> None:
    assert checked("metrics", text=await Exposition().text()) == ""


def checked(*arguments: str, text: bytes = b"") -> str:
    """What promtool says."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (of Debian's package prometheus) is missing")
    done = subprocess.run(
        [promtool, "check", *arguments], input=text, capture_output=True, timeout=60
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said
