"""Handwritten digits to train and choose on, printed ones to see what the choice is worth elsewhere."""

from collections.abc import Callable, Mapping
from typing import ClassVar

from trials.task import Batch
from trials.tasks.digits import Digits
from trials.tasks.printed import inverted, printed, turned


class DigitsShift(Digits):
    """The small convnet on scikit-learn's 8x8 digits; printed digits are targets that only the report reads."""

    targets: ClassVar[Mapping[str, Callable[[], Batch]]] = {
        "printed": printed,
        "turned": turned,
        "inverted": inverted,
    }
