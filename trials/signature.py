"""What a computation does, as a name: its operations in order, and all that is constant in them.

Computations of one signature do the same to arguments of the same form, so that a compiled step is found
again without tracing it: to trace is to import the front of the compiler first, 1.4 s against 0.1 s.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary


class _Operations(TorchDispatchMode):
    """Hashes every operation as it is run: its name, its arguments, which results it is given."""

    def __init__(self, arguments: Iterable[Tensor]) -> None:
        super().__init__()
        self.hash = hashlib.sha256()
        self.constants = 0  # tensors that are neither arguments nor made by an operation
        self._numbers: Any = WeakTensorKeyDictionary()  # a tensor that is gone never comes again
        self._made = 0
        for argument in arguments:
            self._number(argument)
            self._say(f"argument {_form(argument)}")

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not to be hidden from torch.compile: to hide it, torch would import all of that."""
        return False

    def _say(self, line: str) -> None:
        self.hash.update(line.encode() + b"\n")

    def _number(self, tensor: Tensor) -> int:
        self._numbers[tensor] = self._made
        self._made += 1
        return self._made - 1

    def told(self, value: object) -> str:
        """A value in words; a tensor is the number of where it came from."""
        if isinstance(value, Tensor):
            number = self._numbers.get(value)
            if number is None:
                self.constants += 1
                number = self._number(value)
                self._say(f"constant {_form(value)}")
                self.hash.update(_bytes_of(value))
            return f"%{number}"
        if isinstance(value, (list, tuple)):
            return f"[{', '.join(map(self.told, cast(Sequence[object], value)))}]"
        return repr(value)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Take note, then call."""
        named = [f"{name}={self.told(value)}" for name, value in (kwargs or {}).items()]
        said = f"{func} {self.told(args)} {named}"
        found = func(*args, **(kwargs or {}))
        for part in found if isinstance(found, (list, tuple)) else (found,):
            # An operation in place gives back what it was given.
            if isinstance(part, Tensor) and part not in self._numbers:
                self._number(part)
        self._say(f"{self.told(found)} = {said}")
        return found


def _form(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()} {tensor.device.type}"


def _bytes_of(tensor: Tensor) -> bytes:
    plain = tensor.detach().cpu().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().tobytes()


def signature(function: Callable[..., object], arguments: Sequence[Tensor]) -> str:
    """64 hexadecimal digits that name what the function does to arguments of this form, whatever they hold.

    The function is run once. Tensors that it has from elsewhere count with their values.

    >>> one, two = torch.ones(3), torch.zeros(3)
    >>> signature(lambda x: x * 2.0, [one]) == signature(lambda y: y.mul(2.0), [two])
    True
    >>> signature(lambda x: x * 2.0, [one]) == signature(lambda x: x * 2.5, [one])
    False
    """
    with _Operations(arguments) as operations:
        found = function(*arguments)
    operations.hash.update(operations.told(found).encode())
    return operations.hash.hexdigest()
