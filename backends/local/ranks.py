"""Several processes that train one network together: the ranks of a run, one for each GPU.

Every rank walks through the same steps with the same seed. Of each step's rows it takes its share, and
gradients are summed, so the loss is what one process would have found. The first rank alone writes.
On a machine without GPUs they are processes on its cores; nothing is gained by that but a test.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gateway.core.errors import Unavailable

if TYPE_CHECKING:
    from backends.local.network import Network
    from backends.local.tokens import Item

PATIENCE = timedelta(hours=6)  # one rank may prepare alone for long; a dead one is noticed by the launcher
BUCKET_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that train together; by default it is alone.

    Attributes:
        sharded: each rank holds a part of the weights and not all of them.
    """

    number: int = 0
    count: int = 1
    sharded: bool = False

    @property
    def first(self) -> bool:
        return self.number == 0

    @property
    def device(self) -> torch.device:
        if torch.cuda.is_available():
            return torch.device("cuda", self.number) if self.count > 1 else torch.device("cuda")
        return torch.device("cpu")

    def shares(self, items: Sequence[Item]) -> list[list[Item]]:
        """A step's rows by rank: the longest first, each to whoever has the fewest tokens."""
        if self.count == 1:
            return [list(items)]
        shares: list[list[Item]] = [[] for _ in range(self.count)]
        tokens = [0] * self.count
        for item in sorted(items, key=lambda item: -item.length):
            least = tokens.index(min(tokens))
            shares[least].append(item)
            tokens[least] += item.length
        return shares

    def sum(self, value: float) -> float:
        """A number of each rank, summed over all."""
        if self.count == 1:
            return value
        found = torch.tensor(value, dtype=torch.float64)
        _add_up(found)
        return float(found)

    def add_up(self, tensor: Tensor) -> Tensor:
        """A tensor of each rank, summed over all, in place."""
        if self.count > 1:
            _add_up(tensor)
        return tensor

    def any(self, value: bool) -> bool:
        """Whether it is so at one of the ranks; all get the same answer."""
        return self.sum(float(value)) > 0

    @contextmanager
    def first_goes_first(self) -> Generator[None]:
        """What is done within is done by the first rank, then by the others."""
        if not self.first:
            self.sum(0.0)
        yield
        if self.first:
            self.sum(0.0)

    # -- gradients ---------------------------------------------------------------------------------

    @property
    def loss_scale(self) -> int:
        """What a loss is multiplied with before its gradients are made: shards average, we sum."""
        return self.count if self.sharded else 1

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Each whole parameter's gradient becomes the sum over the ranks; those in parts are already."""
        if self.count == 1:
            return
        for bucket in _buckets([each for each in parameters if not _in_parts(each)]):
            gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in bucket]
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            _add_up(flat)
            flat /= self.loss_scale
            parts = torch.split(flat, [gradient.numel() for gradient in gradients])
            for parameter, gradient, part in zip(bucket, gradients, parts, strict=True):
                parameter.grad = gradient.copy_(part.view_as(gradient))

    def clip(self, parameters: Iterable[Tensor], most: float) -> Tensor:
        """Scale all gradients so that their norm is at most `most`; returns the norm before."""
        held = [each.grad for each in parameters if each.grad is not None]
        if not self.sharded:
            return torch.nn.utils.clip_grad_norm_(list(parameters), most)
        norm = _norm([_local(each) for each in held if _in_parts(each)])
        squares = norm.square()
        _add_up(squares)
        norm = (squares + _norm([each for each in held if not _in_parts(each)]).square()).sqrt()
        scale = (most / (norm + 1e-6)).clamp(max=1.0)
        for gradient in held:
            _local(gradient).mul_(scale)
        return norm

    # -- weights in parts --------------------------------------------------------------------------

    def shard(self, network: Network) -> None:
        """Give each rank its part of every layer; embeddings and head stay whole at all of them, for
        they may be one tensor, and the head is used outside of the model's own forward pass."""
        if not self.sharded:
            return
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        model = network.model
        decoder = model.get_decoder()
        mesh = init_device_mesh(self.device.type, (self.count,))
        embeddings = (model.get_input_embeddings(), model.get_output_embeddings())
        whole = {each for module in embeddings for each in module.parameters()}
        lists = [each for each in decoder.children() if isinstance(each, torch.nn.ModuleList)]
        for layer in max(lists, key=len):
            fully_shard(layer, mesh=mesh)
        fully_shard(decoder, mesh=mesh, ignored_params=whole)

    def whole(self, tensor: Tensor) -> Tensor:
        """All of a tensor, brought together from every rank's part of it."""
        return tensor.full_tensor() if _in_parts(tensor) else tensor  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]

    def gather_for_first(self, *tensors: Iterable[Tensor]) -> None:
        """Give the first rank this one's parts, in the order in which it asks for them."""
        for tensor in (each for group in tensors for each in group):
            self.whole(tensor.detach())

    def part(self, tensor: Tensor, like: Tensor) -> Tensor:
        """This rank's part of a whole tensor, laid out as `like` is; a copy."""
        if not _in_parts(like):
            return tensor.to(like.device, copy=True)
        from torch.distributed.tensor import distribute_tensor

        placed: Any = like
        return distribute_tensor(
            tensor.to(like.device), placed.device_mesh, placed.placements, src_data_rank=None
        )


def join(number: int, count: int, meeting: Path, *, sharded: bool = False) -> Ranks:
    """Meet the other ranks over a file of the run's folder. No port is opened to find each other, and
    traffic stays on the loopback interface (`environment.for_ranks`)."""
    ranks = Ranks(number, count, sharded)
    cuda = ranks.device.type == "cuda"
    if cuda and count > (gpus := torch.cuda.device_count()):
        raise Unavailable(
            f"{count} processes want a GPU each, and there are {gpus}",
            place="options.local.processes",
            fix="plan again on this machine, or ask for fewer processes",
        )
    if cuda:
        torch.cuda.set_device(ranks.device)
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        store=torch.distributed.FileStore(str(meeting), count),  # pyright: ignore[reportPrivateImportUsage]
        rank=number,
        world_size=count,
        timeout=PATIENCE,
    )
    return ranks


def leave() -> None:
    torch.distributed.destroy_process_group()


def parameter_groups(parameters: Iterable[Tensor]) -> list[dict[str, list[Tensor]]]:
    """For an optimizer, whose kernels take tensors in parts or whole, never both at once."""
    groups: dict[bool, list[Tensor]] = {}
    for parameter in parameters:
        groups.setdefault(_in_parts(parameter), []).append(parameter)
    return [{"params": group} for group in groups.values()]


def _in_parts(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if _in_parts(tensor) else tensor  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    if not tensors:
        return torch.zeros(())
    return torch.stack([each.float().square().sum() for each in tensors]).sum().sqrt()


def _add_up(tensor: Tensor) -> None:
    """In place: the sum of what every rank has there."""
    torch.distributed.all_reduce(tensor)  # pyright: ignore[reportUnknownMemberType]


def _buckets(parameters: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Of one type each, and small enough to copy."""
    bucket: list[Tensor] = []
    size = 0
    for parameter in parameters:
        if bucket and (size + parameter.nbytes > BUCKET_BYTES or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.nbytes
    if bucket:
        yield bucket
