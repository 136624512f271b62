"""Architectures: their published sizes, and what is particular to each."""

import pytest
import torch

from tests.trials_sample import close
from trials.models.resnet import ResNet
from trials.models.transformer import Transformer


def weights(make):
    """How many weights a model has; built without memory for them."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in make().parameters())


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_width_64_and_two_blocks_a_stage_are_resnet_18(norm):
    """17 convolutions and the head, and three shortcuts: 11,173,962 weights with ten classes."""
    assert weights(lambda: ResNet(3, 10, norm=norm)) == 11_173_962
    with torch.device("meta"):
        model = ResNet(3, 10, norm=norm)
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len([layer for layer in layers if layer.kernel_size == (3, 3)]) == 17
    assert len([layer for layer in layers if layer.kernel_size == (1, 1)]) == 3


@pytest.mark.parametrize(("size", "last"), [(32, 4), (33, 5), (8, 1)])
def test_three_stages_of_a_resnet_halve_the_image(size, last):
    model = ResNet(3, 7, width=2, depth=1).eval()
    images = torch.zeros(2, 3, size, size)
    assert model.backbone(model.stem(images)).shape == (2, 16, last, last)
    assert model(images).shape == (2, 7)


@pytest.mark.parametrize("width", [1, 3, 20, 64])
def test_groups_divide_any_number_of_channels(width):
    assert ResNet(3, 2, width=width, depth=1, norm="group")(torch.randn(2, 3, 16, 16)).shape == (2, 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"norm": "layer"}, "norm='layer' must be 'batch' or 'group'"),
        ({"width": 0}, "width=0 must be a whole number of at least 1"),
        ({"depth": 2.5}, r"depth=2\.5 must be a whole number"),
    ],
)
def test_a_resnet_that_cannot_be_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        ResNet(3, 10, **given)


def test_twelve_layers_of_width_768_are_gpt_2s_smallest_with_a_head_of_its_own():
    """12 blocks of 12 width² + 13 width, two norms' worth at the end, embeddings, and the untied head."""
    vocabulary, context, width = 50_257, 1024, 768
    wanted = 12 * (12 * width**2 + 13 * width) + 2 * width
    wanted += (vocabulary + context) * width + (width + 1) * vocabulary
    assert weights(lambda: Transformer(vocabulary, context, width=width, depth=12, heads=12)) == wanted


def test_both_forms_of_attention_say_the_same_and_neither_looks_ahead():
    logits = []
    for attention in ("plain", "fused"):
        torch.manual_seed(0)
        model = Transformer(11, 6, width=8, depth=2, heads=2, attention=attention)
        text = torch.randint(0, 11, (3, 6), generator=torch.Generator().manual_seed(1))
        logits.append(model(text).detach())
        changed = text.clone()
        changed[:, 4] = (changed[:, 4] + 1) % 11
        after = model(changed).detach()
        close(after[:, :4], logits[-1][:, :4], "once")
        assert not torch.equal(after[:, 4:], logits[-1][:, 4:])
    close(logits[0], logits[1], "once")


def test_fused_attention_keeps_no_mask_in_the_row():
    assert not list(Transformer(11, 6, width=8, heads=2, attention="fused").buffers())


def test_an_attention_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="attention='flash' must be 'plain' or 'fused'"):
        Transformer(11, 6, attention="flash")
