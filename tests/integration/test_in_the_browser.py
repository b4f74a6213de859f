"""What a compliance officer finds in the read-only UI of a release that was made, by looking and clicking alone."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from merajut_assets.lineage.graph import ColumnRef, Kind
from merajut_assets.marts.proof import whole_graph
from merajut_assets.privacy.steps import PrivacyStep
from resources.settings import REPOSITORY
from tests.integration.browser import executable, open_page, running

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.browser]

SECONDS_TO_SERVE = 300
MOST_CLICKS = 4


@pytest.fixture
def chromium() -> str:
    found = executable()
    if found is None:
        pytest.skip("no Chromium is installed here (package chromium)")
    return found


@pytest.fixture
def address(installation, tmp_path: Path) -> Iterator[str]:
    """Where the UI of the installation is served, as `make ui-readonly` serves it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = installation.lakehouse.settings
    environment = {
        **os.environ,
        "MERAJUT_DATA": str(settings.data_directory),
        "DAGSTER_HOME": str(settings.dagster_home),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "HOME": str(tmp_path),
    }
    program = str(Path(sys.executable).with_name("dagster-webserver"))
    command = [program, "--read-only", "--workspace", "workspace.yaml", "--host", "127.0.0.1", "--port", str(port)]
    with (
        (tmp_path / "server.log").open("wb") as log,
        running(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=subprocess.STDOUT) as server,
    ):
        deadline = time.monotonic() + SECONDS_TO_SERVE
        while not is_serving(port):
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"


def is_serving(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/server_info")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def test_where_a_press_figure_comes_from_is_found_in_four_clicks(chromium, address, tmp_path) -> None:
    """Lineage that takes a developer to read answers no question of an authority. From the first page on: the file
    that the press has, and on its page, of a figure, every source column and the privacy step on the way."""
    figure = ColumnRef("published/media", "campaign_metrics.campaign_amount")
    sources = [one for one in whole_graph().upstream(figure, kinds=[Kind.DIRECT]) if one.asset.startswith("source/")]
    assert sources
    with open_page(chromium, tmp_path / "profile") as page:
        page.open(address)
        page.click("Search")
        page.type("published media")
        page.click("published / media")
        page.click("[Show Markdown]")
        told = page.wait_for("computed from", figure.column + "\t")
        row = next(line for line in told.splitlines() if line.startswith(figure.column + "\t"))
        for source in sources:
            assert str(source) in row
        assert PrivacyStep.DISCLOSURE_CONTROL in row
        assert page.clicks <= MOST_CLICKS
