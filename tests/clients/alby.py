"""npm's @getalby/sdk."""

from contextlib import AbstractAsyncContextManager

from tests.clients.node import NodeDriver as AlbyDriver
from tests.clients.node import node_driver

__all__ = ["AlbyDriver", "alby_driver"]


def alby_driver() -> AbstractAsyncContextManager[AlbyDriver]:
    return node_driver("alby")
