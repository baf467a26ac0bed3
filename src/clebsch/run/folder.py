"""The folder of a run: the names of its files, and whose it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from clebsch.errors import ConfigError, DamagedFileError, OutputError
from clebsch.files import remove_unfinished, write_file
from clebsch.models.serialization import POTENTIAL_NAME, read_potential_config
from clebsch.recipe import GradientFit, RunConfig, load_recorded
from clebsch.run.lock import hold
from clebsch.training.checkpoint import CHECKPOINT_NAME, compare_courses, has_checkpoint
from clebsch.training.distributed import World
from clebsch.training.extension import require_choice
from clebsch.training.trainer import METRICS_NAME

CONFIG_NAME, RESULTS_NAME, START_NAME = "config.yaml", "results.json", "start.safetensors"
CURVE_NAME, PARITY_NAME = "learning_curve.png", "parity.png"
NAMES = (CONFIG_NAME, RESULTS_NAME, POTENTIAL_NAME, START_NAME, CURVE_NAME, PARITY_NAME, CHECKPOINT_NAME, METRICS_NAME)


@contextmanager
def claim_directory(config: RunConfig) -> Iterator[Path]:
    """Make the folder of the run, hold it for the block, and record the recipe in it.

    If a run is continued, its recipe is recorded at the end.

    A folder without checkpoint and potential holds a run that came to nothing, and may be used with other settings.

    Raises:
        ConfigError: it holds another run, or cannot be written.
        FolderInUseError: another process works in it.
    """
    path = config.output / CONFIG_NAME
    with ExitStack() as stack:
        try:
            stack.enter_context(hold(config.output))
            remove_unfinished(config.output, NAMES)
            continued = _is_continued(config)
            if not continued:
                write_file(path, config.as_yaml())
        except OutputError as error:
            raise ConfigError(f"output: {error}") from None
        yield config.output
        if continued:  # not before it has gone on: the checkpoint may be of other data
            write_file(path, config.as_yaml())


@contextmanager
def claim_together(world: World, config: RunConfig) -> Iterator[Path]:
    """`claim_directory` by the first process, for all of them."""
    with ExitStack() as stack:
        with world.together():
            if world.first:
                stack.enter_context(claim_directory(config))
        yield config.output
        with world.together():
            stack.close()


def _is_continued(config: RunConfig) -> bool:
    """Whether the folder holds this run already; raises ConfigError if it holds another."""
    path = config.output / CONFIG_NAME
    if path.is_file() and (has_checkpoint(config.output) or (config.output / POTENTIAL_NAME).exists()):
        before, differences = compare_courses(load_recorded(path).course(), config.course())
        if differences:
            raise ConfigError(
                f"'{config.output}' holds a run with other settings:\n"
                + "\n".join(f"  - {line}" for line in differences)
                + "\nGive another output for these settings, or the settings of that run to go on with it."
            )
        if before is not None and isinstance(config.train, GradientFit):
            require_choice(before, config.train)
        _check_preset(config)
        return True
    return False


def _check_preset(config: RunConfig) -> None:
    """Raise ConfigError if the finished potential is not of the model that the recipe now stands for."""
    potential = config.output / POTENTIAL_NAME
    if not potential.is_file():
        return
    try:
        model = read_potential_config(potential).model
    except DamagedFileError:  # this run writes it again
        return
    if not config.stands_for(model):
        raise ConfigError(
            f"'{config.output}' holds a potential of another model than its recipe stands for now: "
            "a preset has changed. Give another output, or write out the model of the potential in the recipe."
        )
