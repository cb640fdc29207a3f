"""One HTML document that stands alone: the head, style and policy that every page of ours has."""

from __future__ import annotations

import html
from pathlib import Path

_DOCUMENT = """<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}
</style>
{head}
</head>
<body>
<main>
{body}
</main>
{foot}
</body>
</html>
"""


def document(
    body: str, *, language: str, title: str, policy: str, style: str = "", head: str = "", foot: str = ""
) -> str:
    """A whole page around its body, in the project's style.

    Parameters
    ----------
    body, head, foot : HTML for the main part, the end of the head, and after the main part [-]
    language : of the page's words [-]
    title : in plain text [-]
    policy : what the browser may load, as a Content-Security-Policy [-]
    style : further rules, after those of ``page.css`` [-]

    Returns
    -------
    HTML [-]

    Examples
    --------
    >>> document("<p>1", language="en", title="a < b", policy="default-src 'none'").split("<title>")[1][:12]
    'a &lt; b</ti'
    """
    rules = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return _DOCUMENT.format(
        language=html.escape(language),
        policy=policy,
        title=html.escape(title),
        style=f"{rules}\n{style}" if style else rules,
        head=head,
        body=body,
        foot=foot,
    )
