"""What the world may ask over HTTP: Lightning addresses and NIP-05 names."""

from nwc_service.public.server import Public, open_public

__all__ = ["Public", "open_public"]
