"""Configurations: what is read, what is refused, and the recipes that come with the package."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from rducodec.bitstream.header import ValueSpace
from rducodec.encoder import plan_latent
from rducodec.errors import RddInputError
from rducodec.interop.source import make_source
from rducodec.model import LatentConfig
from rducodec.training.classifiers import build_classifier
from rducodec.training.data.load import NAMES
from rducodec.training.distillation.configuration import (
    Configuration,
    ExpertTraining,
    configuration_names,
    configuration_of,
    read_configuration,
)
from rducodec.training.distillation.toml import toml_text
from rducodec.training.evaluation.protocols import named_protocol
from rducodec.training.experts import ExpertSettings
from rducodec.training.utility.augmentation import Augmentation
from rducodec.training.utility.distribution import DistributionMatching
from rducodec.training.utility.gradient import GradientMatching
from rducodec.training.utility.trajectory import TrajectoryMatching

LOSSES = {"dm": DistributionMatching, "gm": GradientMatching, "tm": TrajectoryMatching}
SHAPES = {"digits": (1, 8, 8), "cifar10": (3, 32, 32), "cifar100": (3, 32, 32), "imagenette": (3, 128, 128)}

MINIMAL = """
[data]
name = "digits"
[samples]
spc = 2
[utility]
loss = "dm"
options = { real_batch = 8 }
[joint]
iterations = 5
lmbda = [2, 1]
"""

# Table A2 of the paper: spc, context, depth, decoder parameters of Table A1, slices of a class, student steps, last
# epoch before which a student starts (expert steps by 196 or 51 a pass), samples in a minibatch.
TABLE = {
    "cifar10-tm-64": (64, 16, 4, 4971, 1, 60, 1960 / 196, 256),
    "cifar10-tm-240": (240, 16, 4, 9771, 1, 60, 7840 / 196, 410),
    "cifar10-tm-718": (718, 16, 4, 12171, 2, 60, 7840 / 196, 720),
    "cifar100-tm-48": (48, 16, 4, 2571, 1, 60, 7840 / 196, 256),
    "cifar100-tm-120": (120, 16, 4, 9771, 1, 40, 9408 / 196, 960),
    "imagenet-tm-1": (1, 16, 2, 571, 1, 20, 510 / 51, 102),
    "imagenet-tm-8": (8, 16, 2, 1771, 1, 20, 510 / 51, 102),
    "imagenet-tm-15": (15, 16, 2, 2571, 1, 20, 510 / 51, 102),
    "imagenet-tm-51": (51, 32, 4, 11611, 1, 40, 1020 / 51, 80),
    "imagenet-tm-102": (102, 32, 4, 11611, 1, 40, 1020 / 51, 80),
    "imagenet-gm-96": (96, 32, 4, 15371, 1, None, None, None),
    "imagenet-dm-96": (96, 32, 4, 15371, 1, None, None, None),
}


def written(folder: Path, text: str, name: str = "own.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def parameters(widths: tuple[int, ...], *, scales: int, channels: int) -> int:
    """Of 1x1 layers with biases and two 3x3 layers, counted from the paper's description."""
    sizes = [scales, *widths, channels]
    pointwise = sum(a * b + b for a, b in itertools.pairwise(sizes))
    return pointwise + 2 * (9 * channels * channels + channels)


@pytest.mark.parametrize("name", configuration_names())
def test_every_recipe_is_complete_and_plans(name: str) -> None:
    recipe = read_configuration(name)
    assert recipe.description
    assert recipe.data.name in NAMES
    named_protocol(recipe.evaluation.protocol)
    Augmentation.of(recipe.utility.augmentation)
    options = inspect.signature(LOSSES[recipe.utility.loss]).parameters
    assert recipe.utility.options.keys() <= options.keys()
    shape = SHAPES[recipe.data.name]
    build_classifier(
        recipe.utility.network,
        channels=shape[0],
        num_classes=2,
        size=shape[1:],
        **recipe.utility.network_options,
    )
    spc = min(recipe.samples.spc, 4)  # the networks do not depend on the number of samples
    values, labels = torch.zeros(2 * spc, *shape).numpy(), torch.arange(2).repeat_interleave(spc).numpy()
    plan = plan_latent(make_source(values, labels, space=ValueSpace()), recipe.samples.shape())
    widths = recipe.samples.shape().synthesis_widths
    expected = parameters(widths, scales=plan.config.num_scales, channels=shape[0])
    assert sum(math.prod(size) for size in plan.config.synthesis_shapes()) == expected


