"""The source of a user's function: its files, and their code without comments and layout.

The code identifies the density, because no finite set of points reveals a change far out.
"""

import ast
import io
import tokenize
from pathlib import Path

_LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
_LINE = {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}


def find_sources(module: Path) -> tuple[Path, ...]:
    """Find a module and the modules beside it that it imports, and these import."""
    files, waiting = [], [module]
    while waiting:
        file = waiting.pop(0)
        if file not in files:
            files.append(file)
            beside = (file.with_name(f"{name}.py") for name in _find_imports(file))
            waiting += sorted(path for path in beside if path.exists())
    return tuple(files)


def _find_imports(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def read_code(file: Path) -> str:
    """Read the words of the code, line by line, without comments, docstrings and empty lines."""
    lines, line = [], list[tuple[int, str]]()
    for token in tokenize.generate_tokens(io.StringIO(file.read_text()).readline):
        if token.type in _LINE:
            # a line that is a string and nothing else is a docstring
            if any(kind != tokenize.STRING for kind, _ in line):
                lines.append(" ".join(text for _, text in line))
            line = []
            if token.type != tokenize.NEWLINE:  # the begin and end of blocks, but no depth
                lines.append(tokenize.tok_name[token.type])
        elif token.type not in _LAYOUT:
            line.append((token.type, token.string))
    return "\n".join(lines)
