"""Every family of every kind of data, by hand: `kind -> family -> operations`."""

from collections.abc import Mapping

from trials.data.families import (
    arithmetic,
    artistic,
    blur,
    color,
    contrast,
    convolutional,
    edges,
    geometric,
    morphology,
    segmentation,
    tabular,
    text,
    weather,
)
from trials.data.families.base import Operation

FAMILIES: Mapping[str, Mapping[str, tuple[Operation, ...]]] = {
    "image": {
        "arithmetic": arithmetic.OPERATIONS,
        "artistic": artistic.OPERATIONS,
        "blur": blur.OPERATIONS,
        "color": color.OPERATIONS,
        "contrast": contrast.OPERATIONS,
        "convolutional": convolutional.OPERATIONS,
        "edges": edges.OPERATIONS,
        "geometric": geometric.OPERATIONS,
        "morphology": morphology.OPERATIONS,
        "segmentation": segmentation.OPERATIONS,
        "weather": weather.OPERATIONS,
    },
    "table": {
        "noise": tabular.NOISE,
        "missing": tabular.MISSING,
        "drift": tabular.DRIFT,
        "quantisation": tabular.QUANTISATION,
        "tilt": tabular.TILT,
    },
    "text": {
        "characters": text.CHARACTERS,
        "casing": text.CASING,
        "words": text.WORDS,
        "truncation": text.TRUNCATION,
        "spans": text.SPANS,
    },
}
