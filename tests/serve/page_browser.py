"""A headless browser on the web page, for the tests of it. Without a browser the test is skipped (exit code 77)."""
import shutil
import sys
import unittest

try:
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait
except ImportError:
    print("skipped: the Python package selenium is not installed")
    sys.exit(77)

BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
DRIVERS = ["chromedriver", "chromium-driver"]
WAIT_S = 20


def program(names):
    return next((path for path in map(shutil.which, names) if path), None)


if not program(BROWSERS) or not program(DRIVERS):
    print("skipped: there is no Chromium with its driver")
    sys.exit(77)


def open_browser():
    options = webdriver.ChromeOptions()
    options.binary_location = program(BROWSERS)
    for argument in ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,860"]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(program(DRIVERS)))


class BrowserTest(unittest.TestCase):
    url = ""

    @classmethod
    def setUpClass(cls):
        cls.browser = open_browser()
        cls.addClassCleanup(cls.browser.quit)

    def open(self, fragment=""):
        self.browser.get("about:blank")
        self.browser.get(self.url + "/" + fragment)

    def until(self, condition, message):
        return WebDriverWait(self.browser, WAIT_S, poll_frequency=0.05).until(lambda _: condition(), message)

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.find(selector).get_property("textContent")

    def ready(self):
        self.until(lambda: self.find("#model").get_property("value"), "the models are listed")

    def say(self, text):
        self.ready()
        self.find("#input").send_keys(text, Keys.ENTER)

    def replied(self, count=1):
        self.until(lambda: len(self.all(".message.assistant:not(.streaming)")) == count, "the reply is complete")

    def complaints(self, *expected):
        """What the browser's console says, without lines that contain one of the expected texts."""
        return [line["message"] for line in self.browser.get_log("browser")
                if line["level"] != "INFO" and not any(text in line["message"] for text in expected)]
