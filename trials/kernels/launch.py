"""What every launch of a kernel has in common: how it is compiled, and what it refuses to be given."""

import torch
from torch import Tensor

# Options of Triton's compiler. Products and sums are rounded one by one, as in the references: fused, the
# sign that Lion takes of a sum near zero could be another. The kernels wait for memory anyway.
EXACT = {"enable_fp_fusion": False}


def refuse_misfit(
    name: str, tensor: Tensor, shape: tuple[int, ...], *dtypes: torch.dtype, whole: bool = False
) -> None:
    """Raise unless the tensor has this shape, one of these dtypes, and its last dimension side by side.

    `whole` asks for no gaps at all, also between rows.

    Raises:
        ValueError: names the tensor, what it is and what is wanted.
    """
    # A tensor of another layout would be read as something that it is not.
    dense = tensor.is_contiguous() if whole else tensor.shape[-1:] in ((), (1,)) or tensor.stride(-1) == 1
    if tuple(tensor.shape) != shape or tensor.dtype not in dtypes or not dense:
        wanted = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}, strides {tensor.stride()} and dtype "
            f"{str(tensor.dtype).removeprefix('torch.')}; shape {shape}, {wanted}, "
            f"{'contiguous' if whole else 'values of a row side by side'}, is wanted"
        )
