"""A headless Chromium for pictures and for the browser's tests; it calls nobody but the site. Needs selenium."""

import shutil
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

# Without a sandbox, since tests may run as root; the rest keeps Chromium from calling home.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class NoChromium(Exception):
    """It is not installed. Its text says what to install."""

    def __str__(self) -> str:
        return "no Chromium here: Debian's packages are chromium and chromium-driver"


def start_chromium(profile: Path, *flags: str) -> Chrome:
    """To be ended by `quit()`. `profile`: a new folder. Raises NoChromium."""
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver_binary = shutil.which("chromedriver")
    if binary is None or driver_binary is None:
        raise NoChromium
    options = ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return Chrome(options=options, service=Service(driver_binary))
