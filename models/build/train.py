"""Training: marks and labels of the train split only, checkpointed after every epoch.

There is no early stopping: the schedule is fixed, and the last moving average of the weights
is what ships, so that no picture outside train has a say in them.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np

from edge.core.errors import ConfigError
from models.build.datasets import IGNORED, Array, Split
from models.build.network import network, pretrained, start_from
from models.build.recipe import PRETRAINED, Recipe, Training
from models.build.sampling import Batch, Sampler

# Moving average of the weights: about the last 300 steps.
AVERAGE = 0.997
HARD_CELLS = 32
SPREAD = 2.0
START_PICTURES = 64


def train(
    recipe: Recipe,
    split: Split,
    checkpoint: Path,
    *,
    resume: bool = False,
    report: Callable[[str], object] = print,
) -> Any:
    """Train the recipe's network on a split; returns the averaged torch module, in eval mode.

    `resume` continues from the checkpoint where one is; ConfigError for one of another network,
    teacher or pictures. A teacher is trained first, its checkpoint lies beside. The wall-time cap
    is applied after each epoch (`epochs_within`): the schedule is shortened so that the learning
    rate still ends at zero.
    """
    import torch

    plan = recipe.training
    teacher = None
    if recipe.teacher is not None:
        report(f"teacher {recipe.teacher.name}")
        beside = checkpoint.with_name(f"teacher-{recipe.teacher.name}.pt")
        teacher = train(recipe.teacher, split, beside, resume=resume, report=report)
    torch.manual_seed(plan.seed)
    state, sampler = _State(recipe, split), Sampler(recipe, split)
    if resume and checkpoint.is_file():
        state.restore(checkpoint)
        report(f"resumed after epoch {state.epoch} of {state.epochs}")
    elif plan.start:
        state.begin(plan.start, split.pictures[:: max(1, len(split.pictures) // START_PICTURES)])
        report(f"starting from the weights of {plan.start}")
    fast = bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
    took_s: list[float] = []
    while state.epoch < state.epochs:
        began = time.monotonic()
        losses: list[float] = []
        batches = max(1, len(split.defect) // plan.batch)
        for place, batch in enumerate(sampler.epoch(state.epoch)):
            state.set_rate(plan.learning_rate, state.epoch + place / batches)
            losses.append(_step(state, batch, teacher, bf16=fast))
        state.epoch += 1
        took_s.append(time.monotonic() - began)
        state.spent_s += took_s[-1]
        state.epochs = epochs_within(plan, state.epoch, state.spent_s, took_s)
        state.save(checkpoint)
        report(
            f"epoch {state.epoch}/{state.epochs} loss {np.mean(losses):.4f} "
            f"{state.spent_s:.0f} s in all"
        )
    return state.average.eval()


def epochs_within(plan: Training, done: int, spent_s: float, took_s: Sequence[float]) -> int:
    """How many epochs the wall-time cap leaves room for, those that are done included.

    Reckoned anew each time and from the median: the first epochs take ten times as long as the
    rest (5 s, later 0.3), and a schedule that they had cut for good ended at a third of its cap.
    """
    left_s = max(0.0, plan.minutes * 60 - spent_s)
    return min(plan.epochs, done + int(left_s / median(took_s)))


class _State:
    """Everything a checkpoint holds: weights, their average, optimiser, epoch, time spent."""

    def __init__(self, recipe: Recipe, split: Split) -> None:
        import torch

        views, types = split.pictures.shape[1], len(split.type_names())
        module = network(recipe.network, views, types)
        if recipe.network.kind in PRETRAINED:
            pretrained(module)
        self.model = module.to(memory_format=torch.channels_last).train()
        self.average = copy.deepcopy(self.model)
        self.optimiser = torch.optim.AdamW(
            _groups(self.model, recipe.training.encoder_rate), weight_decay=1e-3
        )
        taught_by = recipe.teacher and recipe.teacher.name
        self.of = msgspec.json.encode((recipe.network, taught_by, _pictures(split))).decode()
        self.epoch = 0
        self.epochs = recipe.training.epochs
        self.steps = 0
        self.spent_s = 0.0

    def begin(self, twin: str, pictures: Array) -> None:
        """Begin with the weights of a package's FP32 twin."""
        import torch

        start_from(self.model, twin, torch.from_numpy(pictures.astype(np.float32) / 255))
        self.average.load_state_dict(self.model.state_dict())

    def set_rate(self, peak: float, at: float) -> None:
        """One cycle: up over the first tenth, then a cosine to zero."""
        share = at / self.epochs
        rate = peak * (
            share / 0.1 if share < 0.1 else 0.5 + 0.5 * np.cos((share - 0.1) / 0.9 * np.pi)
        )
        for group in self.optimiser.param_groups:
            group["lr"] = max(float(rate) * group["share"], 1e-6)

    def follow(self) -> None:
        """Move the average towards the weights; faster at the start, when it holds noise."""
        import torch

        self.steps += 1
        keep = min(AVERAGE, 1 - 1 / self.steps)
        with torch.no_grad():
            for mean, now in zip(
                self.average.state_dict().values(), self.model.state_dict().values(), strict=True
            ):
                if mean.is_floating_point():
                    mean.lerp_(now, 1 - keep)
                else:
                    mean.copy_(now)

    def save(self, path: Path) -> None:
        """Write beside and rename: a kill while writing leaves the previous checkpoint."""
        import torch

        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        torch.save(
            {
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "of": self.of,
                "numbers": (self.epoch, self.epochs, self.steps, self.spent_s),
            },
            beside,
        )
        beside.replace(path)

    def restore(self, path: Path) -> None:
        """Continue where `save` left off."""
        import torch

        held = torch.load(path, weights_only=True)
        if held.get("of") != self.of:
            raise ConfigError(
                f"{path}: of another network, teacher or pictures; build without --resume"
            )
        self.model.load_state_dict(held["model"])
        self.average.load_state_dict(held["average"])
        self.optimiser.load_state_dict(held["optimiser"])
        self.epoch, self.epochs, self.steps, self.spent_s = held["numbers"]


