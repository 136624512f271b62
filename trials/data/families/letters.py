"""Text as code points: which are letters, where words begin, and moving characters about.

A text is (N, L) int64 code points. 0 is padding: it stays at the end, and no operation looks at it.
"""

from functools import cache

import torch
from torch import Tensor

from trials.data.families.base import Draws

PADDING = 0
_KNOWN = 0x2000  # code points with a case lie below, but for a few historic scripts
_BLANKS = (PADDING, *map(ord, " \t\n\r"))


def _other(change: str, point: int) -> int:
    changed = getattr(chr(point), change)()
    return ord(changed) if len(changed) == 1 else point


@cache
def _table(change: str) -> Tensor:
    """(0x2000,) int64: every code point under `str.upper`, `str.lower` or `str.swapcase`."""
    return torch.tensor([_other(change, point) for point in range(_KNOWN)])


@cache
def _kinds() -> Tensor:
    """(0x2000,) int64: 1 letters, 2 punctuation, 0 the rest."""
    made = [chr(point) for point in range(_KNOWN)]
    return torch.tensor(
        [
            1 if one.isalpha() else 2 if one.isprintable() and not one.isalnum() and one != " " else 0
            for one in made
        ]
    )


def _looked_up(table: Tensor, text: Tensor) -> Tensor:
    return table.to(text.device)[text.clamp(max=_KNOWN - 1)]


def changed_case(text: Tensor, change: str) -> Tensor:
    """The text under `str.upper`, `str.lower` or `str.swapcase`, where that is one character."""
    return torch.where(text < _KNOWN, _looked_up(_table(change), text), text)


def is_letter(text: Tensor) -> Tensor:
    """(N, L) bool; what lies beyond the usual alphabets, and whole tokens, count as letters."""
    return torch.where(text < _KNOWN, _looked_up(_kinds(), text) == 1, True)


def is_punctuation(text: Tensor) -> Tensor:
    """(N, L) bool."""
    return torch.where(text < _KNOWN, _looked_up(_kinds(), text) == 2, False)


def is_blank(text: Tensor) -> Tensor:
    """(N, L) bool: white space, and padding."""
    return torch.isin(text, torch.tensor(_BLANKS, device=text.device))


def words(text: Tensor) -> Tensor:
    """(N, L) int64: the number of the word each place belongs to, blanks to the word before them."""
    blank = is_blank(text)
    before = torch.cat([torch.ones_like(blank[:, :1]), blank[:, :-1]], 1)
    return (~blank & before).cumsum(1).clamp(max=text.shape[1] - 1)


def lengths(text: Tensor) -> Tensor:
    """(N,) int64 how many characters come before the padding."""
    return (text != PADDING).sum(1)


def for_words(text: Tensor, draws: Draws) -> Tensor:
    """(N, L) float32 in [0, 1): one number for every word, at each of its places."""
    return draws.uniform(text.shape[1]).gather(1, words(text))


def share(text: Tensor, draws: Draws, low: float, high: float, among: Tensor) -> Tensor:
    """(N, L) bool: a share of the places of `among`, and one of them at least where there is one."""
    number = draws.uniform(text.shape[1])
    first = torch.where(among, number, 2.0).amin(1, keepdim=True)
    return among & ((number < draws.between(low, high)[:, None]) | (number == first))


def kept(text: Tensor, keep: Tensor) -> Tensor:
    """The places of `keep` (N, L), moved together to the front; padding after them."""
    order = (~keep).to(torch.int8).argsort(dim=1, stable=True)
    return torch.where(keep.gather(1, order), text.gather(1, order), PADDING)


def ordered(text: Tensor, keys: Tensor) -> Tensor:
    """The characters in the order of their keys (N, L), equal keys in the order of the text."""
    last = torch.where(text == PADDING, torch.inf, keys)
    return text.gather(1, last.argsort(dim=1, stable=True))


def doubled(text: Tensor, twice: Tensor, second: Tensor | None = None) -> Tensor:
    """The places of `twice` (N, L) two times, what follows moved on; what is beyond the end is lost.

    `second`: what to write the second time, (N, L); the same again if not given.
    """
    ends = (1 + twice.to(torch.int64)).cumsum(1)
    places = torch.arange(text.shape[1], device=text.device).expand_as(text).contiguous()
    source = torch.searchsorted(ends, places, right=True)
    found = text.gather(1, source)
    if second is None:
        return found
    is_second = twice.gather(1, source) & (places == ends.gather(1, source) - 1)
    return torch.where(is_second, second.gather(1, source), found)
