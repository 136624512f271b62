"""Handwritten digits to train and choose on, printed ones to see what the choice is worth elsewhere."""

from collections.abc import Callable, Mapping
from typing import ClassVar

from trials.spec import Value
from trials.task import Batch
from trials.tasks import two_views
from trials.tasks.digits import Digits
from trials.tasks.printed import inverted, printed, turned


class DigitsShift(Digits):
    """The small convnet on scikit-learn's 8x8 digits; only the report reads its targets, printed digits."""

    targets: ClassVar[Mapping[str, Callable[[], Batch]]] = {
        "printed": printed,
        "turned": turned,
        "inverted": inverted,
    }


class DigitsEdges(two_views.TwoViews, DigitsShift):
    """The same, trained on images and their edge maps."""

    high = 16
    defaults: ClassVar[Mapping[str, Value]] = {**DigitsShift.defaults, **two_views.DEFAULTS}
