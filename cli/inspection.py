"""`rdd inspect`: what a file holds, without decoding it."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import click

import rducodec
from rducodec import Dataset, LatentConfig, LevelConfig, Limits
from rducodec.bitstream.container import MAJOR, MINOR, PREFIX_BYTES
from rducodec.interop.space import describe_space, space_fields
from rducodec.rate import SoftLabelRate
from rducodec.reader import SliceEntry
from rducodec_cli import options
from rducodec_cli.bpc import soft_label_text
from rducodec_cli.terminal import amount, print_fields, print_json, print_table, shown

MAX_ROWS = 12  # of a table, unless --all


def _num_parameters(shapes: tuple[tuple[int, ...], ...]) -> int:
    return sum(math.prod(shape) for shape in shapes)


def _sections(dataset: Dataset) -> list[dict[str, Any]]:
    """All sections in file order; offsets and sizes in bytes."""
    container = dataset.container
    labels_bytes = dataset.header.labels_bytes
    sections: list[dict[str, Any]] = [
        {"name": "prefix", "offset": 0, "bytes": PREFIX_BYTES},
        {"name": "header", "offset": PREFIX_BYTES, "bytes": container.body_offset - PREFIX_BYTES},
        {"name": "labels", "offset": container.body_offset, "bytes": labels_bytes},
    ]
    for entry in dataset.slices:
        place = {"name": f"slice {entry.index}", "offset": entry.offset_bytes, "bytes": entry.num_bytes}
        sections.append(place | {"class": entry.label, "samples": entry.num_samples} | _networks(dataset, entry))
    return sections


def _networks(dataset: Dataset, entry: SliceEntry) -> dict[str, int]:
    """The slices whose networks a slice uses, in the latent profile."""
    if not isinstance(dataset.config, LatentConfig):
        return {}
    entropy, decoder = dataset.header.owners(entry.index)
    return {"entropy_network_of": entropy, "decoder_network_of": decoder}


def _profile(dataset: Dataset) -> dict[str, Any]:
    """What is particular to the profile."""
    config = dataset.config
    if not isinstance(config, LatentConfig):
        kind = "float" if config.is_float else "integer"
        found = {"profile": "raw", "number_type": kind, "bits": config.bits, "divisor": config.divisor}
        if isinstance(config, LevelConfig):
            found |= {"index_bits": config.index_bits, "level_groups": config.groups}
        return found
    return {
        "profile": "latent",
        "sample_frac_bits": config.sample_frac_bits,
        "latents": {"grids": [list(shape) for shape in config.grid_shapes()], "per_sample": config.num_latents()},
        "entropy_network": {
            "context_size": config.context_size,
            "depth": config.entropy_depth,
            "coarser_size": config.coarser_size,
            "grid_biases": config.grid_biases,
            "act_bits": config.act_bits,
            "act_frac_bits": config.act_frac_bits,
            "parameters": _num_parameters(config.entropy_shapes()),
        },
        "decoder_network": {
            "widths": list(config.synthesis_widths),
            "unit_keys": dataset.header.unit_keys,
            "parameters": _num_parameters(config.synthesis_shapes()),
            "upsampling_parameters": _num_parameters(config.tensor_shapes())
            - _num_parameters(config.entropy_shapes())
            - _num_parameters(config.synthesis_shapes()),
        },
        "networks_stored": _networks_stored(dataset),
        "work": dataset.work(),
    }


def _networks_stored(dataset: Dataset) -> dict[str, int]:
    """How many networks the slices store of which others may share."""
    owners = [dataset.header.owners(index) for index in range(len(dataset.slices))]
    entropy, decoder = zip(*owners, strict=True)
    return {"entropy": len(set(entropy)), "decoder": len(set(decoder))}


def inspection(file: str, dataset: Dataset) -> dict[str, Any]:
    """Everything that `rdd inspect` knows, for machines."""
    header, texts = dataset.header, dataset.header.texts
    soft = SoftLabelRate.of(dataset)
    return {
        "file": file,
        "file_bytes": dataset.container.num_bytes,
        "format_version": f"{MAJOR}.{MINOR}",
        "file_check": dataset.container.file_check.hex(),
        "sample_digest": dataset.sample_digest.hex(),
        "num_samples": header.num_samples,
        "shape": list(header.shape),
        **_profile(dataset),
        "num_classes": header.num_classes,
        "class_counts": dataset.class_counts.tolist(),
        "class_names": list(texts.class_names),
        "class_ids": list(texts.class_ids),
        "keeps_order": dataset.keeps_order,
        "soft_labels": None if soft is None else asdict(soft),
        "space": space_fields(header.space),
        "name": texts.name or None,
        "licence": texts.licence or None,
        "source": texts.source or None,
        "recipe": texts.recipe,
        "header_is_compressed": dataset.container.header_is_compressed,
        "sections": _sections(dataset),
    }


def _numbers(found: dict[str, Any]) -> list[tuple[str, str]]:
    if found["profile"] == "raw":
        scale = f", divided by {found['divisor']}" if found["divisor"] > 1 else ""
        number_type = f"{found['bits']}-bit {found['number_type']}s"
        if "index_bits" in found:
            each = ", by channel" if found["level_groups"] > 1 else ""
            return [("numbers", f"{number_type}, at most {1 << found['index_bits']} values a slice{each}")]
        return [("numbers", f"{number_type}{scale}, lossless")]
    latents, entropy, decoder = found["latents"], found["entropy_network"], found["decoder_network"]
    grids = ", ".join(f"{h} x {w}" for h, w in latents["grids"])
    layers = " -> ".join(map(str, [len(latents["grids"]), *decoder["widths"], found["shape"][0]]))
    return [
        ("numbers", f"integers in units of 2^-{found['sample_frac_bits']}, unclamped"),
        ("latents", f"{latents['per_sample']:,} a sample: {grids}"),
        (
            "entropy network",
            f"{entropy['context_size']} x {entropy['depth']} (context x depth)"
            + (f", {entropy['coarser_size']} latents of the next coarser grid" if entropy["coarser_size"] else "")
            + (", biases for each grid" if entropy["grid_biases"] else "")
            + f", {entropy['parameters']:,} parameters",
        ),
        (
            "decoder network",
            f"{layers}, then two 3 x 3 layers, {decoder['parameters']:,} parameters; "
            f"upsampling {decoder['upsampling_parameters']}"
            + (", hidden units sorted" if decoder["unit_keys"] else ""),
        ),
        *_shared(found),
        ("work", f"{found['work']:.3g} multiplications to decode everything"),
    ]


def _shared(found: dict[str, Any]) -> list[tuple[str, str]]:
    slices = sum("samples" in section for section in found["sections"])
    stored = found["networks_stored"]
    if stored["entropy"] == stored["decoder"] == slices:
        return []
    entropy, decoder = amount(stored["entropy"], "entropy network"), amount(stored["decoder"], "decoder network")
    return [("shared", f"{entropy} and {decoder} for {amount(slices, 'slice')}")]


def _classes(found: dict[str, Any]) -> str:
    counts = found["class_counts"]
    each = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
    order = "in the order of the source" if found["keeps_order"] else "class after class"
    return f"{found['num_classes']:,}, with {each} samples each, {order}"


def _soft_labels(dataset: Dataset) -> list[tuple[str, str]]:
    soft = SoftLabelRate.of(dataset)
    return [] if soft is None else [("soft labels", soft_label_text(soft).removeprefix("soft labels: "))]


def _print(found: dict[str, Any], dataset: Dataset, show_all: bool) -> None:
    shape = " x ".join(map(str, found["shape"]))
    fields = [
        ("profile", f"{found['profile']}, format {found['format_version']}"),
        ("samples", f"{found['num_samples']:,} of {shape} (channels x height x width)"),
        ("classes", _classes(found)),
        *_soft_labels(dataset),
        ("value space", describe_space(dataset.header.space)),
        *_numbers(found),
        *((key, found[key]) for key in ("name", "source", "licence") if found[key]),
        *(("recipe" if i == 0 else "", f"{k} = {v}") for i, (k, v) in enumerate(found["recipe"].items())),
        ("file", f"{found['file_bytes']:,} bytes, digest {found['file_check']} (checked)"),
        ("sample digest", f"{found['sample_digest']} (rdd verify checks it)"),
    ]
    click.echo(click.style(shown(found["file"]), bold=True))
    print_fields(fields)
    _print_classes(found, show_all)
    _print_sections(found, show_all)


def _print_classes(found: dict[str, Any], show_all: bool) -> None:
    names, ids, counts = found["class_names"], found["class_ids"], found["class_counts"]
    if not names and not ids and min(counts) == max(counts):
        return
    columns = [("class", [str(i) for i in range(len(counts))])]
    columns += [("name", names)] if names else []
    columns += [("id", [str(i) for i in ids])] if ids else []
    columns += [("samples", [f"{count:,}" for count in counts])]
    rows = list(zip(*(values for _, values in columns), strict=True))
    click.echo()
    _limited_table([title for title, _ in columns], rows, show_all, left=2 if names else 1)


def _print_sections(found: dict[str, Any], show_all: bool) -> None:
    rows = [
        (s["name"], f"{s['offset']:,}", f"{s['bytes']:,}", str(s.get("class", "")), str(s.get("samples", "")))
        for s in found["sections"]
    ]
    click.echo()
    _limited_table(("section", "offset", "bytes", "class", "samples"), rows, show_all, left=1)


def _limited_table(header: Any, rows: list[Any], show_all: bool, *, left: int) -> None:
    visible = rows if show_all or len(rows) <= MAX_ROWS + 1 else rows[:MAX_ROWS]
    print_table(header, visible, left=left)
    if len(visible) < len(rows):
        click.echo(f"  ... {amount(len(rows) - len(visible), 'more row')} (--all)")


@click.command()
@click.argument("file", type=options.FILE)
@click.option("--all", "show_all", is_flag=True, help="Show every class and section.")
@options.limits
@options.common
def inspect(file: str, as_json: bool, show_all: bool, limits: Limits) -> None:
    """What is in FILE, without decoding it."""
    with options.about(file):
        dataset = rducodec.read(file, limits=limits)
    found = inspection(file, dataset)
    if as_json:
        print_json(found)
    else:
        _print(found, dataset, show_all)
