"""The demo's page: the pictures and the table in one file that fetches nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from secagg.cli.demo.audiences import Baselines, percent
from secagg.cli.demo.federation import Federation
from secagg.cli.demo.pictures import Picture
from secagg.cli.demo.setting import NAMES

__all__ = ["page"]

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f3f5f7; color: #1b2430;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 20px; margin: 36px 0 12px; }
p { max-width: 75ch; margin: 0 0 12px; }
.pictures { display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); }
figure, .table { margin: 0; background: #fff; border: 1px solid #dfe3e8; border-radius: 8px; padding: 8px; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { padding: 4px 12px 8px; font-size: 14px; color: #46515d; overflow-wrap: anywhere; }
.curve { display: grid; gap: 16px; align-items: start; grid-template-columns: minmax(0, 1fr); }
@media (min-width: 900px) { .curve { grid-template-columns: minmax(0, 1.25fr) minmax(0, 1fr); } }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 3px 6px; text-align: right; white-space: nowrap; }
th { font-weight: 600; color: #46515d; border-bottom: 1px solid #1b2430; white-space: normal; }
tr.fewer td { background: #fff4e5; }
.note { border-left: 4px solid #2f6f9f; padding: 4px 0 4px 14px; }
code { font-size: 14px; overflow-wrap: anywhere; }
"""


def page(
    federation: Federation,
    baselines: Baselines,
    curve: Picture,
    pictures: Sequence[Picture],
    said: Sequence[str],
    caveat: str,
) -> str:
    """The whole HTML document. said: sentences on the killing; caveat: what this does not show."""
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>secagg demo</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>",
            "<h1>Five hospitals, one model, and a server that saw only sums</h1>",
            f"<p>{escape(curve.sentence)}</p>",
            "<h2>What the server held of one client</h2>",
            "<p>One round again, in which hospital-1 trained on a single image: the worst case. The bytes "
            "are those that reached the server, with masks and, for comparison, without, as no real round "
            "sends them.</p>",
            '<div class="pictures">',
            *(_figure(picture) for picture in pictures),
            "</div>",
            "<h2>The run</h2>",
            *(f"<p>{escape(sentence)}</p>" for sentence in said),
            '<div class="curve">',
            f"<figure>{curve.svg}</figure>",
            _table(federation, baselines),
            "</div>",
            "<h2>What this does not show</h2>",
            f'<p class="note">{escape(caveat)}</p>',
            "</main>\n</body>\n</html>\n",
        )
    )


def _figure(picture: Picture) -> str:
    return f"<figure>{picture.svg}<figcaption>{escape(picture.sentence)}</figcaption></figure>"


def _table(federation: Federation, baselines: Baselines) -> str:
    rows = []
    for closed, pooled, alone in zip(federation.rounds, baselines.pooled, baselines.alone, strict=True):
        kind = "" if closed.survivors == len(NAMES) else ' class="fewer"'
        cells = (
            str(closed.round),
            f"{closed.survivors} of {len(NAMES)}",
            percent(closed.accuracy),
            percent(pooled),
            percent(alone),
        )
        rows.append(f"<tr{kind}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    headings = ("round", "in the sum", "federated", "pooled data", "client alone")
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    return (
        f'<div class="table"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
