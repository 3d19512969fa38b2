"""JupyterLab in a browser, by what a person has: keys, buttons, and what stands on the page."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import (
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
    WebDriverException,
)
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

CSS = By.CSS_SELECTOR
# The notebook that is in front; others stay in the page, hidden.
FRONT = ".jp-NotebookPanel:not(.lm-mod-hidden)"


def until(what: str, test: Callable[[], Any], seconds: float = 30, every: float = 0.1) -> Any:
    """The first true answer; an error that says what was waited for, if none comes."""
    end = time.monotonic() + seconds
    told: Exception | None = None
    while True:
        try:
            if answer := test():
                return answer
        except (
            NoSuchElementException,
            StaleElementReferenceException,
            ElementNotInteractableException,
        ) as error:
            told = error
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}") from told
        time.sleep(every)


class Lab:
    """A JupyterLab server of our own, ended with everything that it started."""

    def __init__(self, program: Path, folder: Path, environment: dict[str, str], log: Path) -> None:
        self.folder = folder
        self.token = secrets.token_hex(16)
        self._log = log.open("w")
        runtime = log.parent / "jupyter"
        self._process = subprocess.Popen(
            [
                str(program),
                "lab",
                "--no-browser",
                "--allow-root",
                "--ip=127.0.0.1",
                "--port=0",
                f"--ServerApp.root_dir={folder}",
                f"--IdentityProvider.token={self.token}",
            ],
            cwd=folder,
            env={
                **environment,
                "JUPYTER_RUNTIME_DIR": str(runtime / "run"),
                "JUPYTER_CONFIG_DIR": str(runtime / "config"),
                "IPYTHONDIR": str(runtime / "ipython"),
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._runtime = runtime / "run"
        try:
            self.url = until("JupyterLab answers", self._answer, 90)
        except AssertionError:
            self.end()
            raise AssertionError(f"JupyterLab didn't start:\n{log.read_text()}") from None

    def _answer(self) -> str:
        if self._process.poll() is not None:
            raise AssertionError("JupyterLab ended")
        for file in self._runtime.glob("jpserver-*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                url = json.loads(file.read_text())["url"]
                with urllib.request.urlopen(f"{url}api?token={self.token}", timeout=5):
                    return url
        return ""

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._log.close()


class Browser:
    """A browser with nobody's settings, in which the lab is open."""

    def __init__(self, lab: Lab, profile: Path, chromium: str, driver: str, size: str = "1400,900") -> None:
        self.lab = lab
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for argument in (
            "--headless=new",
            # Chromium's own sandbox doesn't run as root.
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--force-device-scale-factor=1",
            "--lang=en-US",
            f"--window-size={size}",
            f"--user-data-dir={profile}",
        ):
            options.add_argument(argument)
        service = webdriver.ChromeService(executable_path=driver)
        self.driver = webdriver.Chrome(options=options, service=service)
        width, height = map(int, size.split(","))
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    def end(self) -> None:
        with contextlib.suppress(WebDriverException):
            self.driver.quit()

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(CSS, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(CSS, selector)

    def keys(self, *keys: str) -> None:
        """Types; a key that is held (Shift, Control) is given before the one it is held for."""
        chain = ActionChains(self.driver)
        held: list[str] = []
        for key in keys:
            if key in (Keys.SHIFT, Keys.CONTROL):
                chain.key_down(key)
                held.append(key)
                continue
            chain.send_keys(key)
            while held:
                chain.key_up(held.pop())
        chain.perform()

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(path))

    def start(self) -> None:
        """Opens the lab, and answers its question whether it may fetch news."""
        self.driver.get(f"{self.lab.url}lab?token={self.lab.token}")
        until("JupyterLab is shown", lambda: self.all("#jp-MainMenu") and self.all(".jp-DirListing-item"), 90)
        with contextlib.suppress(AssertionError):
            until("the question", lambda: [e for e in self.all(".Toastify button") if e.text == "No"], 10)[
                0
            ].click()

    def rest(self) -> None:
        """Puts the mouse where nothing is shown for it."""
        ActionChains(self.driver).move_to_element(self.find("#jp-main-statusbar")).perform()
        time.sleep(0.5)

    def open(self, name: str, *states: str) -> Notebook:
        """Opens a notebook from the list of files, or brings it to the front; its kernel is started then."""

        def pressed() -> bool:
            for item in self.all(".jp-DirListing-item"):
                if name in (item.get_attribute("title") or "") and item.is_displayed():
                    ActionChains(self.driver).double_click(item).perform()
                    return True
            self.find('[data-command="filebrowser:refresh"]').click()
            return False

        until(f"{name} is in the list of files", pressed, every=1)
        notebook = Notebook(self, name)
        until(f"{name} is open", lambda: notebook.tab() == name and notebook.cells(), 90)
        until(f"{name} has a kernel", lambda: notebook.kernel() in (states or ("Idle",)), 90)
        return notebook

    def menu(self, *names: str) -> None:
        """Chooses from the menu bar, for example menu("Settings", "Theme", "JupyterLab Dark")."""
        bar = "#jp-MainMenu .lm-MenuBar-itemLabel"
        until(
            f"menu {names[0]}", lambda: next((e for e in self.all(bar) if e.text == names[0]), None)
        ).click()
        for name in names[1:]:
            item = until(
                f"menu entry {name}",
                lambda name=name: next(
                    (e for e in self.all(".lm-Menu .lm-Menu-item") if e.text.split("\n")[0] == name), None
                ),
            )
            ActionChains(self.driver).move_to_element(item).perform()
            item.click()
            time.sleep(0.3)


