"""The files that `startjob` writes: where each belongs, and what stands in it."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from string import Template

from django.conf import settings

import jobs_app

_TEMPLATES = Path(__file__).with_name("startjob")
_PROJECT = Path(jobs_app.__file__).resolve().parents[1]  # the folder of our own packages


@dataclass(frozen=True, slots=True)
class Home:
    """Where jobs are written: packages below `root`, by dotted names. `app`: None in this project's own folders."""

    root: Path
    callbacks: str
    actions: str
    clients: str
    tests: str
    app: str | None = None


def home_of_project() -> Home | None:
    """None where this project is installed as a package."""
    if Path(settings.BASE_DIR).resolve() != _PROJECT:
        return None
    return Home(_PROJECT, "jobs_app.callbacks", "requests_app.actions", "jobs_app.clients", "tests.jobs_app.callbacks")


def home_of_app(app: str) -> Home | None:
    """None where there is no such package."""
    try:
        spec = find_spec(app)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))).resolve()
    tests = app if (folder / "tests.py").exists() else f"{app}.tests"  # as `startapp` makes it
    return Home(folder.parents[app.count(".")], f"{app}.callbacks", f"{app}.actions", f"{app}.clients", tests, app)


@dataclass(frozen=True, slots=True)
class NewJob:
    name: str
    service: str | None
    home: Home

    @property
    def url_setting(self) -> str:
        return f"URL_{(self.service or '').upper()}"

    @property
    def callback_file(self) -> Path:
        return _file(self.home.callbacks, self.name)

    @property
    def test_file(self) -> Path:
        return _file(self.home.tests, f"test_{self.name}")

    def write(self) -> list[Path]:
        """All of them, relative to the folder that the app is in, or none. Raises FileExistsError, OSError."""
        texts = self._texts()
        packages = {path.parent / "__init__.py": "" for path in texts}
        texts |= {path: text for path, text in packages.items() if not (self.home.root / path).exists()}
        for path in texts:
            _refuse(self.home.root / path)
        for path, text in texts.items():
            (self.home.root / path).parent.mkdir(parents=True, exist_ok=True)
            with (self.home.root / path).open("x", encoding="utf-8") as file:
                file.write(text)
        return sorted(texts)

    def _texts(self) -> dict[Path, str]:
        kind = "service_" if self.service else ""
        callback = f"from {self.home.callbacks}.{self.name} import {self.name}"
        ours = [
            "from jobs_app.fields import integer",
            "from jobs_app.outcomes import JobContext, Json",
            "from jobs_app.registry import job",
        ]
        outcome = "Retry" if self.service else "Failure"
        names = ", ".join(sorted((outcome, "JobContext")))
        tested = [f"from jobs_app.outcomes import {names}", "import pytest", callback]
        if self.service:
            ours.append(f"from {self.home.clients}.{self.service} import service")
        texts = {
            self.callback_file: self._filled(f"{kind}callback", ours),
            _file(self.home.actions, self.name): self._filled("recipe"),
            self.test_file: self._filled(f"{kind}test", tested),
        }
        if self.service and not (self.home.root / (client := _file(self.home.clients, self.service))).exists():
            texts[client] = self._filled("client")
        return texts

    def _filled(self, template: str, imports: Iterable[str] = ()) -> str:
        return Template((_TEMPLATES / f"{template}.py-tpl").read_text()).substitute(
            name=self.name, service=self.service, url_setting=self.url_setting, imports=self._sorted(imports)
        )

    def _sorted(self, imports: Iterable[str]) -> str:
        """As ruff has them: other people's packages first. Ours are such, unless the app stands beside them."""
        own = {self.home.callbacks.partition(".")[0], *(("jobs_app",) if self.home.root == _PROJECT else ())}
        groups: tuple[list[str], list[str]] = ([], [])
        for line in sorted(imports, key=lambda line: (line.startswith("from "), line)):
            groups[line.split()[1].partition(".")[0] in own].append(line)
        return "\n\n".join("\n".join(group) for group in groups if group)


def _file(package: str, name: str) -> Path:
    return Path(*package.split("."), f"{name}.py")


def _refuse(path: Path) -> None:
    """What is there is never written over, nor hidden by a package of its name."""
    for taken in (path, path.parent.with_suffix(".py")):
        if taken.exists():
            raise FileExistsError(f"{taken} is there already: nothing was written")
