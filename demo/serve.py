"""`make run`: web, worker and, unless others are named, the demo's three services; until Ctrl-C or one of them ends."""

import os
import secrets
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from demo.services import Services, stop_event

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY_FILE = BASE_DIR / "var" / "secret_key"
OWN_SERVICES = [f"http://127.0.0.1:{port}" for port in (8101, 8102, 8103)]  # the local defaults of URL_SERVICE1..3
WEB_SECONDS = 30.0
PYTHON = sys.executable


class ServeError(Exception):
    """It cannot start or go on; the text says why."""


def main() -> int:
    os.chdir(BASE_DIR)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tasker_site.settings")
    stopped = stop_event()
    try:
        if settings.SECRET_KEY_IS_RANDOM:
            os.environ["DJANGO_SECRET_KEY_FILE"] = str(_secret_key_file())
        _must_be_free(settings.PORT, "the web pages", "PORT=8001 make run")
        _manage("migrate", "--verbosity", "0")
        password = _make_admin()
        with ExitStack() as running:
            _start_services(running)
            # Left in reverse: the worker hands its jobs back while web and services are still there.
            # On this machine only: what a container publishes is decided by whoever runs it, here nobody is asked.
            here = ("--bind", f"127.0.0.1:{settings.PORT}")
            config = ("-c", "deploy/gunicorn.conf.py")
            web = running.enter_context(_Child("web process", "gunicorn", *config, *here, "tasker_site.wsgi"))
            worker = running.enter_context(_Child("worker", "manage.py", "run_worker"))
            _wait_for_web(web)
            print(_welcome(password), flush=True)
            while not stopped.wait(0.2):
                for child in (web, worker):
                    child.must_run()
            print("\nending the worker, the web pages and the services", flush=True)
    except ImproperlyConfigured as fault:
        print(fault, file=sys.stderr)
        return 1
    except ServeError as error:
        print(f"make run: {error}", file=sys.stderr)
        return 1
    return 0


class _Child:
    """A process in a session of its own: Ctrl-C reaches us alone, and we end it in order."""

    def __init__(self, name: str, *command: str) -> None:
        self._name = name
        module = ["-m"] if not command[0].endswith(".py") else []
        self._process = subprocess.Popen([PYTHON, *module, *command], stdin=subprocess.DEVNULL, start_new_session=True)

    def __enter__(self) -> "_Child":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(settings.WRK_STOP_GRACE_SECONDS + 5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def must_run(self) -> None:
        if (code := self._process.poll()) is not None:
            raise ServeError(f"the {self._name} ended with exit code {code}; what it said stands above")


def _secret_key_file() -> Path:
    """Made once, readable by its owner only: the admin's sessions outlive a restart."""
    SECRET_KEY_FILE.parent.mkdir(exist_ok=True)
    if not SECRET_KEY_FILE.exists():
        with os.fdopen(os.open(SECRET_KEY_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(50))
    return SECRET_KEY_FILE


def _must_be_free(port: int, what: str, remedy: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ServeError(f"port {port}, for {what}: {error.strerror}. Another one: {remedy}") from error


def _manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        [PYTHON, "manage.py", *arguments], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if ended.returncode and "already taken" not in ended.stderr:
        # Of a traceback (a database that is away) the last line says it.
        said = ended.stderr.strip().splitlines()[-1:] if "Traceback" in ended.stderr else [ended.stderr]
        raise ServeError(f"manage.py {arguments[0]} failed: {''.join(said)}")
    return ended


def _make_admin() -> str | None:
    """The password of the new user `admin`, or None when there is one already."""
    password = secrets.token_urlsafe(12)
    made = _manage("createsuperuser", "--noinput", "--username=admin", "--email=", DJANGO_SUPERUSER_PASSWORD=password)
    return None if made.returncode else password


def _start_services(running: ExitStack) -> None:
    urls = [settings.URL_SERVICE1, settings.URL_SERVICE2, settings.URL_SERVICE3]
    if urls != OWN_SERVICES:
        return
    try:
        running.enter_context(Services(ports=[urlsplit(url).port or 0 for url in urls]))
    except OSError as error:
        raise ServeError(
            f"ports 8101 to 8103, for the services: {error.strerror}. Or name others in URL_SERVICE1..3"
        ) from error


def _wait_for_web(web: _Child) -> None:
    deadline = time.monotonic() + WEB_SECONDS
    while time.monotonic() < deadline:
        web.must_run()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", settings.PORT)) == 0:
                return
        time.sleep(0.05)
    raise ServeError(f"nothing answers on port {settings.PORT} after {WEB_SECONDS:.0f} s")


def _welcome(password: str | None) -> str:
    web = f"http://127.0.0.1:{settings.PORT}"
    said = f"{password}   (shown this once)" if password else "as the first start showed it"
    urls = [settings.URL_SERVICE1, settings.URL_SERVICE2, settings.URL_SERVICE3]
    return f"""
  admin      {web}/admin/   user admin, password {said}
             another password: .venv/bin/python manage.py changepassword admin
  probes     {web}/heartbeat   {web}/ready   {web}/metrics
  database   {settings.DATABASES["default"]["NAME"]}
  services   {" ".join(urls)}{"   (the demo's, users 1 to 20)" if urls == OWN_SERVICES else ""}

  Place a request from another terminal:
      .venv/bin/python manage.py submit_request delete_user --params '{{"id": 7}}' --wait

  Ctrl-C ends everything.
"""


if __name__ == "__main__":
    sys.exit(main())
