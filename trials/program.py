"""The step and the evaluation of K lanes of one structure."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._C._functorch import is_batchedtensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from schedules.hypergradient import RULES
from trials import rows
from trials.data.gate import generator
from trials.data.stream import Stream, chunks, forms
from trials.devices import tensor_floats
from trials.forward import Forward
from trials.functional import Functions
from trials.kernels import dispatch
from trials.kernels.convolution import ConvolutionAsMatmul, FasterConvolution
from trials.noise import drawn, mix, noise, replace_dropout, step_key
from trials.optim import OPTIMIZERS, Optimizer
from trials.recipe import CLIP, DEFAULTS, RATIO, Floats, Structure, recipe
from trials.ruled import Ruled
from trials.seeding import key
from trials.sharpness import largest_eigenvalue
from trials.signature import signature
from trials.spec import TrialSpec, Value
from trials.task import Batch, Splits, Task, attribute
from trials.validation import SHIFT_SHARE, TRAIN_FAMILIES, TRAINS

CHUNK = 1024  # examples evaluated at once
SHARPNESS_EXAMPLES = 256  # that sharpness is measured on

Seen = TypeVar("Seen")


class _Loss(nn.Module):
    """Holds the model, so that `functional_call` can swap its weights under any use the task makes of it."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.task, self.model = task, model

    def forward(self, verb: str, batch: Batch, hyper: Mapping[str, Tensor]) -> Any:
        if verb == "loss":
            return self.task.loss(self.model, batch, hyper)
        return dict(self.task.metrics(self.model, batch))


@dataclass
class Block:
    """The rows of K lanes: five matrices and two vectors. The compiled step changes them in place."""

    weights: Tensor  # (K, P) float32
    buffers: Tensor  # (K, Q) float32
    state: Tensor  # (K, slots, P) float32
    memory: Tensor  # (K, M) float32, of the rule
    hyper: Tensor  # (K, H) float32
    step: Tensor  # (K,) int64
    key: Tensor  # (K,) int64

    def tensors(self) -> tuple[Tensor, ...]:
        """All seven, in the order of the step's arguments."""
        return self.weights, self.buffers, self.state, self.memory, self.hyper, self.step, self.key

    def lanes(self, start: int, stop: int) -> "Block":
        """Views of some lanes."""
        return Block(*(tensor[start:stop] for tensor in self.tensors()))


