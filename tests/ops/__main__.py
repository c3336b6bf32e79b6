"""Write the table of metrics into docs/monitoring.md."""

from tests.ops.table import PAGE, written

PAGE.write_text(written())