class Notebook:
    """The notebook in front."""

    def __init__(self, browser: Browser, name: str) -> None:
        self.browser = browser
        self.name = name

    def tab(self) -> str:
        return self.browser.find(".lm-TabBar-tab.jp-mod-current .lm-TabBar-tabLabel").text

    def kernel(self) -> str:
        """Idle, Busy and so on, as the dot beside the kernel's name tells."""
        element = self.browser.find(f"{FRONT} .jp-Notebook-ExecutionIndicator")
        return (element.get_attribute("data-status") or "").capitalize()

    def cells(self) -> list[WebElement]:
        return self.browser.all(f"{FRONT} .jp-Notebook .jp-Cell")

    def code(self, text: str) -> Cell:
        """The code cell that has this text as one of its lines, or as the beginning of one."""

        def found() -> Cell | None:
            lines = ((cell, cell.source().split("\n")) for cell in self.code_cells())
            return next((cell for cell, these in lines if any(line.startswith(text) for line in these)), None)

        # Cells out of sight get their text a moment later.
        return until(f"{self.name} has a cell with a line that begins with {text!r}", found)

    def button(self, command: str) -> None:
        """Presses a button of the notebook's toolbar."""
        self.browser.find(f'{FRONT} .jp-NotebookPanel-toolbar [data-command="{command}"]').click()

    def stop(self) -> None:
        """Presses ■."""
        self.button("notebook:interrupt-kernel")

    def run_all(self, seconds: float) -> None:
        """Run > Run All Cells, and waits for its end."""
        self.browser.menu("Run", "Run All Cells")
        time.sleep(0.5)
        until(
            "Run All Cells comes to its end",
            lambda: self.kernel() == "Idle" and not any(cell.running() for cell in self.code_cells()),
            seconds,
        )

    def code_cells(self) -> list[Cell]:
        return [
            Cell(self, index)
            for index, element in enumerate(self.cells())
            if "jp-CodeCell" in (element.get_attribute("class") or "")
        ]

    def errors(self) -> list[str]:
        """What stands in the cells' outputs as errors."""
        return [text for cell in self.code_cells() if (text := cell.error())]

    def save(self) -> None:
        self.button("docmanager:save")
        until(
            f"{self.name} is saved",
            lambda: (
                "jp-mod-dirty"
                not in self.browser.find(".lm-TabBar-tab.jp-mod-current").get_attribute("class")
            ),
        )


class Cell:
    """One cell of a notebook, by its place."""

    def __init__(self, notebook: Notebook, index: int) -> None:
        self.notebook = notebook
        self.browser = notebook.browser
        self.index = index

    @property
    def element(self) -> WebElement:
        return self.notebook.cells()[self.index]

    def _text(self, selector: str) -> str:
        script = """
            return Array.from(arguments[0].querySelectorAll(arguments[1])).map(e => e.innerText || e.textContent).join("\\n")
        """
        return self.browser.driver.execute_script(script, self.element, selector)

    def source(self) -> str:
        return self._text(".cm-line")

    def output(self) -> str:
        return self._text(".jp-OutputArea-output")

    def error(self) -> str:
        return self._text(
            '.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]'
        ) or self._text('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]')

    def prompt(self) -> str:
        return self._text(".jp-InputArea-prompt").strip()

    def running(self) -> bool:
        return self.prompt() == "[*]:"

    def scroll(self, block: str = "center") -> None:
        self.browser.driver.execute_script(
            "arguments[0].scrollIntoView({block: arguments[1]})", self.element, block
        )
        time.sleep(0.3)

    def select(self) -> None:
        """A click beside the cell's code: selected, in command mode."""
        self.scroll()
        self.element.find_element(CSS, ".jp-InputArea-prompt").click()

    def set(self, **parameters: str) -> None:
        """Double-clicks the values of these parameters and types other words over them."""
        self.scroll("start")
        for name, word in parameters.items():
            line = next(
                line
                for line in self.element.find_elements(CSS, ".cm-line")
                if line.text.startswith(f"{name} = ")
            )
            # The equals sign, the value, the comment; a name has no span of its own.
            value = [span for span in line.find_elements(CSS, "span") if span.text.strip()][1]
            quoted = value.text.startswith('"')
            ActionChains(self.browser.driver).double_click(value).perform()
            self.browser.keys(word, Keys.ESCAPE)
            wanted = f'{name} = "{word}" ' if quoted else f"{name} = {word} "
            until(
                f"{wanted}stands in the cell",
                lambda wanted=wanted: any(line.startswith(wanted) for line in self.source().split("\n")),
                5,
            )

    def start(self) -> None:
        """Shift+Enter."""
        before = self.prompt()
        self.select()
        self.browser.keys(Keys.SHIFT, Keys.ENTER)
        until("the cell is started", lambda: self.prompt() != before or self.prompt() == "[*]:", 10, 0.02)

    def wait(self, seconds: float = 60) -> Cell:
        until("the cell comes to its end", lambda: not self.running(), seconds)
        until("the kernel is idle", lambda: self.notebook.kernel() == "Idle", 20)
        return self

    def run(self, seconds: float = 60) -> str:
        """Shift+Enter and what it shows at its end."""
        self.start()
        return self.wait(seconds).output()
