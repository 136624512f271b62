"""Characters of text predicted one after another by a small decoder transformer.

The text is the Python standard library's own source, which every machine that runs this has, or any file
the user names.
"""

import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trials.data.families.kinds import Kind, Text
from trials.models.transformer import Transformer
from trials.spec import Config, Value
from trials.task import Batch, Hyper, Splits

# Long, plain modules, in this order, up to `characters`.
_MODULES = (
    "argparse",
    "typing",
    "inspect",
    "subprocess",
    "tarfile",
    "datetime",
    "doctest",
    "pickle",
    "zipfile",
    "uuid",
)


def _library_text(characters: int) -> str:
    folder = Path(sysconfig.get_paths()["stdlib"])
    parts: list[str] = []
    for name in _MODULES:
        path = folder / f"{name}.py"
        if path.is_file():
            parts.append(path.read_text(encoding="utf-8"))
        if sum(map(len, parts)) >= characters:
            break
    text = "".join(parts)[:characters]
    if not text:
        raise ValueError(f'no source of the standard library in {folder}: name a file, text = "my.txt"')
    return text


class CharLM:
    """Windows of `context` characters; the text's last tenth tests, the tenth before it validates."""

    defaults: ClassVar[Mapping[str, Value]] = {
        "width": 64,
        "depth": 2,
        "heads": 4,
        "activation": "gelu",
        "dropout": 0.0,
        "batch_size": 32,
    }
    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "embedding": ("embedding.", "position"),
        "backbone": ("blocks.", "norm."),
        "head": ("head.",),
    }

    def __init__(self, text: str = "", context: int = 64, characters: int = 300_000) -> None:
        if context < 2:
            raise ValueError(f"context={context} must be at least 2 characters")
        if text:
            path = Path(text)
            if not path.is_file():
                raise ValueError(f"text={text!r}: there is no such file")
            content = path.read_text(encoding="utf-8", errors="replace")[:characters]
        else:
            content = _library_text(characters)
        if len(content) < 20 * (context + 1):
            raise ValueError(
                f"the text has {len(content)} characters; "
                f"context={context} needs at least {20 * (context + 1)}"
            )
        symbols, codes = np.unique(np.frombuffer(content.encode("utf-32-le"), np.uint32), return_inverse=True)
        self.context = context
        self.vocabulary = len(symbols)
        self.shifts: Mapping[str, Kind] = {"text": Text([chr(symbol) for symbol in symbols])}
        self._codes = torch.from_numpy(codes.astype(np.int64))

    def data(self, split_seed: int) -> Splits:
        """Windows (N, context + 1); training windows overlap by half.

        Text is split by position, whatever the seed: windows drawn at random would leak their neighbours.
        """
        size = len(self._codes)
        kind = torch.uint8 if self.vocabulary <= 256 else torch.int32
        bounds = (0, size * 8 // 10, size * 9 // 10, size)
        strides = (max(1, self.context // 2), self.context, self.context)
        train, val, test = (
            {"text": self._codes[low:high].unfold(0, self.context + 1, stride).to(kind).contiguous()}
            for low, high, stride in zip(bounds, bounds[1:], strides, strict=False)
        )
        return Splits(train, val, test)

    def model(self, config: Config) -> nn.Module:
        """The transformer of this width, depth and number of heads; dropout rides in the row."""
        return Transformer(
            self.vocabulary,
            self.context,
            width=config.get("width", 64),
            depth=config.get("depth", 2),
            heads=config.get("heads", 4),
            act=str(config.get("activation", "gelu")),
            dropout="dropout",
        )

    def _losses(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        text = batch["text"].to(torch.int64)
        logits, wanted = model(text[:, :-1]), text[:, 1:]
        logs = F.log_softmax(logits, -1)
        return logits, -logs.gather(-1, wanted[..., None])[..., 0]

    def loss(self, model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
        """Nats per character."""
        return self._losses(model, batch)[1].mean()

    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Nats per character and accuracy of the next one, each averaged over its window."""
        logits, losses = self._losses(model, batch)
        right = logits.argmax(-1) == batch["text"].to(torch.int64)[:, 1:]
        return {"loss": losses.mean(-1), "accuracy": right.to(torch.float32).mean(-1)}
