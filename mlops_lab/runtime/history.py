"""Tensors of PyTorch with the history of their computation: that can't be passed on, their numbers can.

Such a tensor (a loss, a prediction) comes back as one that shows, gives and computes what it did. Who asks for what went before
it (`backward`, `grad_fn`) is refused.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from .memory import Refused


def reduce(value: Any) -> Any:
    """What `__reduce__` returns for a tensor with a history, or for one that was loaded as such."""
    torch = sys.modules["torch"]
    if type(value).__dict__.get("_is_past"):
        if value._version != value._loaded_version:
            raise Refused("it is a tensor that was changed in place, and has lost the history of its computation (grad_fn)")
        return _make, (value.detach(), value._history)
    if type(value) is not torch.Tensor or value.retains_grad or value.dtype.is_complex:
        raise Refused("it is a tensor with the history of its computation (grad_fn); pass on value.detach()")
    return _make, (value.detach(), type(value.grad_fn).__name__)


def is_past(value: Any) -> bool:
    """True for a tensor that was loaded without its history."""
    return "_is_past" in type(value).__dict__


def _make(numbers: Any, history: str) -> Any:
    whole = _lost(history).apply(numbers.requires_grad_())
    value = whole.as_subclass(_past())
    value._whole, value._history, value._loaded_version = whole, history, value._version
    return value


def _refuse(what: str) -> Any:
    from .ambient import InputRefused

    return InputRefused(
        f"ML201: a tensor of an earlier step was passed on without the history of its computation, and {what} needs it. "
        f"Compute it in the step that uses it, or merge the two steps."
    )


@functools.cache
def _lost(history: str) -> Any:
    torch = sys.modules["torch"]

    def forward(_: Any, numbers: Any) -> Any:
        return numbers.view_as(numbers)

    def backward(*_: Any) -> Any:
        raise _refuse("its gradient")

    made: Any = type("Lost", (torch.autograd.Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})
    made._backward_cls.__name__ = history
    return made


@functools.cache
def _past() -> Any:
    torch = sys.modules["torch"]

    class Past(torch.Tensor):  # type: ignore[name-defined, misc]
        _is_past = True
        __torch_function__ = torch._C._disabled_torch_function_impl

        @property
        def grad_fn(self) -> Any:
            raise _refuse("`grad_fn`")

        def backward(self, *_: Any, **__: Any) -> Any:
            raise _refuse("`backward`")

        def _shown(self) -> Any:
            if self._version != self._loaded_version:
                raise _refuse("what shows it after a change in place")
            return self._whole

        def __repr__(self, **named: Any) -> Any:
            return torch.Tensor.__repr__(self._shown(), **named)

        def __format__(self, form: str) -> Any:
            return torch.Tensor.__format__(self._shown(), form)

    Past.__name__ = Past.__qualname__ = "Tensor"
    Past.__module__ = "torch"
    return Past
