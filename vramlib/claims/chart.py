"""The claims in one picture: how much of what was asked lies inside each claim's own bounds."""

from __future__ import annotations

from collections.abc import Iterable

import altair as alt

from vramlib.claims import HOLDS, HOLDS_WHEN, MISCONCEPTION, SIGNS, Verdict, word
from vramlib.messages import names, retold, t
from vramlib.vega import GREY, page_wide

COLORS = {HOLDS: "#009E73", HOLDS_WHEN: "#56B4E9", MISCONCEPTION: "#D55E00"}


def shares(verdicts: Iterable[Verdict], language: str = "en", *, title: str = "") -> alt.LayerChart:
    """A bar for each claim: the share of models, cards or figures that lie inside its bounds.

    Parameters
    ----------
    verdicts : as ``claims.verdicts`` gives them [-]
    language : of its words, en or vi [-]
    title : what stands above [-]

    Returns
    -------
    A chart as wide as its page; a sign tells the verdict without colour [-]
    """
    rows = [
        {
            "claim": t(f"claimed.{v.claim['id']}", language),
            "share": 100 * v.decisive.share,
            "verdict": v.verdict,
            "sign": f"{SIGNS[v.verdict]} {v.decisive.share:.0%}".replace("%", " %"),
            "asked": retold("claim", v.decisive.condition, language),
        }
        for v in verdicts
    ]
    scale = alt.Scale(domain=list(COLORS), range=list(COLORS.values()))
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("claim:N", sort=None, axis=alt.Axis(title=None, labelLimit=190, ticks=False)),
        tooltip=[
            alt.Tooltip(f"{name}:N", title=shown)
            for name, shown in names("judged", ("claim", "verdict", "sign", "asked"), language).items()
        ],
    )
    scale_x = alt.Scale(domain=[0, 135], nice=False)
    axis = alt.X(
        "share:Q", title=t("judged.axis", language), scale=scale_x, axis=alt.Axis(values=[0, 25, 50, 75, 100])
    )
    legend = alt.Legend(title=None, orient="bottom", columns=1, labelExpr=_legend(language))
    bars = base.mark_bar().encode(x=axis, color=alt.Color("verdict:N", scale=scale, legend=legend))
    signs = base.mark_text(align="left", dx=4, color=GREY, fontSize=11).encode(x="share:Q", text="sign:N")
    words = ". ".join(f"{row['claim']}: {row['sign']}, {word(str(row['verdict']), language)}" for row in rows)
    heading = title or t("judged.title", language)
    return page_wide(alt.layer(bars, signs), heading, words, height=24 * len(rows))


def _legend(language: str) -> str:
    """The verdict's sign before its word, as a Vega expression."""
    signs = " : ".join(
        f"datum.label == '{verdict}' ? '{sign} {word(verdict, language)}'" for verdict, sign in SIGNS.items()
    )
    return f"{signs} : datum.label"