def _pictures(split: Split) -> str:
    """A digest of the pictures and their labels, so that no checkpoint goes on with others."""
    found = hashlib.sha256(b"".join(split.digests))
    found.update(np.packbits(split.defect).tobytes())
    found.update("\n".join(split.names).encode())
    return found.hexdigest()


def _step(state: _State, batch: Batch, teacher: Any, *, bf16: bool) -> float:
    import torch

    views, cells, defect, located, types = (torch.from_numpy(array) for array in batch)
    views = views.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        found = state.model(views)
    logits = found.map.float()
    whole, kinds, apart = (None if each is None else each.float() for each in found[1:])
    loss = loss_of(logits[:, 0], cells, defect, located)
    if whole is not None:
        loss = loss + loss_of_picture(logits[:, 0], whole.flatten(), defect)
    if kinds is not None:
        loss = loss + loss_of_types(kinds, cells, types)
    if apart is not None:
        loss = loss + loss_of_student(apart, defect)
    if teacher is not None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            taught = teacher(views).map
        loss = loss + loss_of_teaching(logits[:, 0], taught[:, 0].float())
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.model.parameters(), 5.0)
    state.optimiser.step()
    state.follow()
    return float(loss.detach())


def _groups(module: Any, encoder_rate: float) -> list[dict[str, Any]]:
    """The parameters by the share of the learning rate that they get."""
    came = list(module.encoder.parameters()) if hasattr(module, "encoder") else []
    ids = {id(parameter) for parameter in came}
    rest = [parameter for parameter in module.parameters() if id(parameter) not in ids]
    came, rest = ([one for one in each if one.requires_grad] for each in (came, rest))
    groups = [{"params": rest, "share": 1.0}, {"params": came, "share": encoder_rate}]
    return [group for group in groups if group["params"]]


def loss_of(logits: Any, cells: Any, defect: Any, located: Any) -> Any:
    """Cells where they are marked, the worst cell of the picture everywhere.

    logits (n, h, w), cells (n, h, w) of 1, 0 and 255, defect (n,) and located (n,) bool.
    Good cells count by their mean and by the worst few: the verdict is a maximum, so one
    loud good cell of 4096 is an overkill that a mean would not see.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as entropy

    each = entropy(logits, (cells == 1).float(), reduction="none")
    known = (cells != IGNORED) & located[:, None, None]
    bad = (known & (cells == 1)).flatten(1)
    good = known & (cells == 0)
    # By picture: a large defect would else teach a hundred times as much as a small one.
    counts, lost = bad.sum(1), (each.flatten(1) * bad).sum(1)
    marked = counts > 0
    loss = (lost / counts.clamp(min=1)).sum() / marked.sum().clamp(min=1)
    loss = loss + 4 * (each * good).sum() / good.sum().clamp(min=1)
    count = min(HARD_CELLS, each[0].numel())
    loss = loss + 0.5 * (each * good).flatten(1).topk(count).values.mean()
    flat = logits.flatten(1)
    # A defect that is only labelled has no place to pull on: all cells share the pull, the
    # likelier ones more of it. A hard maximum would hang on the cell that chance made first.
    spread = torch.logsumexp(flat * SPREAD, 1) / SPREAD
    worst = torch.where(located, flat.amax(1), spread)
    return loss + entropy(worst, defect.to(torch.float32))


def loss_of_picture(logits: Any, whole: Any, defect: Any) -> Any:
    """The logit of the picture as a whole, alone and as the score adds it to the worst cell's.

    logits (n, h, w), whole (n,), defect (n,) bool. The worst cell is held still in the sum: what
    it has to learn, its own loss says.
    """
    from torch.nn.functional import binary_cross_entropy_with_logits as entropy

    truth = defect.to(whole.dtype)
    both = logits.flatten(1).amax(1).detach() + whole
    return entropy(whole, truth) + 0.5 * entropy(both, truth)


def loss_of_types(logits: Any, cells: Any, types: Any) -> Any:
    """The type of each marked cell.

    logits (n, k, h, w), cells (n, h, w), types (n,) of 0..k - 1, or -1 for none.
    """
    import torch

    truth = torch.where(cells == 1, types[:, None, None], -1)
    lost = torch.nn.functional.cross_entropy(logits, truth, ignore_index=-1, reduction="sum")
    return 0.5 * lost / (truth >= 0).sum().clamp(min=1)


def loss_of_student(apart: Any, defect: Any) -> Any:
    """A student's errors on good pictures; half of it those of the worst tenth of their cells.

    apart (n, c, h, w), defect (n,) bool. The mean alone would learn the easy surface only
    (EfficientAD's hard feature loss).
    """
    each = apart[~defect].square().mean(1).flatten(1)
    if not len(each):
        return apart.sum() * 0
    hard = each.topk(max(1, each.shape[1] // 10)).values
    return each.mean() + hard.mean()


def loss_of_teaching(logits: Any, taught: Any) -> Any:
    """How far the map is from a teacher's, in nats a cell: all cells, and each picture's worst few.

    logits, taught (n, h, w). 0 where they agree.
    """
    from torch.nn.functional import binary_cross_entropy_with_logits as entropy

    truth = taught.sigmoid()
    apart = entropy(logits, truth, reduction="none") - entropy(taught, truth, reduction="none")
    count = min(HARD_CELLS, apart[0].numel())
    return 4 * apart.mean() + 0.5 * apart.flatten(1).topk(count).values.mean()
