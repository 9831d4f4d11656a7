import pytest

from kg.errors import EmptyFileError, LimitExceededError
from kg.limits import LoadLimits
from tests.kg.loaders.conftest import picture_bytes
from tests.kg.loaders.seeds import PROSE, tex


def article(body, *, preamble=""):
    return rf"\documentclass{{article}}{preamble}\begin{{document}}{body}\end{{document}}".encode()


def test_article_gives_words_headings_lists_and_equations(load):
    document = load("tides.tex", tex())

    assert document.title == "Tides"
    assert document.metadata["author"] == "A. Holm"
    assert document.text == (
        f"Harbour\n\n{PROSE} See Figure fig:tide and [holm]. In $x \\in \\mathbb{{R}}$ we have (a, b).\n\n"
        "E = mc^2\n\n\\begin{align} a &= b \\\\ c &= d \\end{align}\n\nz = 1\n\nThe tide.\n\n"
        "Year | Pairs\n2019 | 1,184\n\nPairs\n\n- one\n\n- b: two\n\nx % y"
    )
    assert [(equation.source, equation.label) for equation in document.equations] == [
        (r"x \in \mathbb{R}", ""),
        ("E = mc^2", "eq:e"),
        (r"\begin{align} a &= b \\ c &= d \end{align}", ""),
        ("z = 1", ""),
    ]
    assert [(heading.level, heading.text) for heading in document.headings] == [(2, "Harbour")]


def test_accents_quotes_and_comments_become_what_a_reader_sees(load):
    body = "Caf\\'e ``quoted'' -- 50\\% % a comment\n% a whole line\nof \\emph{Stra\\ss e}~5, \\href{http://x.y}{here}."

    assert load("a.tex", article(body)).text == "Café “quoted” – 50% of Straße 5, here."


def test_figures_and_files_come_from_below_the_root_only(load, tmp_path):
    site = tmp_path / "paper"
    (site / "img").mkdir(parents=True)
    (site / "img" / "tide.png").write_bytes(picture_bytes())
    (tmp_path / "secret.png").write_bytes(picture_bytes(colour="blue"))
    (tmp_path / "secret.tex").write_text("secret words")
    (site / "part.tex").write_text(r"\section{Part}Included \input{part} words.")
    body = (
        r"\begin{figure}\includegraphics[width=3cm]{tide}\caption{The tide at \emph{Sark}.}\label{fig:tide}\end{figure}"
        r"As Figure~\ref{fig:tide} shows, it rose. \includegraphics{../secret.png}\includegraphics{/etc/passwd}"
        r"\input{part}\input{../secret}\input{none}"
    )
    data = article(body, preamble=r"\graphicspath{{img/}}")

    document = load("a.tex", data, source=str(site / "a.tex"), root=str(site))

    (asset,) = document.assets
    assert (asset.caption, asset.label) == ("The tide at Sark.", "fig:tide")
    assert [document.text[span.start : span.end] for span in asset.mentioned_at] == [
        "As Figure fig:tide shows, it rose."
    ]
    assert "Part\n\nIncluded words." in document.text
    assert "secret" not in document.text
    assert document.metadata["files_left_out"] == "1 repeated or nested too deeply, 1 unreadable, 1 unsafe_path"
    assert document.metadata["pictures_left_out"] == "1 unreadable, 1 unsafe_path"


def test_nothing_is_run(load, tmp_path):
    body = rf"Words \write18{{touch {tmp_path}/made}} \input|\"touch {tmp_path}/made\" \immediate\openout5=x."

    document = load("a.tex", article(body), source=str(tmp_path / "a.tex"), root=str(tmp_path))

    assert document.text.startswith("Words")
    assert list(tmp_path.iterdir()) == []


def test_macros_with_arguments_and_defaults_are_expanded(load):
    preamble = (
        r"\newcommand{\pair}[2][x]{(#1, #2)}\def\R{R}\DeclareMathOperator{\rank}{rank}\newcommand\loop{\loop\loop}"
    )

    assert load("a.tex", article(r"\pair{b} \pair[a]{b} \R2 $\rank A$", preamble=preamble)).text == (
        r"(x, b) (a, b) R2 $\operatorname{rank} A$"
    )


def test_macros_that_double_each_other_end_in_a_refusal(refusal):
    names = "abcdefghij"
    bomb = "".join(
        rf"\newcommand{{\m{name}}}{{" + rf"\m{before}" * 40 + "}"
        for before, name in zip(names, names[1:], strict=False)
    )

    assert isinstance(
        refusal("a.tex", article(r"\mj" * 50, preamble=rf"\newcommand{{\ma}}{{lol}}{bomb}")), LimitExceededError
    )


@pytest.mark.parametrize(
    "body",
    [
        r"\begin{figure}" * 3000,
        "{" * 20_000 + "x",
        r"\section{" * 5000,
        "$" * 20_001,
        r"\begin{itemize}\item " * 2000,
        r"\begin{equation} x",
        r"\emph{" * 300 + "x" + "}" * 300,
    ],
)
def test_unbalanced_and_deep_source_is_read_without_a_crash(load, body):
    assert load("a.tex", article(f"Words first. {body}")).text.startswith("Words first.")


def test_empty_truncated_and_large_sources(refusal, load):
    assert isinstance(refusal("a.tex", article("% nothing\n")), EmptyFileError)
    assert load("a.tex", tex()[:300]).title == "Tides"
    assert isinstance(refusal("a.tex", tex(), limits=LoadLimits(max_text_bytes=100)), LimitExceededError)


def test_a_table_in_a_float_keeps_its_cells_with_the_caption_that_follows_them(load):
    rows = r"\hline Year & Pairs \\ \hline 2023 & 1,184 \\ 2024 & 1,327 \\ \hline"
    said = r"\caption{Puffins at the point}\label{tab:puffins}"
    body = rf"Before.\begin{{table}}\begin{{tabular}}{{lr}}{rows}\end{{tabular}}{said}\end{{table}}After."
    (table,) = load("birds.tex", article(body)).tables

    assert (table.header, table.body) == (("Year", "Pairs"), (("2023", "1,184"), ("2024", "1,327")))
    assert (table.caption, table.label) == ("Puffins at the point", "tab:puffins")
    assert table.text.splitlines()[1:] == ["Year: 2023; Pairs: 1,184", "Year: 2024; Pairs: 1,327"]
