"""What a notebook shows as Markdown or HTML has no text of a configuration in it that is obeyed."""

import ast

import pytest

from lib.experiments import notebooks

SOURCES = sorted(notebooks.NOTEBOOKS.glob("*.py"))
SHOWN = ("Markdown", "HTML")


def loose(source: str) -> list[str]:
    """What is put into marked-up text as it stands, unless a table or `escape` made it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        shown = isinstance(node, ast.Call) and getattr(node.func, "id", "") in SHOWN
        bold = isinstance(node, ast.JoinedStr) and "**" in ast.unparse(node)
        for part in ast.walk(node) if shown or bold else ():
            if isinstance(part, ast.FormattedValue):
                said = ast.unparse(part.value)
                if not said.startswith(("escape(", "results.markdown_table(")) and said != "table":
                    found.append(said)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_text_is_escaped_where_markdown_is_made(path):
    # `where` is a fixed reference to a paper's repository
    assert set(loose(path.read_text())) <= {"where"}


def test_what_is_not_escaped_is_found():
    assert loose('Markdown(f"`{film.name}`")') == ["film.name"]
    assert loose('HTML(f"<b>{escape(title)}</b>{run.name}")') == ["run.name"]
    assert loose('Markdown(f"**{escape(title)}**\\n\\n{table}")') == []