@pytest.mark.parametrize("name", TABLE)
def test_recipes_of_the_paper_have_its_values(name: str) -> None:
    spc, context, depth, decoder, slices, steps, start, batch = TABLE[name]
    recipe = read_configuration(name)
    shape = recipe.samples.shape()
    assert (recipe.samples.spc, shape.context_size, shape.entropy_depth) == (spc, context, depth)
    assert parameters(shape.synthesis_widths, scales=6, channels=3) == decoder
    entropy = LatentConfig(3, 32, 32, 6, context, depth).entropy_shapes()
    counts = {(16, 2): 578, (16, 4): 1122, (32, 4): 4290}  # layers C -> C, the last one C -> 2
    assert sum(math.prod(size) for size in entropy) == counts[context, depth]
    assert math.ceil(recipe.samples.spc / shape.slice_size) == slices
    options = recipe.utility.options
    found = tuple(options.get(key) for key in ("student_steps", "max_start_epoch", "synthetic_batch"))
    assert found == (steps, start, batch)
    assert (recipe.joint.learning_rate, recipe.joint.final_learning_rate_share) == (1e-3, 1.0)
    assert recipe.joint.iterations == {"tm": 15000, "gm": 800, "dm": 20000}[recipe.utility.loss]
    assert recipe.initial.lmbda == pytest.approx(1 / (10 if recipe.utility.loss == "tm" else 1e6))
    assert recipe.export.thresholds == (5e-7, 5e-6, 5e-5)
    assert recipe.evaluation == type(recipe.evaluation)("mtt-convnet", 5)


def test_enough_epochs_of_experts_for_every_recipe() -> None:
    defaults = {name: p.default for name, p in inspect.signature(TrajectoryMatching).parameters.items()}
    for name in configuration_names():
        recipe = read_configuration(name)
        if recipe.utility.loss == "tm":
            options = {**defaults, **recipe.utility.options}
            settings = ExpertSettings(**recipe.experts.given())
            assert options["max_start_epoch"] - 1 + options["expert_epochs"] <= settings.epochs, name


def test_numbers_in_names_are_in_order() -> None:
    names = [name for name in configuration_names() if name.startswith("imagenet-tm")]
    assert names == [f"imagenet-tm-{spc}" for spc in (1, 8, 15, 51, 102)]


@pytest.mark.parametrize("name", configuration_names())
def test_toml_text_reads_back_as_the_same(name: str, tmp_path: Path) -> None:
    recipe = read_configuration(name)
    assert read_configuration(written(tmp_path, toml_text(recipe))) == recipe
    assert configuration_of(recipe.fields()) == recipe


def test_toml_text_of_awkward_values(tmp_path: Path) -> None:
    options = {
        "text": 'quoted " and \\ and \x7f\x00\n\t, ü and \U0001f409',
        "": "no name",
        "a.b c": [1, 2.5, True, [], {}, {"x": False}],
        "small": 1e-300,
        "large": 1e300,
        "whole": 2.0,
    }
    plain = read_configuration(written(tmp_path, MINIMAL))
    awkward = dataclasses.replace(plain, utility=dataclasses.replace(plain.utility, options=options), description="")
    text = toml_text(awkward)
    again = read_configuration(written(tmp_path, text))
    assert again == awkward
    assert type(again.utility.options["whole"]) is float
    assert "none" not in text
    assert "None" not in text


