"""A network as a graph (torch.fx), down to the modules that the caller wants as leaves."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import fx, nn

Leaf = Callable[[nn.Module, str], bool]
"""Whether a module, with its name, is one node of the graph."""


def trace(features: nn.Module, leaf: Leaf) -> fx.Graph:
    """The graph of a network in evaluation mode; the modes of its modules are put back.

    Raises
    ------
    Exception
        Whatever the network's own forward raises where it can't be traced.
    """
    from timm.layers._fx import get_notrace_functions

    class Tracer(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            return leaf(m, module_qualified_name)

        def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
            """The images alone are put in; other arguments (a mask) keep their defaults."""
            images = list(inspect.signature(root_fn).parameters)[1]
            return root_fn, [self.root, self.create_proxy("placeholder", images, (), {})]

    tracer = Tracer(autowrap_functions=tuple(get_notrace_functions()))
    if "forward" in vars(features):  # timm's, whose forward_features stands in for forward
        tracer.traced_func_name = "forward_features"
    modes = {module: module.training for module in features.modules()}
    try:
        return tracer.trace(features.eval())
    finally:
        for module, training in modes.items():
            module.training = training
