"""`predict IMAGE… --model REF`: a trained segmentation network on new photos."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from wsss.cli.console import say
from wsss.cli.options import JsonOption, StorageOption
from wsss.errors import ConfigError, PreflightError, Problem
from wsss.launch.finding import storage_location

if TYPE_CHECKING:
    from wsss.config.text.location import Location
    from wsss.predict.cam_model import CamModel
    from wsss.predict.predictor import Settings
    from wsss.predict.run import Summary
    from wsss.predict.trained.model import Model
    from wsss.predict.trained.reference import Source


class OverlayFormat(StrEnum):
    """How overlays are stored."""

    jpg = "jpg"
    png = "png"


def predict(
    images: Annotated[list[Path] | None, typer.Argument(help="Photos, or folders of them.")] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="A trial, an artefact key (6 characters do), models:/STUDY@champion, an MLflow run, a file.",
        ),
    ] = "",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for the results.")] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export", help="Write the network as a file of its own: .pt2, .onnx, or a folder for a hub."
        ),
    ] = None,
    scales: Annotated[
        str | None, typer.Option("--scales", help="As in 0.5,1,1.5 (default: those of the training).")
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Let the mirrored photo have a say.")] = False,
    crf: Annotated[bool, typer.Option("--crf", help="Refine masks with a dense CRF on the photo.")] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1.")] = "auto",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Most photos of one size at once.")] = 8,
    memory: Annotated[float, typer.Option("--memory", min=0.1, help="GiB that may be used.")] = 4.0,
    overlays: Annotated[
        OverlayFormat, typer.Option("--overlay", help="Format of overlays.")
    ] = OverlayFormat.jpg,
    force: Annotated[bool, typer.Option("--force", help="Replace results that are there.")] = False,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Segment new photos, which need no label: masks, overlays and areas.json.

    python launch.py predict holiday/*.jpg --model segment-baseline-000 -o masks

    python launch.py predict --model 3fa94c --export animals.pt2

    python launch.py predict --model 3fa94c --export animals-network
    """
    _check(images, model, output, export, device)
    from wsss.predict.photos import find_photos
    from wsss.predict.predictor import Settings
    from wsss.predict.trained.reference import find_source

    paths = find_photos(images or [])
    chosen = _scales(scales)
    location = storage_location(storage)
    source = find_source(model, location)
    loaded = source.load()
    exported = None
    if export is not None and export.suffix:
        exported = _export(loaded, export, force, quiet=as_json)
    elif export is not None:
        exported = _export_folder(source, loaded, location, export, force, quiet=as_json)
    if not paths or output is None:
        if as_json:
            print(json.dumps({"export": exported}, indent=1))
        return
    settings = Settings(
        chosen or loaded.scales,
        flip=flip,
        crf=crf,
        device=_device(device),
        batch=batch,
        memory=memory,
        workers=min(os.cpu_count() or 1, batch),
    )
    summary = _predict(loaded, paths, output, overlays, settings, force=force, quiet=as_json)
    if as_json:
        print(json.dumps(summary.areas, indent=1, sort_keys=True))
    else:
        again = f", {summary.kept} were there already" if summary.kept else ""
        print(f"Segmented {summary.done} photos{again}; results are in {output}")
    _say_what_masks_hold(summary, paths, output, loaded.classes, as_json)
    if summary.failed:
        print(f"error: {len(summary.failed)} photos could not be done:", file=sys.stderr)
        for problem in summary.failed:
            print(f"  {problem}", file=sys.stderr)
        sys.exit(1)


def _say_what_masks_hold(
    summary: Summary, paths: list[Path], folder: Path, classes: Sequence[str], as_json: bool
) -> None:
    """Print class shares and what speaks against the masks, beside JSON on stderr."""
    from wsss.predict.photos import name_photos
    from wsss.report.doubts import mask_lines

    done = summary.areas["photos"]
    masks = [folder / done[photo.name]["mask"] for photo in name_photos(paths) if photo.name in done]
    for line in mask_lines(masks, classes):
        if as_json:
            print(line, file=sys.stderr)
        else:
            say(line)


def _check(
    images: list[Path] | None, model: str, output: Path | None, export: Path | None, device: str
) -> None:
    from wsss.files import standing_file

    problems = []
    if not model:
        problems.append(Problem("--model", "is missing", "a trial, an artefact key, an MLflow run or a file"))
    if not images and export is None:
        problems.append(Problem("IMAGE", "there is nothing to do", "name photos, or --export FILE"))
    if images and output is None:
        problems.append(Problem("-o", "is missing", "the folder for masks, overlays and areas.json"))
    if output is not None and (file := standing_file(output)) is not None:
        problems.append(Problem("-o", f"{file} is a file, but must be a folder"))
    if device.partition(":")[0] not in ("auto", "cpu", "cuda"):
        problems.append(Problem("--device", f"is {device!r}, but must be auto, cpu, cuda or cuda:NUMBER"))
    if problems:
        raise ConfigError(problems)


def _scales(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        scales = tuple(float(word) for word in text.split(","))
    except ValueError:
        scales = ()
    if not scales or not all(0.1 <= scale <= 4 for scale in scales):
        raise ConfigError(
            Problem("--scales", f"is {text!r}, but must be numbers in [0.1, 4], as in 0.5,1,1.5")
        )
    return scales


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    number = name.partition(":")[2] or "0"
    if name.startswith("cuda") and not (number.isdigit() and int(number) < torch.cuda.device_count()):
        message = f"is {name!r}, but this machine has {torch.cuda.device_count()} GPUs that torch can use"
        raise PreflightError(Problem("--device", message))
    return name


def _export(model: Model | CamModel, path: Path, force: bool, *, quiet: bool) -> dict[str, object]:
    from wsss.predict.export import TOLERANCE, export_network

    found = export_network(model.segmentation_network, path, id=model.id, force=force)
    sizes = {f"{shape[3]}×{shape[2]}": value for shape, value in found.differences.items()}
    if not quiet:
        text = ", ".join(f"{value:.1e} at {size}" for size, value in sizes.items())
        print(f"Exported to {path}; its logits differ by {text} (allowed: {TOLERANCE:.0e})")
    return {"file": str(path), "largest_difference": found.largest, "differences": sizes}


def _export_folder(
    source: Source, model: Model | CamModel, location: Location, folder: Path, force: bool, *, quiet: bool
) -> dict[str, object]:
    from wsss.predict.export import CARD, export_folder
    from wsss.report.words.card import model_card

    if source.files is None or not model.segmentation_network:  # asking for it refuses a classifier alone
        raise ConfigError(Problem("--export", "needs a trained network, but --model is a program already"))
    card = model_card(folder.name, model.classes, source.record, location)
    export_folder(source.files, card, folder, force=force)
    if not quiet:
        print(f"Exported to {folder}: weights, classes, and a card to complete, {folder / CARD}")
    return {"folder": str(folder)}


def _predict(
    model: Model | CamModel,
    paths: list[Path],
    folder: Path,
    overlays: OverlayFormat,
    settings: Settings,
    *,
    force: bool,
    quiet: bool,
) -> Summary:
    from wsss.predict.output import Output
    from wsss.predict.photos import name_photos
    from wsss.predict.run import predict
    from wsss.predict.trained.registered import predictor_for

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    predictor = predictor_for(model, settings)
    columns = (TextColumn("segmenting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=Console(stderr=True, quiet=quiet), transient=True) as bar:
            task = bar.add_task("segment", total=len(paths))

            def report(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

            output = Output(folder, overlays.value)
            return predict(predictor, name_photos(paths), output, force=force, progress=report)
    finally:
        predictor.close()
