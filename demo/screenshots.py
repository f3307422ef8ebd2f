"""`make screenshots`: the README's pictures, docs/images/*.png, of a made-up day in a SQLite file of its own."""

import base64
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import django

BASE_DIR = Path(__file__).resolve().parent.parent
FOLDER = BASE_DIR / "var" / "demo"
os.environ |= {
    "DJANGO_SETTINGS_MODULE": "demo.settings",
    "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
    "WRK_SQLITE_FILE": str(FOLDER / "screenshots.sqlite3"),
}
django.setup()

from django.contrib.auth.models import User  # noqa: E402 - needs the settings
from django.core.management import call_command  # noqa: E402
from selenium.webdriver import Chrome  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

from demo.chromium import NoChromium, start_chromium  # noqa: E402
from demo.history import fill  # noqa: E402
from jobs_app.db.dialect import database_now  # noqa: E402

IMAGES = BASE_DIR / "docs" / "images"
WIDTH = 1280
HEIGHTS = {"overview": 1180, "request": 1030}
MOST_BYTES = 150_000
START_SECONDS = 30.0


def main() -> int:
    os.chdir(BASE_DIR)
    IMAGES.mkdir(parents=True, exist_ok=True)
    password = secrets.token_urlsafe(12)
    failed = _fresh_day(password)
    pages = {"overview": "/admin/", "request": f"/admin/requests_app/request/{failed}/change/"}
    try:
        with _web() as address, _browser() as browser:
            _log_in(browser, address, password)
            for name, path in pages.items():
                browser.get(address + path)
                _save(browser, name)
    except NoChromium as fault:
        print(fault, file=sys.stderr)
        return 1
    return 0


def _fresh_day(password: str) -> int:
    """Returns the id of the request that failed after retries."""
    for file in FOLDER.glob("screenshots.sqlite3*"):
        file.unlink()
    call_command("migrate", verbosity=0)
    User.objects.create_superuser("operator", password=password)
    return int(fill(database_now()).pk)


@contextmanager
def _web() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "--bind", f"127.0.0.1:{port}"]
    process = subprocess.Popen([*command, "tasker_site.wsgi"])
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing answers on port {port} after {START_SECONDS:.0f} s")


@contextmanager
def _browser() -> Iterator[Chrome]:
    with tempfile.TemporaryDirectory() as profile:
        browser = start_chromium(Path(profile), "--disable-lcd-text", "--hide-scrollbars")
        size = {"width": WIDTH, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        try:
            yield browser
        finally:
            browser.quit()


def _log_in(browser: Chrome, address: str, password: str) -> None:
    browser.get(f"{address}/admin/login/?next=/admin/")
    browser.find_element(By.ID, "id_username").send_keys("operator")
    browser.find_element(By.ID, "id_password").send_keys(password + "\n")


def _save(browser: Chrome, name: str) -> None:
    """The upper part of the page; what it shows of values is masked."""
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHTS[name], "scale": 1}
    picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    content = base64.b64decode(picture["data"])
    if len(content) > MOST_BYTES:
        raise SystemExit(f"{name}: {len(content)} bytes are too many for a README")
    file = IMAGES / f"{name}.png"
    file.write_bytes(content)
    print(f"{file.relative_to(BASE_DIR)}: {len(content) // 1000} kB")


if __name__ == "__main__":
    sys.exit(main())
