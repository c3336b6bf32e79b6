"""How a backend is found by the name that a distribution registered it under."""

from importlib.metadata import EntryPoint, entry_points

from nwc_service.backend.port import LightningBackend

ENTRY_POINT_GROUP = "nwc_service.backends"


def load(type_name: str) -> type[LightningBackend]:
    """The backend class that an installed distribution registered under this name. Raises
    ValueError when none or several have it, listing the choices."""
    entry = find(type_name)
    loaded: type[LightningBackend] = entry.load()
    return loaded


def find(type_name: str) -> EntryPoint:
    """The entry point itself, whose `dist` tells what would be loaded. Raises as `load`."""
    found = entry_points(group=ENTRY_POINT_GROUP)
    matches = [entry for entry in found if entry.name == type_name]
    if len(matches) == 1:
        return matches[0]
    choices = ", ".join(sorted(entry.name for entry in found)) or "none installed"
    problem = "no backend" if not matches else f"{len(matches)} backends"
    raise ValueError(
        f"{problem} of type {type_name!r}; installed: {choices}"
        " (after adding an entry point, install again)"
    )
