"""The recipe of a run: every choice of data, model, energy reference and fit, in one strict configuration."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

import yaml
from ase.data import atomic_numbers, chemical_symbols
from pydantic import Discriminator, Field, Tag, ValidationError, create_model, field_validator, model_validator

from clebsch.config import DefaultForm, StrictConfig, apply_overrides, load_yaml, parse_config
from clebsch.data import QUANTITIES, Blocks, LabelKeys, Last
from clebsch.data.units import Units
from clebsch.models import MultiACEConfig
from clebsch.models.presets import PRESETS
from clebsch.models.upgrade import upgrade_model
from clebsch.training import TrainConfig
from clebsch.training.least_squares import LeastSquaresConfig
from clebsch.training.upgrade import upgrade_fit

Part = int | float | Last | Blocks


class DatasetSource(StrictConfig):
    """A public data set.

    Attributes:
        dataset: its name: acac, 3bpa, ethanol, lips, or rmd17/aspirin and its siblings.
        root: folder of the data sets; None takes $CLEBSCH_DATA.
        train: name of the training set; None takes the first.
        valid: number (integer) or fraction (below 1) of the training configurations that are set aside for validation,
            drawn at random; ``{last: 0.1}`` takes the last ones, ``{blocks: 5, part: 0.1}`` blocks of consecutive ones.
        tests: names of the test sets to report; None takes those that are there.
        download: whether missing files are fetched.
    """

    dataset: str
    root: Path | None = None
    train: str | None = None
    valid: Part = 0.1
    tests: tuple[str, ...] | None = None
    download: bool = False


NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class FileSource(StrictConfig):
    """Files of labelled configurations.

    Attributes:
        train: one or several of: a file (extended XYZ or whatever else ASE reads), a folder of files, a pattern such as
            ``runs/*/vasprun.xml``.
        valid: the same, or the number (integer) or fraction (below 1) of the training configurations set aside, drawn
            at random; of trajectories, ``{last: 0.1}`` takes the last frames of every file, ``{blocks: 5, part: 0.1}``
            blocks of consecutive ones.
        tests: the same, to report, by name.
        keys: names of the labels in the files; null for a label that is not wanted.
        weights: factors on the weights of the loss by config_type, such as ``{surface: 2}`` or
            ``{surface: {forces: 2, stress: 0}}``; zero is not trained on.
        units: units of the files, such as ``{energy: kcal/mol, length: bohr}``.
        types: elements of the types of LAMMPS dumps, such as ``{1: Cu, 2: Au}``.
        nan_is_none: a label that holds a NaN is missing in its frame, instead of an error.
    """

    train: str | tuple[str, ...]
    valid: str | Part = 0.1
    tests: dict[str, str] = {}
    keys: LabelKeys = LabelKeys()
    weights: dict[str, NonNegative | dict[str, NonNegative]] = {}
    units: Units = Units()
    types: dict[int, str] = {}
    nan_is_none: bool = False

    @field_validator("types")
    @classmethod
    def _of_elements(cls, value: dict[int, str]) -> dict[int, str]:
        unknown = next((symbol for symbol in value.values() if symbol not in chemical_symbols[1:]), None)
        if unknown is not None:
            raise ValueError(f"'{unknown}' is no element; give chemical symbols, such as {{1: Cu, 2: Au}}")
        return value

    @field_validator("weights")
    @classmethod
    def _of_quantities(cls, value: dict[str, Any]) -> dict[str, Any]:
        for config_type, weights in value.items():
            unknown = set(weights) - set(QUANTITIES) if isinstance(weights, dict) else set()
            if unknown:
                raise ValueError(f"{config_type}: {min(unknown)} is no quantity; there are {', '.join(QUANTITIES)}")
        return value


class PresetModel(StrictConfig):
    """A named model and the arguments of its function; the elements come from the data.

    Attributes:
        preset: its name.
        avg_num_neighbors: number of neighbours that their sum is normalised by, see `MultiACEConfig`; zero takes
            the average of the training set.
    """

    preset: str
    avg_num_neighbors: float = Field(default=0.0, ge=0)

    def build(self, elements: Sequence[str], avg_num_neighbors: float = 1.0) -> MultiACEConfig:
        """Return the model's configuration for the elements and the average number of neighbours of some data."""
        arguments = self.model_dump(exclude={"preset", "avg_num_neighbors"})
        config = PRESETS[self.preset](elements=elements, **arguments)
        return config.model_copy(update={"avg_num_neighbors": self.avg_num_neighbors or avg_num_neighbors})

    @model_validator(mode="after")
    def _builds(self) -> PresetModel:
        try:
            self.build(("H",))
        except ValidationError as error:
            reasons = [(".".join(map(str, item["loc"])), item["msg"]) for item in error.errors()]
            said = (f"{key}: {text}" if key else text.removeprefix("Value error, ") for key, text in reasons)
            raise ValueError("; ".join(said)) from None
        return self


class FullModel(MultiACEConfig):
    """Every choice of a Multi-ACE model.

    Attributes:
        elements: chemical symbols; empty takes those of the training set.
        avg_num_neighbors: zero takes the average of the training set.
    """

    elements: tuple[str, ...] = ()
    avg_num_neighbors: float = Field(default=0.0, ge=0)

    def build(self, elements: Sequence[str], avg_num_neighbors: float = 1.0) -> MultiACEConfig:
        """Return the model's configuration; the arguments stand in for what the recipe leaves to the data."""
        given = dict(self)
        given["elements"] = self.elements or tuple(elements)
        given["avg_num_neighbors"] = self.avg_num_neighbors or avg_num_neighbors
        return MultiACEConfig(**given)

    @model_validator(mode="after")
    def _divides(self) -> FullModel:
        if self.avg_num_neighbors and self.neighbor_normalization == "none":
            raise ValueError("neighbor_normalization is none, so the sum is not divided; omit avg_num_neighbors")
        return self


def _preset_model(name: str, function: Callable[..., MultiACEConfig]) -> type[PresetModel]:
    """The strict configuration whose fields are the keyword arguments of a preset."""
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    fields: dict[str, Any] = {p.name: (p.annotation, p.default) for p in parameters if p.name != "elements"}
    fields["preset"] = (Literal[name], ...)  # type: ignore[valid-type]
    return create_model(f"{name}_preset", __base__=PresetModel, __doc__=function.__doc__, **fields)


class Energy(StrictConfig):
    """Energy reference: E = Σ_i [E0(z_i) + scale Σ_t e_i^(t) + shift].

    Attributes:
        e0: "isolated_atoms" (of the data set, or single-atom frames of the training files), "least_squares" (fitted
            to the training energies), a file of isolated atoms, or the energies (eV) by element.
        scale: eV per unit of the model's output: the RMS force component (eV/Å), the standard deviation of the energy
            per atom above E0, or 1.
        shift: mean energy per atom above E0, or nothing.
        repulsion: of nuclei: none; "zbl", below the sum of the covalent radii; or "core", below 0.95 of the shortest
            distance that a pair of elements has in the training set, where the network, which would have to
            extrapolate farther in, is held (`clebsch.models.core.CoreRadii`).
    """

    e0: str | dict[str, float] = "isolated_atoms"
    scale: Literal["force_rms", "energy_std", "none"] = "force_rms"
    shift: Literal["mean", "none"] = "mean"
    repulsion: Literal["none", "zbl", "core"] = "none"

    @field_validator("e0", mode="before")
    @classmethod
    def _symbols(cls, value: Any) -> Any:
        """Atomic numbers are as good as symbols."""
        if not isinstance(value, Mapping):
            return value
        named = {str(key): _symbol(key) for key in value}
        twice = [key for key, symbol in named.items() if list(named.values()).count(symbol) > 1]
        if twice:
            raise ValueError(f"{' and '.join(twice)} name one element; keep one of them")
        return {named[str(key)]: energy for key, energy in value.items()}


def _symbol(key: Any) -> str:
    """The chemical symbol of a key that is one, or an atomic number."""
    text = str(key)
    number = int(text) if text.isascii() and text.isdecimal() else atomic_numbers.get(text, 0)
    if not 1 <= number < len(chemical_symbols):
        raise ValueError(f"'{text}' is no element; write chemical symbols or atomic numbers")
    return chemical_symbols[number]


class GradientFit(TrainConfig):
    """Training by gradient descent.

    Attributes:
        start_from: a saved potential or the folder of a run, whose weights and scale this run starts from in place of
            random ones. Its elements and its model must be those of this run; E0 and shift are those of the new data.
    """

    method: Literal["gradient"] = "gradient"
    start_from: str | None = None

    def course(self) -> dict[str, Any]:
        """As that of `TrainConfig`, with ``start_from`` if there is one; a run puts the fingerprint there."""
        found = super().course()
        if self.start_from is None:
            del found["start_from"]
        return found


class LeastSquaresFit(LeastSquaresConfig):
    """Regularised linear least squares, for models whose energy is linear in the fitted weights."""

    method: Literal["least_squares"]

    def course(self) -> dict[str, Any]:
        """What must not change where a run is repeated in its folder."""
        return self.model_dump(mode="json")


def preset_config(name: str) -> type[PresetModel]:
    """The strict configuration of a preset, its fields the arguments of the function."""
    return _PRESET_MODELS[name]


_PRESET_MODELS = {name: _preset_model(name, function) for name, function in PRESETS.items()}


def _form(key: str, form: type[StrictConfig]) -> Discriminator:
    """The tag "named" where a section has ``key``, as only ``form`` does, else "other"."""

    def tag(section: Any) -> str:
        has_key = section.get(key) is not None if isinstance(section, Mapping) else isinstance(section, form)
        return "named" if has_key else "other"

    return Discriminator(tag)


if TYPE_CHECKING:
    Preset = PresetModel
else:
    Preset = Annotated[Union[tuple(_PRESET_MODELS.values())], Field(discriminator="preset")]  # noqa: UP007

Data = Annotated[
    Annotated[DatasetSource, Tag("named")] | Annotated[FileSource, Tag("other")], _form("dataset", DatasetSource)
]
Model = Annotated[Annotated[Preset, Tag("named")] | Annotated[FullModel, Tag("other")], _form("preset", PresetModel)]
Fit = Annotated[GradientFit | LeastSquaresFit, Field(discriminator="method"), DefaultForm("gradient", "method")]


class RunConfig(StrictConfig):
    """A run, from data to saved potential.

    Attributes:
        output: folder of the results; a second run in it continues the first.
        seed: of the split, the initial weights and the shuffling.
        dtype: of the network.
        device: torch device.
        backend: kernels; null takes the fastest of the device.
        data: a public data set or files.
        model: a named model with its arguments, or a full Multi-ACE configuration.
        energy: the energy reference.
        train: training by gradients, or by least squares.
    """

    output: Path
    seed: int = 0
    dtype: Literal["float32", "float64"] = "float32"
    device: str = "cpu"
    backend: str | None = None
    data: Data
    model: Model
    energy: Energy = Energy()
    train: Fit = GradientFit()

    def as_yaml(self) -> str:
        """The whole recipe, defaults included, as YAML that `load_recipe` reads."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def stands_for(self, model: MultiACEConfig) -> bool:
        """Whether ``model`` is what this recipe builds, which changes where a preset does."""
        return self.model.build(model.elements, model.avg_num_neighbors) == model

    def course(self) -> dict[str, Any]:
        """What must not change if a run is continued: what decides its weights, but for the limits of the fit.

        Where things are, what it is tested on and what it runs on may change. A checkpoint compares the training and
        validation sets and the potential that is started from by content, so that for a fit by gradients the names of
        files may change too.
        """
        unbound = {"output", "device", "backend", "train", "data"}
        data = self.data.model_dump(mode="json", exclude={"tests", "root", "download"})
        if isinstance(self.data, FileSource) and isinstance(self.train, GradientFit):
            data = {name: value for name, value in data.items() if name != "train" and not isinstance(value, str)}
        train = {key: value for key, value in self.train.course().items() if key != "start_from"}
        return {**self.model_dump(mode="json", exclude=unbound), "data": data, "train": train}


def load_recipe(recipe: RunConfig | Mapping[str, Any] | str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Return a recipe, its mapping or YAML file with ``dotted.key=value`` overrides; ConfigError names a wrong key."""
    if isinstance(recipe, RunConfig):
        return parse_recipe(apply_overrides(recipe.model_dump(mode="json"), overrides)) if overrides else recipe
    where = "recipe" if isinstance(recipe, Mapping) else str(recipe)
    mapping = recipe if isinstance(recipe, Mapping) else load_yaml(recipe)
    return parse_recipe(apply_overrides(mapping, overrides), where)


def load_recorded(path: str | Path) -> RunConfig:
    """Read the recipe that a run has recorded in its folder, also one of an earlier version; raises ConfigError."""
    upgrades = {"model": upgrade_model, "energy": _upgrade_energy, "train": upgrade_fit}
    recorded = {key: upgrades.get(key, lambda section: section)(section) for key, section in load_yaml(path).items()}
    return parse_recipe(recorded, str(path))


def _upgrade_energy(energy: Any) -> Any:
    """Return the section of an energy reference with ``repulsion`` in place of the former flags zbl and core."""
    if not isinstance(energy, Mapping) or not {"zbl", "core"} & set(energy):
        return energy
    rest = {key: value for key, value in energy.items() if key not in ("zbl", "core")}
    chosen = "core" if energy.get("core") else "zbl" if energy.get("zbl") else "none"
    return {**rest, "repulsion": chosen}


def parse_recipe(mapping: Mapping[str, Any], where: str = "recipe") -> RunConfig:
    """Validate a recipe; raises ConfigError that names ``where``, the dotted key and the cure."""
    return parse_config(RunConfig, mapping, where)
