"""nwc-service alarms and nwc-service decisions."""

from nwc_service import views
from nwc_service.cli.common import DataDir, Json, look, show_list

ALARM_COLUMNS = ("raised_at", "kind", "subject", "detail")
DECISION_COLUMNS = ("decided_at", "kind", "subject", "reason", "detail")


def alarms(data_dir: DataDir = None, as_json: Json = False) -> None:
    """What an operator must look at, oldest first."""
    rows = look(data_dir, ["alarms"], views.alarm_list)
    show_list(rows, as_json=as_json, columns=ALARM_COLUMNS)


def decisions(data_dir: DataDir = None, as_json: Json = False) -> None:
    """What operators decided and why, newest first."""
    rows = look(data_dir, ["decisions"], views.decision_list)
    show_list(rows, as_json=as_json, columns=DECISION_COLUMNS)
