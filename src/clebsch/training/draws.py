"""How often configurations are drawn in an epoch, by what they are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

from clebsch.data import Graph, PackedGraphs
from clebsch.errors import ConfigError, did_you_mean


def draws_of(graphs: Sequence[Graph], draws: Mapping[str, float]) -> list[float] | None:
    """Return how often every graph is drawn in an epoch, None for once.

    Args:
        graphs: the training set.
        draws: numbers by config_type or pattern of file names; the first that fits counts.

    Raises ConfigError for a name that fits nothing.
    """
    if not draws:
        return None
    names = list(_names(graphs))
    kinds = {kind: next((key for key in draws if _fits(key, kind)), None) for kind in set(names)}
    unused = [key for key in draws if key not in kinds.values()]
    if unused:
        known = sorted({name for kind in kinds for name in kind if name})
        raise ConfigError(
            f"train.draws: no training configuration has the config_type or file '{unused[0]}', or an earlier name "
            f"fits all that do.{did_you_mean(unused[0], known)} There are: {', '.join(known[:10])}."
        )
    found = [1.0 if (key := kinds[name]) is None else draws[key] for name in names]
    if sum(found) < 1.0:
        raise ConfigError(
            f"train.draws: an epoch draws {sum(found):.3g} of {len(found)} configurations. Draw more of them."
        )
    return found


def _names(graphs: Sequence[Graph]) -> Iterator[tuple[str, str]]:
    """config_type and file of every graph."""
    if isinstance(graphs, PackedGraphs):
        yield from zip(graphs.frames.config_types, graphs.frames.files, strict=True)
    else:
        for graph in graphs:
            yield graph.config_type, graph.origin.rpartition(", frame ")[0] or graph.origin


def _fits(key: str, kind: tuple[str, str]) -> bool:
    config_type, file = kind
    return key == config_type or fnmatch(file, key) or fnmatch(Path(file).name, key)
