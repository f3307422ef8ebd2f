"""The files that `startjob` writes: where each belongs, and what stands in it."""

import re
import sysconfig
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

    @property
    def is_installed(self) -> bool:
        """Whether pip put it there, and takes away what is written into it."""
        return self.root == Path(sysconfig.get_path("purelib")).resolve()

    @property
    def is_ours(self) -> bool:
        """Whether this project's own packages stand beside it."""
        return self.root == _PROJECT


def is_ready_made() -> bool:
    """Whether the project is this one, and no other one that embeds it."""
    return Path(settings.BASE_DIR).resolve() == _PROJECT


def home_of_project() -> Home | None:
    """None where this project is installed as a package."""
    if not is_ready_made():
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
class Scaffold:
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
    def client_file(self) -> Path | None:
        return _file(self.home.clients, self.service) if self.service else None

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
        if self.client_file and self.client_file not in texts:
            _demand_service(self.home.root / self.client_file)
        for path, text in texts.items():
            (self.home.root / path).parent.mkdir(parents=True, exist_ok=True)
            with (self.home.root / path).open("x", encoding="utf-8") as file:
                file.write(text)
        return sorted(texts)

    def _texts(self) -> dict[Path, str]:
        kind = "service_" if self.service else ""
        ours = [
            "from jobs_app.fields import integer",
            "from jobs_app.outcomes import JobContext, Json",
            "from jobs_app.registry import job",
        ]
        tested = ["from tasker_testing.kit import Tasker"]
        if self.service:
            ours.append(f"from {self.home.clients}.{self.service} import service")
            tested.append("import pytest")
        texts = {
            self.callback_file: self._filled(f"{kind}callback", ours),
            _file(self.home.actions, self.name): self._filled("recipe"),
            self.test_file: self._filled(f"{kind}test", tested),
        }
        if self.client_file and not (self.home.root / self.client_file).exists():
            texts[self.client_file] = self._filled("client")
        return texts

    def _filled(self, template: str, imports: Iterable[str] = ()) -> str:
        return Template((_TEMPLATES / f"{template}.py-tpl").read_text()).substitute(
            name=self.name, service=self.service, url_setting=self.url_setting, imports=self._sorted(imports)
        )

    def _sorted(self, imports: Iterable[str]) -> str:
        """As ruff has them: other people's packages first. Ours are such, unless the app stands beside them."""
        ours = ("jobs_app", "tasker_testing") if self.home.is_ours else ()
        own = {self.home.callbacks.partition(".")[0], *ours}
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


def _demand_service(client: Path) -> None:
    """The callback imports it: as a client has it that `startjob` wrote."""
    if not re.search(r"^service = ", client.read_text(encoding="utf-8"), re.MULTILINE):
        raise FileExistsError(
            f"{client} is there already and has no `service = Service(...)`: add it, or give --service another name"
        )
