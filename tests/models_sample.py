"""Models that people train, each in a task as a user would write it, in tiny sizes on data made here."""

import torch
import torch.nn.functional as F

from trials.losses import smoothed_cross_entropy
from trials.models.resnet import ResNet
from trials.models.transformer import Transformer
from trials.noise import uniform
from trials.task import Splits

VOCABULARY, LENGTH, CLASSES = 13, 8, 3


def split_of(named):
    """The first 40 examples train, the next 12 validate, the last 12 test."""
    parts = (slice(0, 40), slice(40, 52), slice(52, 64))
    return Splits(*({name: tensor[part] for name, tensor in named.items()} for part in parts))


class Sequences:
    """Sequences that count on by a step of their own; what follows is to be said."""

    defaults = {"label_smoothing": 0.0}  # noqa: RUF012 - as a user writes it

    def data(self, split_seed):
        made = torch.Generator().manual_seed(1)
        first, step = (torch.randint(1, VOCABULARY, (64, 1), generator=made) for _ in range(2))
        text = (first + step * torch.arange(LENGTH + 1)) % (VOCABULARY - 1) + 1
        # Some end early: 0 is padding.
        sizes = torch.randint(LENGTH // 2, LENGTH + 2, (64, 1), generator=made)
        return split_of({"text": torch.where(torch.arange(LENGTH + 1) < sizes, text, 0)})

    def logits(self, model, text):
        return model(text)

    def loss(self, model, batch, hyper):
        text = batch["text"]
        return smoothed_cross_entropy(self.logits(model, text[:, :-1]), text[:, 1:], hyper["label_smoothing"])

    def metrics(self, model, batch):
        logs, wanted = F.log_softmax(self.logits(model, batch["text"][:, :-1]), -1), batch["text"][:, 1:]
        return {"loss": -logs.gather(-1, wanted[..., None])[..., 0].mean(-1)}


class Decoder(Sequences):
    """The transformer of this project, with either form of attention."""

    def model(self, config):
        attention = str(config.get("attention", "plain"))
        return Transformer(VOCABULARY, LENGTH, width=8, depth=2, heads=2, dropout=0.1, attention=attention)


class Transformers(Sequences):
    """A language model of the transformers library, built from its config: nothing is downloaded."""

    def logits(self, model, text):
        return model(input_ids=text).logits


class GPT2(Transformers):
    """GPT-2: dropout everywhere, inside attention too, and the embedding tied to the head."""

    def model(self, config):
        from transformers import GPT2Config, GPT2LMHeadModel

        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=VOCABULARY,
                n_positions=LENGTH,
                n_embd=8,
                n_layer=2,
                n_head=2,
                bos_token_id=None,
                eos_token_id=None,
                attn_implementation=str(config.get("attention", "sdpa")),
            )
        )


class Llama(Transformers):
    """Llama: rotary positions, gated perceptrons, root-mean-square norms, fewer keys than queries."""

    def model(self, config):
        from transformers import LlamaConfig, LlamaForCausalLM

        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCABULARY,
                hidden_size=16,
                intermediate_size=24,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=LENGTH,
                attention_dropout=0.1,
                attn_implementation=str(config.get("attention", "sdpa")),
            )
        )


class Bert(Transformers):
    """BERT: a share of the symbols is hidden and is to be said; padding is not attended to."""

    defaults = {"hidden_share": 0.3}  # noqa: RUF012

    def model(self, config):
        from transformers import BertConfig, BertForMaskedLM

        return BertForMaskedLM(
            BertConfig(
                vocab_size=VOCABULARY + 1,
                hidden_size=8,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=16,
                max_position_embeddings=LENGTH + 1,
                pad_token_id=0,
                attn_implementation=str(config.get("attention", "sdpa")),
            )
        )

    def errors(self, model, text, hidden):
        shown = torch.where(hidden, VOCABULARY, text)
        logs = F.log_softmax(model(input_ids=shown, attention_mask=text != 0).logits, -1)
        return -logs.gather(-1, text[..., None])[..., 0] * hidden

    def loss(self, model, batch, hyper):
        text = batch["text"]
        hidden = (uniform(*text.shape) < hyper["hidden_share"]) & (text != 0)
        return self.errors(model, text, hidden).sum() / hidden.sum().clamp(min=1)

    def metrics(self, model, batch):
        hidden = (torch.arange(LENGTH + 1) % 3 == 1).expand(batch["text"].shape) & (batch["text"] != 0)
        return {"loss": self.errors(model, batch["text"], hidden).sum(-1) / hidden.sum(-1)}


class Images:
    """Noisy images of three patterns, 16x16 in two colours."""

    defaults = {"label_smoothing": 0.0}  # noqa: RUF012

    def data(self, split_seed):
        made = torch.Generator().manual_seed(2)
        patterns = torch.randn(CLASSES, 2, 16, 16, generator=made)
        label = torch.randint(0, CLASSES, (64,), generator=made)
        return split_of(
            {"image": patterns[label] + torch.randn(64, 2, 16, 16, generator=made), "label": label}
        )

    def logits(self, model, image):
        return model(image)

    def loss(self, model, batch, hyper):
        return smoothed_cross_entropy(
            self.logits(model, batch["image"]), batch["label"], hyper["label_smoothing"]
        )

    def metrics(self, model, batch):
        logs = F.log_softmax(self.logits(model, batch["image"]), -1)
        return {"loss": -logs.gather(-1, batch["label"][:, None])[:, 0]}


class Residual(Images):
    """ResNet with one block a stage."""

    def model(self, config):
        return ResNet(2, CLASSES, width=2, depth=1, norm=str(config.get("norm", "batch")))


class ViT(Images):
    """A vision transformer of the transformers library."""

    def model(self, config):
        from transformers import ViTConfig, ViTForImageClassification

        return ViTForImageClassification(
            ViTConfig(
                image_size=16,
                patch_size=8,
                num_channels=2,
                hidden_size=8,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=16,
                num_labels=CLASSES,
                attn_implementation=str(config.get("attention", "sdpa")),
                hidden_dropout_prob=0.1,
                attention_probs_dropout_prob=0.1,
            )
        )

    def logits(self, model, image):
        return model(pixel_values=image).logits


# name -> (task, config beside the optimizer's)
MODELS = {
    "resnet with batch normalisation": (Residual, {"norm": "batch"}),
    "resnet with group normalisation": (Residual, {"norm": "group"}),
    "decoder, plain attention": (Decoder, {"attention": "plain"}),
    "decoder, fused attention": (Decoder, {"attention": "fused"}),
    "gpt2, sdpa": (GPT2, {"attention": "sdpa"}),
    "gpt2, eager": (GPT2, {"attention": "eager"}),
    "llama, sdpa": (Llama, {"attention": "sdpa"}),
    "llama, eager": (Llama, {"attention": "eager"}),
    "bert, sdpa": (Bert, {"attention": "sdpa"}),
    "bert, eager": (Bert, {"attention": "eager"}),
    "vit, sdpa": (ViT, {"attention": "sdpa"}),
    "vit, eager": (ViT, {"attention": "eager"}),
}
OF_TRANSFORMERS = {GPT2, Llama, Bert, ViT}
