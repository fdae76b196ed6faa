"""Layers around a core, outermost first."""

from collections.abc import Sequence

from workers.execution import Execution, Layer, Proceed, Result

__all__ = ["compose"]


def compose(layers: Sequence[Layer], core: Proceed) -> Proceed:
    """One function that runs a call through all layers to the core."""
    proceed = core
    for layer in reversed(layers):
        proceed = _around(layer, proceed)
    return proceed


def _around(layer: Layer, inner: Proceed) -> Proceed:
    async def proceed(execution: Execution) -> Result:
        return await layer(execution, inner)

    return proceed
