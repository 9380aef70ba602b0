"""A notebook, executed by a kernel: blocking verbs, a bare await, progress, a table, a drawn chain, an error."""

import json
import os
import pathlib
import sys

import nbclient
import nbformat
import pytest

import fanweave as fw

CELLS = {
    "chain": """
import fanweave as fw
from fanweave.testing import echo, sim

joke = fw.prompt("A joke about {{ topic }}.") | echo() | fw.text()
joke
""",
    "blocking": 'joke.invoke({"topic": "bears"})',
    "awaited": 'await joke.ainvoke({"topic": "cats"})',
    "nested": """
import nest_asyncio
nest_asyncio.apply()
joke.batch([{"topic": "a"}, {"topic": "b"}])
""",
    "table": """
import pandas as pd

provider = sim(latency=0.4)
model = fw.model("openai/gpt-5-mini", base_url=provider.url, api_key="any")
frame = pd.DataFrame({"product": ["tea", "socks", "kites"]})
fw.batch(frame, model=model, prompt="A shop for {{ product }}.", concurrency=1, progress=True)
""",
    "error": 'joke.invoke({"subject": "bears"})',
}


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The outputs of each cell."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS.values()])
    folder = tmp_path_factory.mktemp("notebook")
    kernel = folder / "kernels" / "here"
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    source = str(pathlib.Path(fw.__file__).parents[1])
    spec = {"argv": command, "display_name": "here", "language": "python", "env": {"PYTHONPATH": source}}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "JUPYTER_PATH", str(folder))
        patch.setitem(os.environ, "PYDEVD_DISABLE_FILE_VALIDATION", "1")
        client = nbclient.NotebookClient(notebook, timeout=50, kernel_name="here", allow_errors=True)
        client.execute()
    return {name: cell.outputs for name, cell in zip(CELLS, notebook.cells, strict=True)}


pytestmark = [
    pytest.mark.timeout(120),
    # Of the packages that run the kernel.
    pytest.mark.filterwarnings("ignore"),
]


def test_a_chain_is_drawn(cells):
    [output] = cells["chain"]
    assert output.data["text/vnd.mermaid"].startswith("flowchart")
    assert output.data["text/plain"].startswith("Chain(")


def test_blocking_and_awaited_verbs_answer_within_the_loop_of_the_kernel(cells):
    assert cells["blocking"][-1].data["text/plain"] == "'A joke about bears.'"
    assert cells["awaited"][-1].data["text/plain"] == "'A joke about cats.'"
    assert cells["nested"][-1].data["text/plain"] == "['A joke about a.', 'A joke about b.']"


def test_progress_is_one_output_that_is_updated_and_a_frame_is_a_table(cells):
    progress, table = cells["table"]
    assert progress.output_type == "display_data"
    assert progress.data["text/html"].startswith('<div><progress value="3" max="3"></progress> 3 of 3 rows')
    assert "<table" in table.data["text/html"]
    assert "answer" in table.data["text/html"]


def test_an_error_names_the_step_and_what_is_missing(cells):
    [output] = cells["error"]
    assert output.output_type == "error"
    assert output.ename == "InputError"
    assert "topic" in output.evalue
