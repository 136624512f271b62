"""Colour: hue, saturation, temperature, tint; for images without colour, other grey values for the same ones.

Every pixel is changed by its own value alone, except where light falls from a side.
"""

import torch
from torch import Tensor

from trials.data.families.base import Draws, Operation, blend, chosen, each, unit
from trials.data.families.exact import directions
from trials.data.families.sampling import places


def hue_saturation_value(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(N, 3, H, W) -> hue in [0, 1), saturation and value, each (N, H, W)."""
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    spread = value - images.amin(1)
    # Where there is no spread the differences are 0 too, and so is the hue.
    divisor = spread.clamp(min=1e-30)
    from_red, from_green = (green - blue) / divisor, (blue - red) / divisor + 2.0
    sixth = chosen(value == green, from_green, (red - green) / divisor + 4.0)
    sixth = chosen(value == red, from_red + (from_red < 0) * 6.0, sixth)
    return sixth / 6.0, spread / value.clamp(min=1e-30), value


def red_green_blue(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """The inverse of `hue_saturation_value`; hues are taken modulo 1."""
    channels: list[Tensor] = []
    for place in (5.0, 3.0, 1.0):
        turn = (hue * 6.0 + place).remainder(6.0)
        channels.append(value - value * saturation * torch.minimum(turn, 4.0 - turn).clamp(0.0, 1.0))
    return unit(torch.stack(channels, 1))


def luminance(images: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 1, H, W): 0.2989 R + 0.5870 G + 0.1140 B, or the mean where C is not 3."""
    weights = (0.2989, 0.5870, 0.1140) if images.shape[1] == 3 else (1 / images.shape[1],) * images.shape[1]
    total = images[:, :1] * weights[0]
    for channel, weight in enumerate(weights[1:], 1):
        total = total + images[:, channel : channel + 1] * weight
    return unit(total)


def _hue(images: Tensor, draws: Draws) -> Tensor:
    """The hue turned by 100 to 260 degrees. Without colour: grey values folded, mid-grey the brightest."""
    if images.shape[1] != 3:
        folded = images * each(draws.between(1.3, 1.7)) + each(draws.between(0.0, 0.2))
        return unit(1.0 - (folded - 1.0).abs())
    hue, saturation, value = hue_saturation_value(images)
    turned = hue + draws.between(100 / 360, 260 / 360)[:, None, None]
    # Where there is little colour, turning shows little.
    return red_green_blue(turned, unit(saturation * 1.3), value)


def _saturation(images: Tensor, draws: Draws) -> Tensor:
    """By a factor of 0 to 0.25 or 2 to 4. Without colour: the range pressed to 0.35 to 0.55 of it."""
    if images.shape[1] != 3:
        width = draws.between(0.35, 0.55)
        return unit(images * each(width) + each(draws.uniform() * (1.0 - width)))
    hue, saturation, value = hue_saturation_value(images)
    factor = draws.tails((0.0, 0.25), (2.0, 4.0))[:, None, None]
    return red_green_blue(hue, unit(saturation * factor), value)


def _grey(images: Tensor, draws: Draws) -> Tensor:
    """Colour removed, 0.8 to 1 of it. Without colour: a random rising curve through five grey values."""
    if images.shape[1] == 3:
        return blend(images, luminance(images), each(draws.between(0.8, 1.0)))
    rises = draws.uniform(5)
    rises = rises * rises + 0.02
    levels = [rises[:, 0] * 0]
    for number in range(5):
        levels.append(levels[-1] + rises[:, number])
    scaled, total = images * 4.0, torch.zeros_like(images)
    # The first rise is the black level; the others are those of a quarter of the range each.
    for number in range(4):
        total = total + (scaled - number).clamp(0.0, 1.0) * each(rises[:, number + 1])
    return unit((total + each(rises[:, 0])) / each(levels[-1]))


def _temperature(images: Tensor, draws: Draws) -> Tensor:
    """Warm or cold light. Without colour: light that falls off from one side to the other."""
    strength = draws.between(0.35, 0.6)
    if images.shape[1] == 3:
        warm = draws.uniform() < 0.5
        fall = torch.stack(
            [torch.where(warm, 0.0, 1.0), 0.0 * strength + 0.45, torch.where(warm, 1.0, 0.0)], 1
        )
        return unit(images * (1.15 - (strength[:, None] * 1.25 * fall)[:, :, None, None]))
    row, column = places(images)
    cosine, sine = (one[:, None, None] for one in directions(draws.between(0.0, 360.0)))
    H, W = images.shape[-2:]
    way = (cosine * (row * (2 / H)) + sine * (column * (2 / W)))[:, None]
    return unit(images * (1.0 - each(strength)) + (0.35 + 0.35 * way) * each(strength))


def _brightness(images: Tensor, draws: Draws) -> Tensor:
    """All grey values into the upper 0.4 to 0.65 of the range, or the lower 0.2 to 0.4."""
    upper, lower = draws.between(0.4, 0.65), draws.between(0.2, 0.4)
    is_up = draws.uniform() < 0.5
    width = torch.where(is_up, upper, lower)
    return unit(images * each(width) + each(torch.where(is_up, 1.0 - width, 0.0)))


def _tint(images: Tensor, draws: Draws) -> Tensor:
    """0.4 to 0.6 of a random colour, or of a random grey, laid over everything."""
    colour = draws.uniform(images.shape[1])[:, :, None, None]
    return unit(blend(images, colour, each(draws.between(0.4, 0.6))))


def _quantise(images: Tensor, draws: Draws) -> Tensor:
    """Two to four values a channel, rounded up or down at random places; without colour, of random greys."""
    steps = each(draws.choice(3) + 1).to(images.dtype)
    offset = draws.uniform(images.shape[1])[:, :, None, None]
    found = unit((images * steps * 0.999 + offset).floor() / steps)
    if images.shape[1] == 3:
        return found
    low, high = each(draws.between(0.0, 0.35)), each(draws.between(0.65, 1.0))
    return unit(blend(low, high, found))


def _channels(images: Tensor, draws: Draws) -> Tensor:
    """The channels in another order. Without colour: the ends of the range exchanged, in part."""
    C = images.shape[1]
    if C == 1:
        low = each(draws.between(0.55, 0.8))
        return unit(low + images * each(draws.between(-0.5, -0.3)))
    turn = 1 + draws.choice(C - 1)
    order = (torch.arange(C, device=images.device) + turn[:, None]) % C
    return images.gather(1, order[:, :, None, None].expand_as(images))


OPERATIONS = (
    Operation("hue", _hue),
    Operation("saturation", _saturation),
    Operation("grey", _grey),
    Operation("temperature", _temperature),
    Operation("brightness", _brightness),
    Operation("tint", _tint),
    Operation("quantise", _quantise),
    Operation("channels", _channels),
)