def test_what_a_file_leaves_out_is_the_default(tmp_path: Path) -> None:
    found = read_configuration(written(tmp_path, MINIMAL))
    assert found.joint.lmbda == (2.0, 1.0)
    assert all(type(value) is float for value in found.joint.lmbda)
    assert found.joint.learning_rate == 1e-3
    assert found.experts.given() == {}


def test_overrides(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL)

    def read(*overrides: str) -> Configuration:
        return read_configuration(path, overrides)

    assert read("joint.iterations=7").joint.iterations == 7
    assert read(" joint.iterations = 7 ").joint.iterations == 7
    assert read("joint.lmbda=[3, 4.5]").joint.lmbda == (3.0, 4.5)
    assert read("samples.decoder=480").samples.decoder == "480"
    assert read("samples.decoder='480'").samples.decoder == "480"
    assert read("samples.decoder=240,40").samples.shape().synthesis_widths == (240, 40)
    assert read("data.name=cifar10").data.name == "cifar10"
    assert read("utility.mixed_precision=true").utility.mixed_precision is True
    assert read("utility.options.real_batch=9").utility.options == {"real_batch": 9}
    assert read("utility.options.experts=some/where").utility.options["experts"] == "some/where"
    assert read("export.target_bpc=2").export.target_bpc == 2.0
    assert read("export.target_bpc=2", "export.target_bpc=none").export.target_bpc is None
    assert read("joint.learning_rate=1", "joint.learning_rate=").joint.learning_rate == 1e-3
    assert read("evaluation.networks=").evaluation.networks == 5
    assert read("utility.options=").utility.options == {}


def test_options_fall_with_their_loss_and_network(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL)
    assert read_configuration(path, ["utility.loss=gm"]).utility.options == {}
    assert read_configuration(path, ["utility.loss=dm"]).utility.options == {"real_batch": 8}
    named = read_configuration("digits", ["utility.network=alexnet"])
    assert named.utility.network_options == {}
    assert named.utility.options == {"real_batch": 124}


def test_a_base_by_name_and_by_path(tmp_path: Path) -> None:
    written(tmp_path, MINIMAL, "below.toml")
    above = written(tmp_path, 'base = "below.toml"\nseed = 3\n[samples]\nspc = 4\n[export]\ntarget_bpc = 1.5\n')
    found = read_configuration(above)
    assert (found.seed, found.samples.spc, found.export.target_bpc) == (3, 4, 1.5)
    assert found.utility.options == {"real_batch": 8}
    back = written(tmp_path, 'base = "own.toml"\n[export]\ntarget_bpc = "none"\n', "back.toml")
    assert read_configuration(back) == dataclasses.replace(found, export=type(found.export)())
    named = read_configuration(written(tmp_path, 'base = "digits"\n[joint]\niterations = 3\n'))
    digits = read_configuration("digits")
    assert named == dataclasses.replace(digits, joint=dataclasses.replace(digits.joint, iterations=3))


