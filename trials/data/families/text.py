"""Families of shifts of text: characters, casing and punctuation, words, truncation, spans.

Texts are code points, see `letters`. What an operation writes comes from the text itself, its other case, or
the few marks below, so that a vocabulary need not have been asked.
"""

import torch
from torch import Tensor

from trials.data.families.base import Draws, Operation
from trials.data.families.letters import (
    PADDING,
    changed_case,
    doubled,
    for_words,
    is_blank,
    is_letter,
    is_punctuation,
    kept,
    lengths,
    ordered,
    share,
    words,
)

_SPACE = ord(" ")
_MARKS = (".", ",", "!", "?", ";", ":", "-")


def _places(text: Tensor) -> Tensor:
    return torch.arange(text.shape[1], device=text.device).expand_as(text)


# -- characters ----------------------------------------------------------------------------------------------


def _substitute(text: Tensor, draws: Draws) -> Tensor:
    """0.15 to 0.35 of the characters replaced by others of the same text."""
    L = text.shape[1]
    other = text.gather(1, (draws.uniform(L) * lengths(text)[:, None]).to(torch.int64).clamp(max=L - 1))
    return torch.where(share(text, draws, 0.15, 0.35, ~is_blank(text)), other, text)


def _swap(text: Tensor, draws: Draws) -> Tensor:
    """0.3 to 0.6 of the pairs of neighbours exchanged."""
    first = (draws.uniform(text.shape[1]) < draws.between(0.3, 0.6)[:, None]) & (_places(text) % 2 == 0)
    place = _places(text).to(torch.float32)
    return ordered(text, torch.where(first, place + 1.5, place))


def _drop(text: Tensor, draws: Draws) -> Tensor:
    """0.1 to 0.3 of the characters left out."""
    return kept(text, ~share(text, draws, 0.1, 0.3, ~is_blank(text)) & (text != PADDING))


def _stutter(text: Tensor, draws: Draws) -> Tensor:
    """0.15 to 0.35 of the characters typed twice."""
    return doubled(text, share(text, draws, 0.15, 0.35, ~is_blank(text)))


def _smear(text: Tensor, draws: Draws) -> Tensor:
    """0.15 to 0.35 of the characters replaced by the one before."""
    among = ~is_blank(text) & (_places(text) > 0)
    return torch.where(share(text, draws, 0.15, 0.35, among), text.roll(1, 1), text)


# -- casing and punctuation ----------------------------------------------------------------------------------


def _swap_case(text: Tensor, draws: Draws) -> Tensor:
    return changed_case(text, "swapcase")


def _one_case(text: Tensor, draws: Draws) -> Tensor:
    """All letters in the case that fewer of them have."""
    upper = (changed_case(text, "lower") != text).sum(1, keepdim=True)
    lower = (changed_case(text, "upper") != text).sum(1, keepdim=True)
    return torch.where(upper > lower, changed_case(text, "lower"), changed_case(text, "upper"))


def _random_case(text: Tensor, draws: Draws) -> Tensor:
    """The case of 0.4 to 0.6 of the letters exchanged."""
    return torch.where(share(text, draws, 0.4, 0.6, is_letter(text)), _swap_case(text, draws), text)


def _bare(text: Tensor, draws: Draws) -> Tensor:
    """No punctuation, and letters in the case that fewer of them have."""
    return kept(_one_case(text, draws), ~is_punctuation(text) & (text != PADDING))


def _exclaimed(text: Tensor, draws: Draws) -> Tensor:
    """A mark after 0.4 to 0.8 of the words, whichever it is."""
    blank = is_blank(text)
    after = torch.cat([blank[:, 1:], torch.ones_like(blank[:, :1])], 1)
    marks = torch.tensor([ord(mark) for mark in _MARKS], device=text.device)
    mark = marks[draws.choice(len(_MARKS), text.shape[1])]
    return doubled(text, share(text, draws, 0.4, 0.8, ~blank & after), mark)


# -- words ---------------------------------------------------------------------------------------------------


def _some_words(text: Tensor, draws: Draws, low: float, high: float) -> Tensor:
    """(N, L) bool: a share of the words, each as a whole, and one at least."""
    number = for_words(text, draws)
    first = torch.where(text != PADDING, number, 2.0).amin(1, keepdim=True)
    return ((number < draws.between(low, high)[:, None]) | (number == first)) & (text != PADDING)


def _drop_words(text: Tensor, draws: Draws) -> Tensor:
    """0.2 to 0.5 of the words left out."""
    return kept(text, ~_some_words(text, draws, 0.2, 0.5) & (text != PADDING))


def _blank_words(text: Tensor, draws: Draws) -> Tensor:
    """0.2 to 0.5 of the words blanked, the others where they were."""
    return torch.where(_some_words(text, draws, 0.2, 0.5), _SPACE, text)


