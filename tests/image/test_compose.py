"""compose.yaml says what the service understands, and gives away no more than it must."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from nwc_service.backend import entry_points
from nwc_service.config import load_settings

COMPOSE = yaml.safe_load((Path(__file__).parents[2] / "compose.yaml").read_text())
OURS: Mapping[str, Any] = {
    name: service
    for name, service in COMPOSE["services"].items()
    if service.get("image") == "nwc-service"
}

pytestmark = pytest.mark.parametrize("name", OURS)


def test_each_profile_has_one_service_of_ours(name: str) -> None:
    (profile,) = OURS[name]["profiles"]

    assert [each for each in OURS if profile in OURS[each]["profiles"]] == [name]


def test_the_service_understands_its_environment(name: str, tmp_path: Path) -> None:
    environment = OURS[name]["environment"] | {"NWC_PUBLIC_RELAY_URL": "ws://127.0.0.1:7447"}

    settings = load_settings(data_dir=tmp_path, environment=environment)

    assert settings.admin.listen == "0.0.0.0:8080"
    assert settings.relay.public_url == "ws://127.0.0.1:7447"
    assert entry_points.find(settings.default_backend or "").name == settings.default_backend


def test_it_has_no_rights_and_tells_only_this_machine_its_admin_api(name: str) -> None:
    service = OURS[name]

    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "127.0.0.1:8080:8080" in service["ports"]
    assert not [port for port in service["ports"] if port.startswith(("8080", "0.0.0.0"))]
    assert service["volumes"] == ["data:/data"]
