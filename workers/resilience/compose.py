"""Layers around a core, outermost first."""

from collections.abc import Awaitable, Sequence

from workers.execution import Execution, Layer, Proceed, Result

__all__ = ["compose"]


def compose(layers: Sequence[Layer], core: Proceed) -> Proceed:
    """One function that runs a call through all layers to the core."""
    proceed = core
    for layer in reversed(layers):
        proceed = _around(layer, proceed)
    return proceed


def _around(layer: Layer, inner: Proceed) -> Proceed:
    # No coroutine of its own: each would cost every wake-up of every call a step more.
    def proceed(execution: Execution) -> Awaitable[Result]:
        return layer(execution, inner)

    return proceed