def _join_words(text: Tensor, draws: Draws) -> Tensor:
    """0.4 to 0.8 of the blanks between words left out."""
    between = is_blank(text) & (text != PADDING)
    return kept(text, ~share(text, draws, 0.4, 0.8, between) & (text != PADDING))


def _split_words(text: Tensor, draws: Draws) -> Tensor:
    """A space after 0.2 to 0.4 of the letters."""
    return doubled(text, share(text, draws, 0.2, 0.4, is_letter(text)), torch.full_like(text, _SPACE))


def _scramble_words(text: Tensor, draws: Draws) -> Tensor:
    """The letters of every word in a random order, words and blanks where they were."""
    word = words(text).to(torch.float32)
    blank = is_blank(text)
    keys = word + torch.where(
        blank, 0.75 + 0.25 * _places(text) / text.shape[1], 0.75 * draws.uniform(text.shape[1])
    )
    return ordered(text, keys)


# -- truncation ----------------------------------------------------------------------------------------------


def _within(text: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """(N, L) bool: places from a share to a share of the length, (N,) each."""
    size = lengths(text)[:, None].to(torch.float32)
    place = _places(text) + 0.5
    return (place >= start[:, None] * size) & (place < end[:, None] * size)


def _keep_head(text: Tensor, draws: Draws) -> Tensor:
    """The first 0.3 to 0.6."""
    end = draws.between(0.3, 0.6)
    return kept(text, _within(text, torch.zeros_like(end), end))


def _keep_tail(text: Tensor, draws: Draws) -> Tensor:
    """The last 0.3 to 0.6."""
    start = 1.0 - draws.between(0.3, 0.6)
    return kept(text, _within(text, start, torch.ones_like(start)))


def _keep_middle(text: Tensor, draws: Draws) -> Tensor:
    """0.3 to 0.6 from anywhere."""
    length = draws.between(0.3, 0.6)
    start = draws.uniform() * (1.0 - length)
    return kept(text, _within(text, start, start + length))


def _cut_out(text: Tensor, draws: Draws) -> Tensor:
    """All but 0.3 to 0.5 from the middle."""
    length = draws.between(0.3, 0.5)
    start = 0.1 + draws.uniform() * (0.8 - length)
    return kept(text, ~_within(text, start, start + length) & (text != PADDING))


# -- spans ---------------------------------------------------------------------------------------------------


def _shuffle_spans(text: Tensor, draws: Draws) -> Tensor:
    """Cut at three to six places, and put together in another order."""
    count = 3 + draws.choice(4)
    cuts = draws.uniform(6) * lengths(text)[:, None]
    cuts = torch.where(torch.arange(6, device=text.device) < count[:, None], cuts, torch.inf)
    span = (_places(text)[:, :, None] >= cuts[:, None]).sum(-1)
    return ordered(text, draws.uniform(7).gather(1, span))


def _rotate(text: Tensor, draws: Draws) -> Tensor:
    """What comes before a place, a quarter to three quarters along, put behind it."""
    size = lengths(text)[:, None]
    start = (draws.between(0.25, 0.75)[:, None] * size).to(torch.int64)
    return ordered(text, (_places(text) - start).remainder(size.clamp(min=1)).to(torch.float32))


def _reverse_span(text: Tensor, draws: Draws) -> Tensor:
    """0.3 to 0.6 of the text, from anywhere, read backward."""
    length = draws.between(0.3, 0.6)
    start = draws.uniform() * (1.0 - length)
    within = _within(text, start, start + length)
    place = _places(text).to(torch.float32)
    first = torch.where(within, place, torch.inf).amin(1, keepdim=True)
    last = torch.where(within, place, -torch.inf).amax(1, keepdim=True)
    return ordered(text, torch.where(within, first + last - place, place))


def _shuffle_words(text: Tensor, draws: Draws) -> Tensor:
    """Words in another order, each at most four places from where it was."""
    return ordered(text, words(text) + 4.0 * for_words(text, draws))


CHARACTERS = (
    Operation("substitute", _substitute),
    Operation("swap", _swap),
    Operation("drop", _drop),
    Operation("stutter", _stutter),
    Operation("smear", _smear),
)
CASING = (
    Operation("swap_case", _swap_case),
    Operation("one_case", _one_case),
    Operation("random_case", _random_case),
    Operation("bare", _bare),
    Operation("exclaimed", _exclaimed),
)
WORDS = (
    Operation("drop_words", _drop_words),
    Operation("blank_words", _blank_words),
    Operation("join_words", _join_words),
    Operation("split_words", _split_words),
    Operation("scramble_words", _scramble_words),
)
TRUNCATION = (
    Operation("keep_head", _keep_head),
    Operation("keep_tail", _keep_tail),
    Operation("keep_middle", _keep_middle),
    Operation("cut_out", _cut_out),
)
SPANS = (
    Operation("shuffle_spans", _shuffle_spans),
    Operation("rotate", _rotate),
    Operation("reverse_span", _reverse_span),
    Operation("shuffle_words", _shuffle_words),
)
