"""Sharpness: the largest eigenvalue of the Hessian of the training loss, of every lane at once.

Gradient descent with a rate above 2 / sharpness is unstable on the quadratic that the loss is nearby (J.
Cohen et al., "Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability", ICLR 2021).

By Lanczos iteration with Hessian-vector products, which finds the largest eigenvalue rather than the one of
largest size. A product is the gradient of a gradient: each lane's loss depends on its own row alone, so one
backward pass serves all lanes.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]  # (K, P) -> (K, P), each lane's Hessian times each lane's vector

PRODUCTS = 40  # at most
TOLERANCE = 1e-4  # relative change of the eigenvalue over the last products at which it is done
_STILL = 3  # products in a row that change nothing


def largest_eigenvalue(product: Product, lanes: int, width: int, device: torch.device) -> Tensor:
    """(K,) largest eigenvalue of each lane's symmetric matrix of `width` rows.

    Lanczos iteration with full reorthogonalisation, so that no eigenvalue is found twice; the same start for
    every lane and every call, so equal rows give equal numbers. NaN for a lane whose products are not finite.
    """
    made = torch.Generator().manual_seed(0)
    start = torch.randn(width, generator=made).to(device)
    vector = (start / start.norm()).expand(lanes, -1).clone()
    basis: list[Tensor] = []
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    best = torch.full((lanes,), torch.nan, device=device)
    still = 0
    for count in range(min(PRODUCTS, width)):
        basis.append(vector)
        image = product(vector)
        diagonal.append((image * vector).sum(1))
        known = torch.stack(basis, 1)  # (K, n, P)
        # Twice: once leaves what rounding has put back.
        for _ in range(2):
            image = image - torch.einsum("kn,knp->kp", torch.einsum("knp,kp->kn", known, image), known)
        size = image.norm(dim=1)
        last, best = best, _top(diagonal, beside)
        bad = ~torch.isfinite(best)
        unchanged = ((best - last).abs() <= TOLERANCE * best.abs()) | bad
        still = still + 1 if count and bool(unchanged.all()) else 0
        # A remainder of nothing: all that the start reaches has been seen.
        done = (size <= 1e-6 * best.abs().clamp(min=1e-30)) | bad
        if still >= _STILL or bool(done.all()):
            break
        beside.append(torch.where(done, 0.0, size))
        vector = torch.where(done[:, None], 0.0, image / size.clamp(min=1e-30)[:, None])
    return best


def _top(diagonal: list[Tensor], beside: list[Tensor]) -> Tensor:
    """(K,) largest eigenvalue of each lane's tridiagonal matrix; NaN where an entry is not finite."""
    main = torch.stack(diagonal, 1).to("cpu", torch.float64)  # (K, n)
    matrix = torch.diag_embed(main)
    if beside:
        off = torch.stack(beside, 1).to("cpu", torch.float64)
        matrix = matrix + torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
    bad = ~torch.isfinite(matrix).all(-1).all(-1)
    values = torch.linalg.eigvalsh(torch.where(bad[:, None, None], 0.0, matrix))[:, -1]
    return torch.where(bad, torch.nan, values).to(diagonal[0].device, diagonal[0].dtype)
