"""Reads an .ipynb file into cells with roles, and its `mlops_lab` settings. Nothing is ever written back to it.

`read` and `from_node` give a frozen `Notebook`; `pipeline.py` groups its cells into steps.
"""

from __future__ import annotations

import ast
import hashlib
import re
import warnings
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlops_lab import step_magic
from mlops_lab.errors import NotebookError, did_you_mean
from mlops_lab.imports import defer_grammar
from mlops_lab.roles import Role, TagRule, parse_tag
from mlops_lab.syntax import SyntaxIssue, is_ours, parse, trim, without_collector

if TYPE_CHECKING:
    from nbformat import NotebookNode


class KubeflowSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What only Kubeflow is asked for, of a step or (under the pipeline's settings) of all; kept under the key `kubeflow`.

    `gpu_type` is the resource that a GPU is asked for as; `secrets` and `config_maps` give environment variables as
    `NAME/KEY`, `volumes` mount path to volume claim; `files` are more paths beside the notebook that travel along. With
    `install` false, the image has all packages: nothing is installed when a step starts.
    """

    gpu_type: str | None = None
    secrets: dict[str, str] = {}
    config_maps: dict[str, str] = {}
    volumes: dict[str, str] = {}
    node_selector: dict[str, str] = {}
    tolerations: list[dict[str, str | int]] = []
    image_pull_secrets: list[str] = []
    files: list[str] = []
    install: bool | None = None


class StepSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a step asks of the machine that runs it; kept in the notebook's metadata under `mlops_lab.steps.NAME`.

    `cpu` in cores (`2`, `"500m"`), `memory` as Kubernetes writes it (`"4Gi"`), `timeout` in seconds for one attempt,
    `retries` after the first attempt, `env` name to value, `secrets` environment names to be taken from the target's
    secret store. `changes` and `uses` are what a run found the step to change and to need beyond what its code shows:
    variables, or states outside of variables (`@numpy.random`, `@matplotlib`, ...); see `mlops-lab run --learn`.
    """

    cpu: float | str | None = None
    memory: str | None = None
    gpu: int | str | None = None
    retries: int = 0
    timeout: float | None = None
    cache: bool = True
    image: str | None = None
    env: dict[str, str] = {}
    secrets: list[str] = []
    changes: list[str] = []
    uses: list[str] = []
    kubeflow: KubeflowSettings = KubeflowSettings()


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The notebook's `mlops_lab` metadata: the pipeline's name, description, experiment, requirements, image and steps.

    With `autolog`, steps call `mlflow.autolog()` where a run is tracked.
    """

    name: str | None = None
    description: str = ""
    experiment: str | None = None
    autolog: bool = False
    requirements: list[str] = []
    image: str | None = None
    kubeflow: KubeflowSettings = KubeflowSettings()
    steps: dict[str, StepSettings] = {}


@dataclass(frozen=True)
class Cell:
    """A code cell. `number` is the execution count that it has when the notebook is run from top to bottom."""

    index: int
    number: int
    id: str
    source: str
    tags: tuple[str, ...] = ()
    tree: ast.Module = field(default_factory=lambda: ast.Module([], []), compare=False, repr=False)
    syntax_issue: SyntaxIssue | None = None

    @cached_property
    def roles(self) -> tuple[tuple[TagRule, str], ...]:
        """The rules that this cell's tags follow, each with the name that the tag carries."""
        return tuple(found for tag in self.tags if (found := parse_tag(tag)))

    @cached_property
    def _kinds(self) -> tuple[Role, ...]:
        return tuple(rule.role for rule, _ in self.roles)

    def has(self, role: Role) -> bool:
        return role in self._kinds

    def names(self, role: Role) -> tuple[str, ...]:
        """The names carried by this cell's tags of one role, such as the steps of its `after:` tags."""
        return tuple(name for rule, name in self.roles if rule.role is role) if self.roles else ()

    @cached_property
    def in_pipeline(self) -> bool:
        return not self.has(Role.SKIP) and not is_ours(self.source)

    @cached_property
    def normalised(self) -> str:
        """The code without comments and formatting: equal for two cells that mean the same to Python."""
        return ast.dump(self.tree) if not self.syntax_issue else self.source


@dataclass(frozen=True)
class Notebook:
    """A notebook as read: its file, its node (as nbformat gives it), its non-empty code cells, its settings."""

    path: Path
    node: NotebookNode = field(repr=False)
    cells: tuple[Cell, ...]
    settings: Settings = Settings()

    @property
    def name(self) -> str:
        return self.settings.name or self.path.stem

    @property
    def folder(self) -> Path:
        """Where its cells run and where its relative paths begin."""
        return self.path.parent

    @property
    def kernel_name(self) -> str:
        return str(self.node.metadata.get("kernelspec", {}).get("name") or "python3")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the code and tags of its cells and of its settings; outputs and Markdown do not count."""
        content = [[cell.source, *cell.tags] for cell in self.cells]
        return hashlib.sha256(msgspec.json.encode([content, self.settings])).hexdigest()


def read(path: str | Path) -> Notebook:
    """Read a notebook file of nbformat 3 or 4 (any minor version), upgraded in memory.

    Raises `NotebookError` when the file is missing, is no notebook, is damaged, or isn't for a Python kernel.
    """
    defer_grammar()
    import nbformat

    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotebookError(f"{path}: there is no such file{_near(path)}.") from None
    except IsADirectoryError:
        raise NotebookError(f"{path} is a folder; name a notebook (.ipynb) in it.") from None
    except UnicodeDecodeError:
        raise NotebookError(f"{path} is not a notebook: it is not UTF-8 text. Save it as UTF-8.") from None
    except OSError as error:
        raise NotebookError(f"{path} can't be read: {error.strerror}.") from None
    try:
        raw = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        if path.suffix != ".ipynb":
            raise NotebookError(f"{path} is not a notebook; name a file that ends in .ipynb.") from None
        if re.search(r"^<{7} ", text, re.MULTILINE):
            raise NotebookError(
                f"{path} holds an unresolved merge conflict (<<<<<<<). Resolve it, for example with nbdime."
            ) from None
        hint = "it is empty" if not text.strip() else f"its JSON is damaged or cut short ({error})"
        raise NotebookError(f"{path} is not a notebook: {hint}. Restore it from a checkpoint or from git.") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("cells", raw.get("worksheets")), list):
        raise NotebookError(f"{path} is JSON but not a notebook: it has no list of cells.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # missing cell ids are no concern: we never write the file
            node = nbformat.reads(text, as_version=4)
    except Exception as error:  # nbformat raises many unrelated types for a malformed document
        raise NotebookError(f"{path} is not a valid notebook: {str(error).splitlines()[0]}") from None
    return from_node(node, path)


def _near(path: Path) -> str:
    """Which notebook beside a missing one was meant."""
    try:
        names = {each.stem: each.name for each in path.absolute().parent.glob("*.ipynb")}
    except OSError:
        return ""
    near = get_close_matches(path.stem, names, n=1, cutoff=0.7)
    return f" (did you mean {names[near[0]]!r}?)" if near else ""


@without_collector
def from_node(node: NotebookNode, path: str | Path) -> Notebook:
    """The notebook that a node holds, as if it had been read from `path`."""
    path = Path(path).absolute()
    _require_python(node, path)
    cells: list[Cell] = []
    written: dict[str, dict[str, Any]] = {}  # settings in the text of cells, by step
    for index, raw in enumerate(node.cells):
        if not isinstance(raw.get("source"), str) or "cell_type" not in raw:
            raise NotebookError(f"{path} is not a valid notebook: its cell {index + 1} has no source or no type.")
        if raw["cell_type"] != "code" or not raw["source"].strip():
            continue  # an empty cell runs nothing and takes no execution count
        source, line = step_magic.in_place(raw["source"])
        tree, issue = (ast.Module([], []), None) if is_ours(source) else parse(source)
        tags = tuple(str(tag) for tag in raw.metadata.get("tags", ()))
        if line is not None:
            try:
                added, settings = step_magic.parse(line, StepSettings)
            except ValueError as error:
                issue = SyntaxIssue(1, str(error))
            else:
                tags += tuple(tag for tag in added if tag not in tags)
                written.setdefault(added[0].removeprefix("step:"), {}).update(settings)
        cells.append(_cell(index, len(cells) + 1, raw.get("id") or f"cell-{index}", source, tags, tree, issue))
    trim(len(cells))
    return Notebook(path, node, tuple(cells), _settings(_merged(node.metadata.get("mlops_lab", {}), written), path))


def _cell(index: int, number: int, id: str, source: str, tags: tuple[str, ...], tree: ast.Module,
          issue: SyntaxIssue | None) -> Cell:  # fmt: skip
    """The cell; the same object as the last time, with the roles that it has found, where nothing of it has changed."""
    kept: Cell | None = tree.__dict__.get("_cell")
    said = index, number, id, tags, source, issue
    if kept and (kept.index, kept.number, kept.id, kept.tags, kept.source, kept.syntax_issue) == said:
        return kept
    tree.__dict__["_cell"] = cell = Cell(index, number, id, source, tags, tree, issue)
    return cell


def _merged(raw: Any, written: dict[str, dict[str, Any]]) -> Any:
    """The metadata with the settings that stand in cells, which win: they are what a reader sees."""
    steps = raw.get("steps", {}) if isinstance(raw, dict) else None
    if not isinstance(steps, dict) or not any(written.values()):
        return raw
    known = {name: {**step, **written.get(name, {})} for name, step in steps.items() if isinstance(step, dict)}
    return {**raw, "steps": {**steps, **{name: step for name, step in written.items() if step}, **known}}


def _require_python(node: NotebookNode, path: Path) -> None:
    spec, info = node.metadata.get("kernelspec", {}), node.metadata.get("language_info", {})
    language = spec.get("language") or info.get("name") or "python"
    if str(language).lower() not in {"python", "ipython"}:
        name = spec.get("display_name") or spec.get("name") or language
        raise NotebookError(f"{path} is for the kernel {name!r} ({language}); only Python notebooks can be pipelines.")


def _settings(raw: Any, path: Path) -> Settings:
    where = f"{path}: notebook metadata mlops_lab"
    if not isinstance(raw, dict):
        raise NotebookError(f"{where} must be an object, not {type(raw).__name__}.")
    _known_keys(raw, Settings, where)
    if isinstance(raw.get("kubeflow"), dict):
        _known_keys(raw["kubeflow"], KubeflowSettings, f"{where}.kubeflow")
    steps = raw.get("steps", {})
    for name, step in steps.items() if isinstance(steps, dict) else ():
        if isinstance(step, dict):
            _known_keys(step, StepSettings, f"{where}.steps.{name}")
            if isinstance(step.get("kubeflow"), dict):
                _known_keys(step["kubeflow"], KubeflowSettings, f"{where}.steps.{name}.kubeflow")
    try:
        return msgspec.convert(raw, Settings)
    except msgspec.ValidationError as error:
        raise NotebookError(f"{where}: {error}.") from None


def _known_keys(given: dict[str, Any], struct: type[msgspec.Struct], where: str) -> None:
    for key in given:
        if key not in struct.__struct_fields__:
            known = ", ".join(struct.__struct_fields__)
            raise NotebookError(f"{where}: unknown key {key!r}{did_you_mean(key, struct.__struct_fields__)}. Known: {known}.")
