"""Every family of every kind of data, by hand: `kind -> family -> operations`."""

from collections.abc import Mapping

from trials.data.families import arithmetic, blur, geometric
from trials.data.families.base import Operation

FAMILIES: Mapping[str, Mapping[str, tuple[Operation, ...]]] = {
    "image": {
        "arithmetic": arithmetic.OPERATIONS,
        "blur": blur.OPERATIONS,
        "geometric": geometric.OPERATIONS,
    },
}
