"""`label PHOTOS -o MASKS`: from photos with image-level labels to masks, in one command."""

from __future__ import annotations

import json
import os
import shlex
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsss.cli.console import say
from wsss.cli.options import JsonOption, StorageOption
from wsss.cli.running.holder import say_who_runs_it
from wsss.errors import ConfigError, Problem
from wsss.launch.finding import storage_location

if TYPE_CHECKING:
    from wsss.config import Study
    from wsss.data.view import DataView
    from wsss.predict.labelling.doubt import Looked
    from wsss.predict.labelling.photos import Photos

STUDY, NOTES, REPORT = "study.yaml", "label.json", "report.html"
FORMATS = {"coco": ("COCO", "coco.json"), "labelme": ("LabelMe", "labelme"), "cvat": ("CVAT", "cvat.xml")}
"""What may be written besides: the option, what people call it, and the file or folder."""


class Quality(StrEnum):
    """How much time masks may take."""

    quick = "quick"
    good = "good"


def label(
    photos: Annotated[Path, typer.Argument(help="A folder of photos, with labels.csv.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="MASKS", help="Folder for the results.")],
    labels: Annotated[Path | None, typer.Option("--labels", help="Table of labels elsewhere.")] = None,
    quality: Annotated[Quality, typer.Option("--quality", help="How much time it may take.")] = Quality.quick,
    masks: Annotated[
        Path | None, typer.Option("--masks", help="Folder of masks that you drew: a handful helps much.")
    ] = None,
    coco: Annotated[bool, typer.Option("--coco", help="Write coco.json, too.")] = False,
    labelme: Annotated[bool, typer.Option("--labelme", help="Write labelme/, too.")] = False,
    cvat: Annotated[bool, typer.Option("--cvat", help="Write cvat.xml, too.")] = False,
    memory: Annotated[float, typer.Option("--memory", min=0.5, help="GiB that prediction may take.")] = 4.0,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make masks of photos from labels of whole photos: check, train, refine, predict, write.

    Photos that the table doesn't name get masks from the network. What was run is written as a study.

    python launch.py label photos -o masks

    python launch.py label photos -o masks --quality good --masks drawn --coco
    """
    from wsss.config import load_study_text
    from wsss.files import standing_file
    from wsss.predict.labelling.photos import absolute_path, find_photos
    from wsss.predict.labelling.recipe import check_same, recipe

    folder = absolute_path(output, "-o")
    location = storage_location(storage)
    if (file := standing_file(folder)) is not None:
        raise ConfigError(Problem("-o", f"{file} is a file, but must be a folder"))
    found = find_photos(photos, labels, masks)
    if folder == found.root or folder in found.root.parents:
        raise ConfigError(Problem("-o", f"{output} holds the photos", "name another folder for the results"))
    notes = _notes(folder)
    asked = recipe(found, quality.value, _command(photos, output, labels, quality, masks))
    if problem := check_same(folder / STUDY, asked.text, str(notes.get("study_text", ""))):
        hint = f"`run {folder / STUDY}` runs it; move it away, or name another -o, to begin anew"
        raise ConfigError(Problem(str(folder / STUDY), problem, hint))
    study = load_study_text(
        asked.text, source=str(folder / STUDY), base=folder, name=asked.name, storage=str(location)
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STUDY).write_text(asked.text, encoding="utf-8")
    wanted = [name for name, asked_for in zip(FORMATS, (coco, labelme, cvat), strict=True) if asked_for]
    data = _run(study, as_json)
    result = _write(study, folder, found, data, text=asked.text, formats=wanted, memory=memory, quiet=as_json)
    print(json.dumps(result, indent=1)) if as_json else _tell(result, output, found)


def _run(study: Study, as_json: bool) -> DataView:
    """Run the study in this process and return its data; leave with an exit code where it doesn't come to its
    end."""
    from wsss.cli.running.live import LiveTable, live_view
    from wsss.launch.execution import Taken, carry_out

    warnings.filterwarnings("ignore", module="ray|mlflow|torchvision")
    view = live_view(json=as_json)
    watched = isinstance(view, LiveTable)
    ended = carry_out(study, view, local=True, quiet=as_json, watched=watched)
    if isinstance(ended, Taken):
        say_who_runs_it(study, ended.holder, ended.uri, as_json, overtaken=ended.overtaken)
        sys.exit(130)
    if ended.outcome.interrupted:
        print("Interrupted. Nothing finished is lost: the same command goes on.", file=sys.stderr)
        sys.exit(130)
    if ended.outcome.failed:
        text = f"error: {study.name} failed, as is said above; the same command tries again"
        print(text, file=sys.stderr)
        sys.exit(1)
    return ended.data


def _command(photos: Path, output: Path, labels: Path | None, quality: Quality, masks: Path | None) -> str:
    words = ["label", str(photos), "-o", str(output)]
    words += ["--labels", str(labels)] if labels else []
    words += ["--quality", quality.value] if quality is not Quality.quick else []
    words += ["--masks", str(masks)] if masks else []
    return shlex.join(words)


def _notes(folder: Path) -> dict[str, Any]:
    from wsss.files import read_json

    found = read_json(folder / NOTES)
    return found if isinstance(found, dict) else {}


def _write(
    study: Study,
    folder: Path,
    photos: Photos,
    data: DataView,
    *,
    text: str,
    formats: list[str],
    memory: float,
    quiet: bool,
) -> dict[str, Any]:
    """Write all results; return what label.json says of them."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from wsss.errors import WsssError
    from wsss.files import write_json
    from wsss.predict.formats import write_coco, write_cvat, write_labelme
    from wsss.predict.labelling.collect import find_made, items, said_of, shares, stale, write_results
    from wsss.predict.labelling.doubt import mean_belief, worth_drawing
    from wsss.report.page import write_page
    from wsss.store.storage import open_storage

    made = find_made(open_storage(study.storage), study.name)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True, quiet=quiet), transient=True) as bar:
        task = bar.add_task("masks", total=None)
        looked = write_results(
            folder,
            photos,
            made,
            memory=memory,
            workers=os.cpu_count() or 1,
            report=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
        )
    labelled = items(folder, photos)
    writers = {"coco": write_coco, "labelme": write_labelme, "cvat": write_cvat}
    written = {name: FORMATS[name][1] for name in formats}
    for name, path in written.items():
        writers[name](folder / path, labelled, photos.classes)
    try:
        written["report"] = str(write_page(study.storage, [study.name], folder / REPORT).name)
    except (WsssError, OSError) as error:
        print(f"note: no report was written: {error}", file=sys.stderr)
    result = {
        "study": study.name,
        "trial": made.trial,
        "storage": str(study.storage),
        "classes": list(photos.classes),
        "photos": {"labelled": len(photos.labelled), "unlabelled": len(photos.unlabelled)},
        "drawn": list(photos.drawn),
        "files": written,
        "warnings": _warnings(study, data, [folder / "masks" / f"{id}.png" for id in photos.labelled]),
        "said": said_of(folder, photos, made),
        "shares": shares([item.mask for item in labelled], photos.classes),
        "mAP": made.mean_ap,
        "belief": mean_belief(looked) if looked else None,
        "worth_drawing": [photos.dataset.image_path(id).name for id in worth_drawing(looked)],
        "lost": {id: [photos.classes[key] for key in one.lost] for id, one in looked.items() if one.lost},
        "stale": [str(path) for path in stale(folder, photos)],
    }
    write_json(folder / NOTES, {**result, "study_text": text, "doubts": _doubts(looked)})
    return result


def _warnings(study: Study, data: DataView, masks: list[Path]) -> list[str]:
    """Return what speaks against the networks and the masks of photos with labels, and what to try next."""
    from wsss.masks.census import census_of
    from wsss.report.compare import compare
    from wsss.report.doubts import mask_doubts
    from wsss.report.study_doubts import examine

    examined = examine(compare(study.storage, [study.name]), study.storage, data)
    found = [f"{one.step}: {one.doubt}" for one in examined.doubts]
    found += [
        f"masks: {doubt}" for doubt in mask_doubts(census_of(masks, data.dataset.classes), "refinement")
    ]
    return list(dict.fromkeys(found))


def _doubts(looked: dict[str, Looked]) -> dict[str, float]:
    return {id: round(one.doubt, 3) for id, one in sorted(looked.items())}


def _tell(result: dict[str, Any], folder: Path, photos: Photos) -> None:
    """Print what was made, what speaks against it, and what to do next."""
    from wsss.predict.labelling.doubt import POOR

    count = len(photos.labelled) + len(photos.unlabelled)
    apart = f", of {len(photos.unlabelled)} of them without labels" * bool(photos.unlabelled)
    drawn = f"; {len(photos.drawn)} that you drew taught the rest" * bool(photos.drawn)
    print(f"Masks of {count} photos{apart}{drawn}: {folder / 'masks'}")
    print(f"Look at {folder / 'overview.jpg'} first, then into {folder / 'overlays'}.")
    for line in result["said"]:
        print(line)
    for line in result["warnings"]:
        say(f"warning: {line}")
    titles = {name: title for name, (title, _) in FORMATS.items()} | {"report": "Report"}
    for name, path in result["files"].items():
        print(f"{titles[name]}: {folder / path}")
    for line in result["stale"][:3]:
        print(f"warning: {line} is of no photo that was labelled: of an earlier call?")
    for id, names in list(result["lost"].items())[:5]:
        print(f"warning: {id} is said to show {', '.join(names)}, but its mask doesn't")
    belief = result["belief"]
    if belief is not None and belief < POOR:
        print(f"warning: the masks are poor: network and refinement agree to {100 * belief:.0f} % only.")
    if result["worth_drawing"]:
        better = (
            "25 drawn masks are worth more than all refinement" if not photos.drawn else "More would help"
        )
        print(f"{better}. Those of these photos would help most:")
        print(f"  {', '.join(result['worth_drawing'])}")
        print("Draw them as PNG (0 background, k the k-th line of classes.txt), and call again with --masks.")
    print(f"Study: {folder / STUDY}, to go deeper: change it, and `run` it.")
    words = ["predict", "PHOTOS", "--model", str(folder / "network.safetensors"), "--flip", "--crf"]
    print(f"More photos: {shlex.join([*words, '-o', 'more'])}")
