"""What README shows runs as it stands there."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_python_example():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})


def test_commands_are_one_line_each():
    for marker in ("demo", "test"):
        block = re.search(rf"<!-- {marker} -->\n```sh\n(.*?)\n```\n<!-- end -->", README, re.DOTALL)
        assert block
        assert "\n" not in block[1]
        assert f'pip install ".[{marker}]"' in block[1]
