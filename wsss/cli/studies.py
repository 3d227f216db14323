"""`studies …`: the study files that come along."""

from __future__ import annotations

import json
import shutil
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from wsss.cli.options import JsonOption
from wsss.errors import ConfigError, Problem, nearest

app = typer.Typer(
    help="The study files that come along: list them, or copy one to change it.", no_args_is_help=True
)
SUFFIX = ".yaml"


@app.command("list")
def list_studies(as_json: JsonOption = False) -> None:
    """List the study files that come along, with the question that each asks.

    python launch.py studies list
    """
    questions = {path.stem: _question(path) for path in shipped()}
    if as_json:
        print(json.dumps(questions, indent=1))
        return
    width = max(map(len, questions)) + 2
    columns = max(shutil.get_terminal_size().columns, width + 20)
    for name, question in questions.items():
        first, rest = f"{name:{width}}", " " * width
        print(textwrap.fill(question, columns, initial_indent=first, subsequent_indent=rest))


@app.command("copy")
def copy(
    name: Annotated[str, typer.Argument(help="One of the names that `studies list` prints.")],
    to: Annotated[
        Path | None, typer.Argument(help="File or folder to write (default: NAME.yaml here).")
    ] = None,
) -> None:
    """Write a study file that comes along, to be changed and run.

    python launch.py studies copy quickstart my.yaml && python launch.py run my.yaml
    """
    found = {path.stem: path for path in shipped()}
    source = found.get(name.removesuffix(SUFFIX))
    if source is None:
        raise ConfigError(Problem(name, "no such study comes along", nearest(name, found)))
    target = Path(name).with_suffix(SUFFIX) if to is None else to
    if target.is_dir():
        target = target / source.name
    if target.suffix not in (SUFFIX, ".yml"):
        raise ConfigError(
            Problem(str(target), "a study file's name ends in .yaml", f"say {target.name}{SUFFIX}")
        )
    try:
        with target.open("x", encoding="utf-8") as file:  # a changed copy is not written over
            file.write(source.read_text(encoding="utf-8"))
    except FileExistsError as error:
        raise ConfigError(Problem(str(target), "is there already", "name another file")) from error
    print(f"wrote {target}; `run {target}` runs it, `run {target} --smoke` tries it out")


def shipped() -> list[Path]:
    """Return the study files that come along, sorted by name: of the checkout, or of the installed package.

    Raises `ConfigError` where they are missing.
    """
    from importlib import metadata

    folder = Path(__file__).parents[2] / "tune_configs"
    found = sorted(folder.glob(f"*{SUFFIX}"))
    if not found:
        files = metadata.files("wsss") or ()
        found = sorted(
            (
                Path(str(one.locate()))
                for one in files
                if one.parent.name == folder.name and one.suffix == SUFFIX
            ),
            key=lambda path: path.name,
        )
    if not found:
        raise ConfigError(
            Problem(str(folder), "the study files that come along are not here", "install wsss again")
        )
    return found


def _question(path: Path) -> str:
    """Return the first line of a study file: a comment that ends in a question mark."""
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ").strip()
