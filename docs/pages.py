"""Make the pages of the site from those of the repository, and check every link of the built site.

    python docs/pages.py make     # build/pages, of which zensical.toml makes the site
    python docs/pages.py check    # site/

On GitHub, the pages are whole as they lie there: their links lead to files. On the site, README.md
is the first page, a notebook becomes a page, and so does each other file that a page links, such as
an example. `- [`name`](file)` in docs/api becomes the documentation of that name, and what stands
in a comment `<!-- on the site: ... -->` is shown. If you delete a task, links to its files become
text.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
SHOWN = {".py": "python", ".yaml": "yaml", ".toml": "toml"}  # how to colour a file, by its ending
COPIED = {".svg", ".png", ".css"}
FENCED = re.compile(r"^(`{3,}).*?^\1$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<=\]\()[^)\s]+(?=\))")
OF_A_TASK = re.compile(r"\[([^\[\]]+)\]\(((?:\.\./)*(?:configs|src/seqmodels/tasks)/[^)\s]+)\)")
API = re.compile(r"^- \[`(seqmodels\.[\w.]+)`\]\(\S+\)$", re.MULTILINE)
ONLY_THERE = re.compile(r"^<!-- on the site:\n(.*?)^-->$", re.DOTALL | re.MULTILINE)
LEFT_OVER = re.compile(r"--8<--|::: seqmodels\S*|on the site:\n")


def make(root: Path, made: Path) -> None:
    """Writes each page of `root`, and each file that one of them links, as a page into `made`.

    Raises:
        FileNotFoundError: if a linked file is not there.
    """
    shutil.rmtree(made, ignore_errors=True)
    docs = root / "docs"
    todo = [root / "README.md", *docs.rglob("*.md"), *docs.rglob("*.ipynb"), *docs.glob("*.css")]
    seen = set(todo)
    for file in todo:  # which grows
        page = made / page_of(file.relative_to(root))
        page.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix in COPIED:
            shutil.copy(file, page)
            continue

        def on_the_site(link: re.Match[str], file: Path = file, page: Path = page) -> str:
            path, mark, anchor = link[0].partition("#")
            if not path or "://" in path:
                return link[0]
            linked = (file.parent / path).resolve(strict=True)
            if linked not in seen:
                seen.add(linked)
                todo.append(linked)
            there = made / page_of(linked.relative_to(root))
            return Path(os.path.relpath(there, page.parent)).as_posix() + mark + anchor

        def unless_deleted(link: re.Match[str], file: Path = file) -> str:
            return link[0] if (file.parent / link[2]).exists() else link[1]

        text = OF_A_TASK.sub(unless_deleted, markdown(file, file.relative_to(root)))
        if file.is_relative_to(docs / "api"):
            text = API.sub(r"::: \1\n", text)
        text = ONLY_THERE.sub(r"\1", text)
        page.write_text(outside_code(text, lambda part: LINK.sub(on_the_site, part)), "utf-8")


def page_of(file: Path) -> Path:
    """Where the site has a file of the repository; both relative to the top."""
    if file == Path("README.md"):
        return Path("index.md")
    place = Path(*file.parts[1:]) if file.parts[0] == "docs" else file
    if place.suffix in COPIED | {".md"}:
        return place
    return place.with_suffix(".md") if place.suffix == ".ipynb" else Path(f"{place}.md")


def markdown(file: Path, name: Path) -> str:
    """A page as it is, a notebook converted, any other file as a block of code under its name."""
    if file.suffix == ".ipynb":
        from nbconvert import MarkdownExporter  # takes a second

        return MarkdownExporter().from_filename(file)[0]
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        return text
    return f"# {name.as_posix()}\n\n````{SHOWN.get(file.suffix, 'text')}\n{text}````\n"


def outside_code(page: str, change: Callable[[str], str]) -> str:
    """The page, with everything changed but its blocks of code."""
    parts, end = [], 0
    for block in FENCED.finditer(page):
        parts += [change(page[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, change(page[end:])])


class _Page(HTMLParser):
    """What a page of HTML links, its anchors, and its text with comments."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = {""}
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        self.links += [values[name] for name in ("href", "src") if name in values]
        self.anchors |= {values[name] for name in ("id", "name") if name in values}

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.text += data


def dead(site: Path) -> Iterator[str]:
    """Each link of a built site that leads nowhere, and each line of Markdown left over."""
    pages = {file: _Page(file.read_text(encoding="utf-8")) for file in site.rglob("*.html")}
    for file, page in pages.items():
        where = file.relative_to(site)
        yield from (f"{where}: {left}" for left in LEFT_OVER.findall(page.text))
        for link in dict.fromkeys(page.links):
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            path = unquote(url.path)
            start = site if path.startswith("/") else file.parent
            target = Path(os.path.normpath(start / path.lstrip("/"))) if path else file
            target = target / "index.html" if target.is_dir() else target
            anchors = pages[target].anchors if target in pages else {url.fragment}
            if not target.is_file() or unquote(url.fragment) not in anchors:
                yield f"{where}: {link}"


if __name__ == "__main__":
    if sys.argv[1:] == ["make"]:
        make(ROOT, ROOT / "build" / "pages")
    elif sys.argv[1:] == ["check"]:
        if found := [*dead(ROOT / "site")]:
            sys.exit("\n".join(["dead links, or Markdown left over:", *found]))
    else:
        sys.exit(__doc__)
