"""docs/RELIABILITY.md names tests that exist, a test a row."""

import ast
import re

ROW = re.compile(r"^\|.*\|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_test_that_the_page_names_exists(root):
    named = TEST.findall((root / "docs/RELIABILITY.md").read_text(encoding="utf-8"))
    assert named
    for file, name in named:
        tree = ast.parse((root / file).read_text(encoding="utf-8"))
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in defined, f"{file}::{name}"


def test_every_row_of_faults_names_its_test(root):
    """Tables whose last column is 'test' have a test, or the name of a longer run, in each row."""
    in_table = False
    rows = 0
    for line in (root / "docs/RELIABILITY.md").read_text(encoding="utf-8").splitlines():
        if not ROW.match(line):
            in_table = False
        elif line.rstrip("| ").endswith(" test"):
            in_table = True
        elif in_table and not line.startswith("|---"):
            proof = line.rstrip("| ").rsplit("|", 1)[-1]
            assert TEST.search(proof) or "`make " in proof, line
            rows += 1
    assert rows > 30
