"""Tensors and optimizers of PyTorch: with their gradients, and the memory that tensors share."""

from __future__ import annotations

import copyreg
import functools
import importlib
import sys
import weakref
from typing import Any

from . import history
from .memory import OWNED, Refused, span


def is_tensor(value: Any) -> bool:
    """True for tensors, parameters and buffers of PyTorch."""
    torch = sys.modules.get("torch")
    return isinstance(value, getattr(torch, "Tensor", ()))


def reduce_tensor(value: Any) -> Any:
    """A tensor with its gradient, which its own pickling leaves out."""
    if history.is_past(value):
        return history.reduce(value)
    if value._backward_hooks or getattr(value, "_post_accumulate_grad_hooks", None):
        raise Refused("it is a tensor with hooks")
    if value.grad_fn is not None:
        return history.reduce(value)
    made = value.__reduce_ex__(5)
    if value.grad is None:
        return made
    if len(made) != 2:
        raise Refused(f"it is a {type(value).__name__} with a gradient")
    return (*made, value.grad, None, None, _set_gradient)


def _set_gradient(tensor: Any, gradient: Any) -> Any:
    tensor.grad = gradient
    return tensor


def is_optimizer(value: Any) -> bool:
    """True for optimizers of PyTorch, which exist only where that part of it is loaded."""
    return isinstance(value, getattr(sys.modules.get("torch.optim"), "Optimizer", ()))


def reduce_optimizer(value: Any) -> Any:
    """An optimizer with what its own pickling leaves out: hooks, and that a scheduler counts its steps."""
    state = value.__getstate__()
    if not isinstance(state, dict):
        return NotImplemented
    rest = {k: v for k, v in sorted(value.__dict__.items()) if k not in state}
    counted = hasattr(rest.get("step"), "_wrapped_by_lr_sched")
    if counted:
        del rest["step"]
    return copyreg.__newobj__, (type(value),), (state, rest, counted), None, None, _set_optimizer  # type: ignore[attr-defined]


def _set_optimizer(value: Any, content: tuple[dict[str, Any], dict[str, Any], bool]) -> Any:
    state, rest, counted = content
    value.__setstate__(state)
    value.__dict__.update(rest)
    if counted:  # as a scheduler does when it is made
        function, reference = value.step.__func__, weakref.ref(value)

        @functools.wraps(function)
        def step(*arguments: Any, **named: Any) -> Any:
            optimizer: Any = reference()
            optimizer._opt_called = True
            return function.__get__(optimizer, type(optimizer))(*arguments, **named)

        step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
        value.step = step
    return value


def typed_storage(value: Any, packer: Any) -> Any:
    """Storage of a type, over the untyped one, which others may show."""
    return _make_typed_storage, (value._untyped_storage, value.dtype)


def _make_typed_storage(storage: Any, dtype: Any) -> Any:
    return importlib.import_module("torch").storage.TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)


def storage(value: Any, packer: Any) -> Any:
    """The memory of tensors, out of band."""
    if value.is_shared():
        raise Refused("its memory is shared with other processes")
    content = value.cpu()
    memory = span(content.data_ptr(), content.data_ptr() + content.nbytes()) if content.nbytes() else b""
    packer.internal[id(memory)] = (memory, content)
    return _make_storage, (memory, value.device.type if value.device.index is None else str(value.device))


def _make_storage(memory: Any, device: str) -> Any:
    torch = importlib.import_module("torch")
    if not len(memory):
        return torch.UntypedStorage(0, device=device)
    mapped = torch.from_numpy(memory)
    if device != "cpu":
        return mapped.to(device).untyped_storage()
    return mapped.clone().untyped_storage() if len(memory) < OWNED else mapped.untyped_storage()
