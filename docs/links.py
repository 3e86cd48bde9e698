"""Is every link of the built site alive, and does reading it fetch nothing from elsewhere?

python docs/links.py docs/_build/html
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {
    ("script", "src"),
    ("img", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("video", "src"),
    ("object", "data"),
}
"""Attributes whose address a browser opens by itself, besides <link> and url(...)."""

NAMED = {"canonical", "license", "next", "prev", "search", "index", "genindex"}
"""Kinds of <link> that a browser does not open by itself."""

IN_CSS = re.compile(r"(?:url\(|@import\s+(?!url))\s*['\"]?([^'\")\s;]+)")


class Page(HTMLParser):
    """What a page points to, what it fetches, and the places in it that can be pointed to."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.places: set[str] = set()
        self.nameless: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take a tag's addresses and its id."""
        found = {name: value or "" for name, value in attrs}
        self.places.update(found[name] for name in ("id", "name") if name in found)
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag == "link" and found.get("rel") not in NAMED:
            self.fetched.append(found.get("href", ""))
        words = {"img": "alt"}.get(tag, "aria-label" if found.get("role") == "img" else "")
        if words and not found.get(words):
            self.nameless.append(found.get("src", tag))
        self.fetched += [found[name] for kind, name in FETCHED if kind == tag and name in found]


def problems(site: Path) -> list[str]:
    """What is wrong with a site, a line each: dead links, what is fetched from elsewhere, pictures without words."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    wrong = []
    for path, page in pages.items():
        name = path.relative_to(site)
        for address in page.links + page.fetched:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                if address in page.fetched and parts.scheme != "data":
                    wrong.append(f"{name} fetches {address}")
                continue
            target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            if not target.exists():
                wrong.append(f"{name}: {address} leads nowhere")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places:
                wrong.append(f"{name}: {address} has no such place")
        wrong += [f"{name}: {picture} has no words for those who do not see it" for picture in page.nameless]
    for sheet in sorted(site.rglob("*.css")):
        for address in IN_CSS.findall(sheet.read_text(encoding="utf-8")):
            if urlsplit(address).netloc:
                wrong.append(f"{sheet.relative_to(site)} fetches {address}")
    return wrong


if __name__ == "__main__":
    sys.exit("\n".join(problems(Path(sys.argv[1]).resolve())) or 0)
