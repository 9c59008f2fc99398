"""docs/metrics.md tells of what the daemons tell Prometheus, of all of it and of nothing else."""

import re
from pathlib import Path

import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from devcloud.cloud import Cloud

PROJECT = Path(__file__).resolve().parents[2]
COMMON = "All daemons"
DAEMONS = (
    "ucloud-api",
    "ucloud-otp",
    "ucloud-scheduler",
    "ucloud-image",
    "ucloud-image-sftp",
    "ucloud-host",
    "ucloud-vm",
)


def _described() -> dict[str, dict[str, tuple[str, set[str]]]]:
    """By section: each metric's type and labels."""
    sections: dict[str, dict[str, tuple[str, set[str]]]] = {}
    for part in (PROJECT / "docs/metrics.md").read_text().split("\n## ")[1:]:
        rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", part, re.MULTILINE)
        sections[part.partition("\n")[0]] = {
            name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows
        }
    return sections


def _told(cloud: Cloud, program: str) -> dict[str, tuple[str, set[str]]]:
    url = cloud.health_url(program).replace("/healthz", "/metrics")
    found = {}
    for family in text_string_to_metric_families(requests.get(url, timeout=10).text):
        if family.name.startswith("ucloud_") and not family.name.endswith("_created"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            # The processes of the API are told apart where their values can't be added.
            labels = {label for sample in family.samples for label in sample.labels} - {"le", "pid"}
            found[name] = (family.type, labels)
    return found


@pytest.mark.parametrize("daemon", DAEMONS)
def test_the_page_and_the_daemon_say_the_same(cloud: Cloud, daemon: str) -> None:
    requests.get(f"{cloud.url}/v1/session", timeout=10)  # so that the API has counted something
    sections = _described()
    described = sections[COMMON] | sections.get(daemon, {})
    told = _told(cloud, f"{daemon}@h1" if daemon in ("ucloud-host", "ucloud-vm") else daemon)
    assert set(told) <= set(described), "not on the page"
    assert set(sections.get(daemon, {})) <= set(told), "on the page, but not told"
    for name, (kind, labels) in told.items():
        assert kind == described[name][0], name
        assert labels <= described[name][1], name


def test_alerts_rest_on_metrics_that_exist() -> None:
    rules = yaml.safe_load((PROJECT / "monitoring/ucloud.rules.yml").read_text())
    known = {name for section in _described().values() for name in section}
    labels = {label for section in _described().values() for _, them in section.values() for label in them}
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        names = re.findall(r"\bucloud_\w+", rule["expr"])
        assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in names} <= known, rule["alert"]
        matched = set(re.findall(r"[{,]\s*(\w+)\s*(?:=|!=|=~|!~)\"", rule["expr"]))
        assert matched <= labels | {"job", "instance"}, rule["alert"]
        assert rule["annotations"]["summary"]


def test_the_example_scrapes_every_daemon_that_answers(cloud: Cloud) -> None:
    example = yaml.safe_load((PROJECT / "monitoring/prometheus.yml").read_text())
    scraped = {
        (job["job_name"], target.rpartition(":")[2])
        for job in example["scrape_configs"]
        for config in job["static_configs"]
        for target in config["targets"]
    }
    for program in (
        "ucloud-scheduler",
        "ucloud-image",
        "ucloud-image-sftp",
        "ucloud-otp",
        "ucloud-host@h1",
        "ucloud-vm@h1",
    ):
        port = re.findall(r":(\d+)/healthz", cloud.health_url(program))[0]
        assert (program.partition("@")[0], port) in scraped
