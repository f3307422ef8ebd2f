"""A headless Chromium, and the site served for it by a real server. TASKER_SCREENSHOTS=folder keeps what it saw.

What a browser shows, and what the keyboard reaches, does not depend on the database: these tests run on SQLite alone.
What the pages read and change, tests/requests_app/admin tries on both.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from demo.chromium import NoChromium, start_chromium

PASSWORD = "seen once"
HEIGHT = 900
WAIT_SECONDS = 10
MOST_TABS = 80


class Browser:
    """What a test does with the site, as an operator would."""

    def __init__(self, driver: Chrome, address: str, screenshots: Path) -> None:
        self.driver, self._address, self._screenshots = driver, address, screenshots

    def open(self, path: str) -> None:
        self.driver.get(self._address + path)

    def log_in(self, name: str) -> None:
        self.open("/")
        self.find("#id_username").send_keys(name)
        self.find("#id_password").send_keys(PASSWORD)
        self.submit("input[type=submit]")

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        return [element.text for element in self.driver.find_elements(By.CSS_SELECTOR, selector)]

    def click(self, selector: str) -> None:
        self.find(selector).click()

    def follow(self, link: str) -> None:
        """By the link's text, until the next page is there."""
        self._leave_by(self.driver.find_element(By.LINK_TEXT, link))

    def submit(self, selector: str) -> None:
        self._leave_by(self.find(selector))

    def _leave_by(self, element: Any) -> None:
        self.driver.execute_script("window.isOld = true")
        element.click()
        is_new = "return window.isOld === undefined && document.readyState === 'complete'"
        # Between two pages the driver may find neither.
        wait = WebDriverWait(self.driver, WAIT_SECONDS, ignored_exceptions=[WebDriverException])
        wait.until(lambda driver: driver.execute_script(is_new))

    def press(self, key: str) -> None:
        ActionChains(self.driver).send_keys(key).perform()

    def tab_through(self, selector: str) -> list[int]:
        """Presses Tab until the last of these elements has the focus; the places in the page of those that had it."""
        find = "return [...document.querySelectorAll(arguments[0])].indexOf(document.activeElement)"
        last = len(self.driver.find_elements(By.CSS_SELECTOR, selector)) - 1
        places: list[int] = []
        for _ in range(MOST_TABS):
            self.press(Keys.TAB)
            if (place := self.driver.execute_script(find, selector)) >= 0:
                places.append(place)
            if place == last:
                break
        return places

    def wait_for(self, selector: str) -> None:
        """Until it is on the page."""
        wait = WebDriverWait(self.driver, WAIT_SECONDS, ignored_exceptions=[WebDriverException])
        wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, selector))

    def look(self, width: int, scheme: str) -> None:
        """As on a screen of this width (in CSS pixels), light or dark."""
        size = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def save_screenshot(self, name: str) -> None:
        self.driver.save_screenshot(str(self._screenshots / f"{name}.png"))

    def is_wider_than_the_screen(self) -> bool:
        script = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
        return bool(self.driver.execute_script(script))

    def complaints(self) -> list[str]:
        """What the console got since the last call: errors, warnings, missing files, refused styles."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="session")
def _driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    try:
        driver = start_chromium(tmp_path_factory.mktemp("chromium"))
    except NoChromium as fault:
        pytest.skip(str(fault))
    yield driver
    driver.quit()


@pytest.fixture
def browser(_driver: Chrome, live_server: Any, tmp_path: Path) -> Browser:
    screenshots = Path(os.environ.get("TASKER_SCREENSHOTS", tmp_path))
    _driver.delete_all_cookies()
    browser = Browser(_driver, live_server.url, screenshots)
    browser.complaints()  # of the test before
    return browser


@pytest.fixture
def operator(transactional_db: None) -> User:
    return User.objects.create_superuser("operator", password=PASSWORD)