def test_bases_in_a_circle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RddInputError, match="more than 8 bases"):
        read_configuration(written(tmp_path, 'base = "own.toml"\n'))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("joint.iteration=4", r"unknown key joint\.iteration, perhaps iterations"),
        ("optimiser.rate=4", "unknown key optimiser"),
        ("joint=4", "joint is 4, a table expected"),
        ("joint.iterations.more=4", "joint.iterations is .* expected int"),
        ("joint.iterations=", r"joint\.iterations is missing"),
        ("joint.iterations", "expected key.name=value"),
        (".x=1", "expected key.name=value"),
        ("joint.iterations=many", "joint.iterations is 'many', expected int"),
        ("joint.iterations=2.0", "joint.iterations is 2.0, expected int"),
        ("joint.iterations=true", "joint.iterations is True, expected int"),
        ("joint.iterations=none", "joint.iterations is 'none', expected int"),
        ("joint.iterations=0", r"joint\.iterations: 0, expected a positive number"),
        ("joint.learning_rate=nan", r"joint\.learning_rate: nan"),
        ("joint.lmbda=[1, 2, 3]", r"joint\.lmbda: .* at most two"),
        ("joint.lmbda=[1]", r"joint\.lmbda: .* or a size in export\.target_bpc"),
        ("joint.lmbda=[1, -2]", r"joint\.lmbda\[1\]: -2.0"),
        ("joint.lmbda=3", "joint.lmbda is 3, a list expected"),
        ("joint.rounding=up", r"joint\.rounding: 'up', expected one of soft"),
        ("samples.spc=0", r"samples\.spc: 0"),
        ("samples.slice_size=0", r"samples\.slice_size: 0"),
        ("samples.decoder=v9", r"samples\.decoder: 'v9'"),
        ("samples.entropy=5x5", r"samples\.entropy: '5x5'"),
        ("samples.parameterization=wavelets", r"samples\.parameterization: 'wavelets'"),
        ("data.classes=[0, 0]", r"data\.classes: \[0, 0\]"),
        ("data.classes=[-1]", r"data\.classes: \[-1\]"),
        ("data.size=0", r"data\.size: 0"),
        ("initial.steps=9", r"initial\.steps: 9, expected at least 10"),
        ("initial.lmbda=0", r"initial\.lmbda: 0"),
        ("export.target_bpc=inf", r"export\.target_bpc: inf"),
        ("export.target_bpc=-1", r"export\.target_bpc: -1"),
        ("export.thresholds=[]", r"export\.thresholds: \[\]"),
        ("export.thresholds=[1, 0]", r"export\.thresholds\[1\]: 0"),
        ("export.number=float8", r"export\.number: 'float8'"),
        ("evaluation.networks=0", r"evaluation\.networks: 0"),
        ("seed=-1", "seed: -1, expected 0"),
        ("seed=2147483648", "seed: 2147483648, expected 0"),
        ("utility.options.day=2020-01-01", r"utility\.options\.day is 2020-01-01"),
        ("utility.options.days=[{a=2020-01-01}]", r"utility\.options\.days\[0\]\.a is 2020-01-01"),
        ("utility.options=3", "utility.options is 3, a table expected"),
    ],
)
def test_wrong_keys_and_values_are_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(RddInputError, match=message):
        read_configuration(written(tmp_path, MINIMAL), [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[data", "own.toml: "),
        ("seed = 1" + "0" * 5000, "own.toml: "),
        ("base = 3", "base: 3, expected a name or a path"),
        ('base = "diggits"', "perhaps digits"),
        ("", "data is missing"),
        (MINIMAL.replace('name = "digits"', ""), r"data\.name is missing"),
    ],
)
def test_damaged_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RddInputError, match=message):
        read_configuration(written(tmp_path, text))


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RddInputError, match="not UTF-8"):
        read_configuration(path)
    path.write_bytes(b"#" * (1 << 21))
    with pytest.raises(RddInputError, match="larger than"):
        read_configuration(path)
    with pytest.raises(OSError, match="No such file"):
        read_configuration(tmp_path / "missing.toml")
    with pytest.raises(RddInputError, match="no such name, perhaps digits"):
        read_configuration("digit")


def test_lists_that_other_modules_have_too() -> None:
    assert {each.name for each in dataclasses.fields(ExpertTraining)} <= {
        each.name for each in dataclasses.fields(ExpertSettings)
    }


def test_values_that_are_given_to_the_training_of_experts(tmp_path: Path) -> None:
    given: dict[str, Any] = {"num_experts": 3, "epochs": 4, "batched": 2, "batch_size": 8, "learning_rate": 0.5}
    given |= {"momentum": 0.25, "weight_decay": 0.125}
    table = "\n".join(f"{name} = {value}" for name, value in given.items())
    text = f"{MINIMAL}\n[experts]\n{table}\n"
    assert tomllib.loads(text)["experts"] == given
    assert read_configuration(written(tmp_path, text)).experts.given() == given