@dataclass
class Program:
    """One structure of one task on one device."""

    task: Task
    splits: Splits
    structure: tuple[tuple[str, Value], ...]
    float_names: tuple[str, ...]
    device: torch.device
    notice: Callable[[str], None] = lambda line: None  # gets a line when lanes cannot run side by side
    layout: rows.Layout = field(init=False)
    optimizer: Optimizer = field(init=False)
    precision: str = field(init=False)
    ruled: Ruled | None = field(init=False)  # the rule that moves the factor, where there is one
    micro_steps: int = field(init=False)  # gradients averaged for one update
    batch_size: int = field(init=False)  # examples of one update
    forward: Forward = field(init=False)
    is_updating: bool = field(init=False, default=False)  # whether rows may be half changed
    read: set[str] = field(init=False)  # hyperparameters that something has asked for

    def __post_init__(self) -> None:
        values = {**DEFAULTS, **dict(self.structure)}
        self.optimizer = OPTIMIZERS[str(values["optimizer"])]
        self.precision = str(values["precision"])
        if self.precision == "tf32" and self.device.type != "cuda":
            raise ValueError("precision='tf32' is for CUDA devices: on the CPU use 'float32' or 'bfloat16'")
        self.micro_steps = int(values["gradient_accumulation_steps"])
        self.batch_size = int(values["batch_size"]) * self.micro_steps
        self.forward = Forward("trained", self.notice)
        self._evaluation = Forward("evaluated", self.notice)
        self._train_functions, self._eval_functions = Functions(), Functions()
        self._update = dispatch.update(self.optimizer, self.device)
        self._signals = dispatch.signals(self.device)
        self.convolution = FasterConvolution(self.device)
        rule = RULES.get(str(values["rule"]))
        self.read = {*DEFAULTS, CLIP, *self.optimizer.defaults, *(rule.defaults if rule else ())}
        self.read.update(name for name in self.float_names if name.startswith(RATIO))
        if self.splits.views:
            self.read.update((TRAIN_FAMILIES, SHIFT_SHARE))
        with torch.random.fork_rng(devices=[]):
            self._train = _Loss(self.task, self._model()).to(self.device).train()
            self._eval = _Loss(self.task, self._model()).to(self.device).eval()
        self.layout = rows.layout(self._train.model)
        self._groups = self._group_ratios()
        groups = attribute(self.task, "groups") if values["rule_scope"] == "groups" else None
        self.ruled = Ruled(rule, self.layout.weights, groups) if rule else None

    def _model(self) -> nn.Module:
        shaping = {name: value for name, value in self.structure if name not in DEFAULTS}
        model = self.task.model(Structure(shaping, self.float_names, self.read))
        if not isinstance(model, nn.Module):
            raise TypeError(f"Task.model returned {type(model).__name__}, a torch.nn.Module is wanted")
        return replace_dropout(model)

    def _group_ratios(self) -> Tensor | None:
        """(P,) column of the hyper matrix that scales each weight's rate; H where none does."""
        groups = attribute(self.task, "groups")
        used = [name for name in self.float_names if name.startswith(RATIO)]
        if not used:
            return None
        column = torch.full((self.layout.weight_count,), len(self.float_names), dtype=torch.int64)
        for name in used:
            prefixes = groups[name.removeprefix(RATIO)]
            prefixes = (prefixes,) if isinstance(prefixes, str) else tuple(prefixes)
            found = [place for place in self.layout.weights if place.name.startswith(prefixes)]
            if not found:
                raise ValueError(f"{name}: no weight's name begins with {' or '.join(map(repr, prefixes))}")
            for place in found:
                column[place.start : place.start + place.size] = self.float_names.index(name)
        return column.to(self.device)

    # -- rows ---------------------------------------------------------------------------------------------

    def block(self, lanes: int) -> Block:
        """Rows of zeros for this many lanes."""
        weights = torch.zeros(lanes, self.layout.weight_count, device=self.device)
        return Block(
            weights,
            torch.zeros(lanes, self.layout.buffer_count, device=self.device),
            torch.zeros(lanes, self.optimizer.slots, self.layout.weight_count, device=self.device),
            self._first_memory().to(self.device).expand(lanes, -1).clone(),
            torch.zeros(lanes, len(self.float_names), device=self.device),
            torch.zeros(lanes, dtype=torch.int64, device=self.device),
            torch.zeros(lanes, dtype=torch.int64, device=self.device),
        )

    def _first_memory(self) -> Tensor:
        return torch.zeros(0) if self.ruled is None else self.ruled.first()

    def first_row(self, spec: TrialSpec) -> rows.Row:
        """The row of a trial before its first step: initialised from the trial's own stream.

        Raises:
            ValueError: the model built for this trial differs in shape from the program's.
        """
        with generator.alone(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(spec.seed, "init"))
            model = self._model()
        if rows.layout(model) != self.layout:
            raise ValueError(
                "Task.model built different shapes for one structure: it must depend on its config alone"
            )
        weights, buffers = rows.flatten(model)
        floats = dict(recipe(self.task, spec.config, self.splits.views).floats)
        return rows.Row(
            weights,
            buffers,
            torch.zeros(self.optimizer.slots, self.layout.weight_count),
            floats,
            step=0,
            key=key(spec.seed, "noise") & 0xFFFFFFFF,
            names={"trial": spec.trial, "config": dict(spec.config)},
            memory=self._first_memory(),
        )

    # -- the step -----------------------------------------------------------------------------------------

    def _named_hyper(self, hyper: Tensor) -> Floats:
        values = {name: hyper[index] for index, name in enumerate(self.float_names)}
        return Floats(values, dict(self.structure), self.read)

    def _tensor_floats(self) -> AbstractContextManager[None]:
        return tensor_floats(self.precision == "tf32") if self.device.type == "cuda" else nullcontext()

    @contextmanager
    def _forward_forms(self, lanes: int) -> Iterator[None]:
        """Autocast where the program wants it, and on a CUDA device the faster form of each convolution."""
        with ExitStack() as stack:
            if self.precision == "bfloat16":
                # Not cached: a cast of a mapped weight must not outlive its lane.
                stack.enter_context(
                    torch.autocast(self.device.type, dtype=torch.bfloat16, cache_enabled=False)
                )
            if self.device.type == "cuda":
                self.convolution.lanes = lanes
                stack.enter_context(self.convolution)
            yield
        if self.convolution.unseen and not torch.cuda.is_current_stream_capturing():
            self.convolution.settle()

    def _loss_of(
        self,
        weights: dict[str, Tensor],
        buffers: Tensor,
        hyper: Tensor,
        batch: dict[str, Tensor],
        stream: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Loss () and the buffers (Q,) after the forward pass, of one lane."""
        named = rows.unflatten(self.layout.buffers, buffers)
        # Batch normalisation writes into its buffers; a copy keeps the row pure until the step is done.
        named = {name: tensor.clone() for name, tensor in named.items()}
        values = self._named_hyper(hyper)
        tensors = {f"model.{name}": tensor for name, tensor in {**weights, **named}.items()}
        with noise(stream, values, _if_mapped(self._train_functions, stream)):
            loss = functional_call(self._train, tensors, ("loss", batch, values))
        if not isinstance(loss, Tensor) or loss.dim() != 0:
            got = (
                f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            )
            raise ValueError(f"Task.loss returned {got}; the mean over the batch, a scalar tensor, is wanted")
        # Read from what was handed in: a module may also replace a buffer, and then only this mapping has it.
        named = {name: tensors[f"model.{name}"] for name in named}
        after = rows.join(self.layout.buffers, named) if named else buffers.clone()
        return loss.to(torch.float32), after

    def _leaves(self, weights: Tensor) -> dict[str, Tensor]:
        """(K, P) -> the named weights of all lanes, each a leaf that gradients are taken by."""
        return {
            place.name: weights[:, place.start : place.start + place.size]
            .view(-1, *place.shape)
            .to(place.dtype)
            .detach()
            .requires_grad_()
            for place in self.layout.weights
        }

    def _gradients(
        self, weights: Tensor, buffers: Tensor, hyper: Tensor, stream: Tensor, batch: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(K, P) gradients, (K,) losses, (K, Q) buffers.

        A lane's loss depends on its own row alone, so the gradient of the sum is every lane's gradient:
        only the forward pass needs `vmap`, and the backward pass is plain autograd.
        """
        with torch.enable_grad(), self._tensor_floats():
            named = self._leaves(weights)
            with self._forward_forms(len(weights)):
                losses, after = self.forward(self._loss_of, (named, buffers, hyper, batch), stream)
            # A weight that the loss does not touch has a gradient of zero.
            found = torch.autograd.grad(losses.sum(), list(named.values()), materialize_grads=True)
        gradients = torch.cat([part.reshape(len(part), -1).to(torch.float32) for part in found], 1)
        return gradients, losses.detach(), after.detach()

    def _accumulated(
        self, weights: Tensor, buffers: Tensor, hyper: Tensor, stream: Tensor, batch: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `_gradients`, averaged over parts of the batch that are computed one after another."""
        if self.micro_steps == 1:
            return self._gradients(weights, buffers, hyper, stream, batch)
        size = self.batch_size // self.micro_steps
        gradients, losses = torch.zeros_like(weights), torch.zeros_like(weights[:, 0])
        for part in range(self.micro_steps):
            here = {name: whole[:, part * size : (part + 1) * size] for name, whole in batch.items()}
            key_here = stream if part == 0 else mix(stream ^ part)
            found, loss, buffers = self._gradients(weights, buffers, hyper, key_here, here)
            gradients += found / self.micro_steps
            losses += loss / self.micro_steps
        return gradients, losses, buffers

    def _picked(self, index: Tensor, hyper: Tensor, stream: Tensor) -> Tensor:
        """(K, B) examples -> their places in parts that have views: each an original, or a copy of it.

        A copy with probability `shift_share`, then of any family that the row trains on equally often.
        """
        families = self.splits.views
        place = {name: number for number, name in enumerate(self.float_names)}
        mask = torch.stack([hyper[:, place[f"{TRAINS}{family}"]] for family in families], 1)  # (K, F)
        share = hyper[:, place[SHIFT_SHARE], None]
        draw = drawn(stream, index.shape[1])  # (K, B)
        count = mask.sum(1, keepdim=True)
        # Whole numbers until the comparison, so that rounding never picks a family that is not allowed.
        number = torch.minimum((draw / share * count).floor(), count - 1)
        family = (mask.cumsum(1)[:, None, :] <= number[:, :, None]).sum(2)
        return index + torch.where((draw < share) & (count > 0), family + 1, 0) * self.splits.train_size

    def step(
        self,
        weights: Tensor,  # (K, P), changed in place, as are the next three and `step`
        buffers: Tensor,  # (K, Q)
        state: Tensor,  # (K, slots, P)
        memory: Tensor,  # (K, M)
        hyper: Tensor,  # (K, H)
        step: Tensor,  # (K,)
        lane_key: Tensor,  # (K,)
        factor: Tensor,  # (K,) of the learning rate
        index: Tensor,  # (K, B) int64, examples of `data`
        *data: Tensor,  # tensors that the index points into, in the order of the split's names
    ) -> Tensor:  # (K, S) SIGNALS
        """One optimizer step of every lane."""
        self.is_updating = False
        stream = step_key(lane_key, step)
        viewed = self.splits.viewed
        seen = self._picked(index, hyper, stream) if viewed else index
        batch = {
            name: part[seen if name in viewed else index]
            for name, part in zip(forms(self.splits.train), data, strict=True)
        }
        gradients, losses, after = self._accumulated(weights, buffers, hyper, stream, batch)
        column = {name: hyper[:, i : i + 1] for i, name in enumerate(self.float_names)}
        found = torch.empty(len(losses), 3, device=losses.device)
        last = gradients if self.ruled is None else memory[:, : self.layout.weight_count]
        self._signals(gradients, last, found)
        scale = (column[CLIP] / (found[:, 1:2] + 1e-6)).clamp(max=1.0) if CLIP in column else None
        lr = column["lr"] * factor[:, None]
        before = weights.clone()
        self.is_updating = True
        if self.ruled is not None:
            factors = self.ruled.factors(memory, gradients, found, column)
            lr = lr * self.ruled.spread(factors)
            factor = factor * factors.mean(1)
        if self._groups is not None:
            ratios = torch.cat([hyper, torch.ones_like(hyper[:, :1])], 1)
            lr = lr * ratios[:, self._groups]
        self._update(weights, gradients, state, lr, step[:, None], column, scale)
        change = before.sub_(weights)
        if self.ruled is not None:
            self.ruled.remember(memory, change)
        if self.layout.buffers:
            buffers.copy_(after)
        step.add_(1)
        self.is_updating = False
        columns = (losses, factor, found[:, 0], found[:, 1], change.square().sum(1).sqrt())
        return torch.stack(columns, 1)

    def data(self, lanes: int) -> tuple[Tensor, ...]:
        """Tensors of the shapes of the step's last arguments: the training split itself where it is held."""
        train = self.splits.train
        if isinstance(train, Stream):
            return tuple(
                torch.zeros(lanes * self.batch_size, *form.shape, dtype=form.dtype, device=self.device)
                for form in train.forms.values()
            )
        return tuple(train.values())

    def _seen(self, look: "Callable[[Step, tuple[Tensor, ...]], Seen]", lanes: int) -> "Seen":
        """What `look` finds in the step of this many lanes, convolutions in the form that is compiled."""
        block = self.block(lanes)
        factor = torch.ones(lanes, device=self.device)
        index = torch.zeros(lanes, self.batch_size, dtype=torch.int64, device=self.device)
        arguments = (*block.tensors(), factor, index, *self.data(lanes))
        with torch.no_grad(), ExitStack() as stack:
            if self.device.type == "cpu":
                stack.enter_context(ConvolutionAsMatmul())
            else:
                self.step(*arguments)  # measures the forms of convolutions, which is not to be seen
            # A plain function: make_fx counts the arguments of what it is given.
            return look(lambda *args: self.step(*args), arguments)

    def signature(self, lanes: int) -> str:
        """Name of what the step of this many lanes computes; see `trials.signature`."""
        return self._seen(signature, lanes)

    def traced(self, lanes: int) -> "torch.fx.GraphModule":
        """The step of this many lanes as a flat graph, convolutions in their fast form."""
        from torch.fx.experimental.proxy_tensor import make_fx

        return self._seen(lambda step, arguments: make_fx(step)(*arguments), lanes)

    # -- evaluation ---------------------------------------------------------------------------------------

    def _metrics_of(
        self, weights: Tensor, buffers: Tensor, hyper: Tensor, stream: None, batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        named = {
            **rows.unflatten(self.layout.weights, weights),
            **rows.unflatten(self.layout.buffers, buffers),
        }
        tensors = {f"model.{name}": tensor for name, tensor in named.items()}
        values = self._named_hyper(hyper)
        with noise(None, values, _if_mapped(self._eval_functions, weights)):
            found = functional_call(self._eval, tensors, ("metrics", batch, values))
        count = len(next(iter(batch.values())))
        for name, value in found.items():
            if not isinstance(value, Tensor) or value.dim() != 1 or value.shape[0] != count:
                got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(
                    f"Task.metrics[{name!r}] has {got}; one value per example, ({count},), is wanted"
                )
        return found

    def evaluate(
        self, block: Block, split: "Batch | Stream", chunk: int = CHUNK, per_example: bool = False
    ) -> dict[str, Tensor]:
        """Every metric of every lane, each (K,), averaged over the split; `chunk` examples at once.

        With `per_example` each is (K, N): one value for every example of the split.
        """
        size = 0
        totals: dict[str, Tensor] = {}
        parts: dict[str, list[Tensor]] = {}
        with torch.no_grad(), self._tensor_floats(), self._forward_forms(len(block.step)):
            for batch in chunks(split, chunk, self.device):
                count = len(next(iter(batch.values())))
                size += count
                lanes = (block.weights, block.buffers, block.hyper)
                found = self._evaluation(self._metrics_of, lanes, None, (batch,))
                for name, values in found.items():
                    values = values.to(torch.float32)
                    if per_example:
                        parts.setdefault(name, []).append(values)
                        continue
                    totals[name] = totals[name] + values.sum(1) if name in totals else values.sum(1)
        if per_example:
            return {name: torch.cat(values, 1) for name, values in parts.items()}
        return {name: total / size for name, total in totals.items()}

    def sharpness(self, block: Block) -> Tensor:
        """(K,) largest eigenvalue of the Hessian of each lane's training loss, on the same examples for all.

        With the noise of the lane's next step; NaN where the loss is not finite.
        """
        batch = next(chunks(self.splits.originals(), SHARPNESS_EXAMPLES, self.device))
        lanes = len(block.step)
        wide = {name: part.expand(lanes, *part.shape) for name, part in batch.items()}
        stream = step_key(block.key, block.step)
        with torch.enable_grad(), self._tensor_floats(), sdpa_kernel(SDPBackend.MATH):
            named = self._leaves(block.weights)
            with self._forward_forms(lanes):
                losses, _ = self.forward(self._loss_of, (named, block.buffers, block.hyper, wide), stream)
            leaves = list(named.values())
            first = torch.autograd.grad(losses.sum(), leaves, create_graph=True, materialize_grads=True)
            gradient = torch.cat([part.reshape(lanes, -1).to(torch.float32) for part in first], 1)

            def product(vectors: Tensor) -> Tensor:
                if not gradient.requires_grad:
                    return torch.zeros_like(vectors)  # a loss that is linear in its weights
                found = torch.autograd.grad(
                    (gradient * vectors).sum(), leaves, retain_graph=True, materialize_grads=True
                )
                return torch.cat([part.reshape(lanes, -1).to(torch.float32) for part in found], 1)

            width = self.layout.weight_count
            return largest_eigenvalue(product, lanes, width, self.device).detach()


def _if_mapped(functions: Functions, tensor: Tensor) -> Functions | None:
    """What was remembered of functions to replace; one lane alone may branch, and need others next time."""
    return functions if is_batchedtensor(tensor) else None


Step = Callable[..., Tensor]  # the signature of Program.step
