"""nwc-service page"""

import sys

from nwc_service.cli.common import DataDir, Json, call, show
from nwc_service.views import View


def page(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Print a link that signs you in at the page, once, within ten minutes."""
    show_link(call(data_dir, "POST", ["sign-ins"], {}), as_json=as_json)


def show_link(made: View, *, as_json: bool) -> None:
    if as_json:
        show(made, as_json=True)
        return
    print(made["uri"])
    print("Open it in a browser. It signs in whoever has it, once.", file=sys.stderr)
