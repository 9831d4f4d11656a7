"""One good file of each format, with headings, a table, a picture and mathematics where the format has them.

The fuzz recipe mutates these, so each maker returns the same bytes every time: no dates, no random boundaries. A new
format joins by one line in :data:`SEEDS`.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import Callable
from email.message import EmailMessage

import docx
from docx.oxml import parse_xml
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

from tests.kg.loaders.conftest import picture_bytes
from tests.kg.loaders.data_seeds import DATA_SEEDS
from tests.kg.loaders.more_seeds import MORE_SEEDS
from tests.kg.loaders.packing import dateless, dateless_zip, tar_bytes

__all__ = ["FORMATS", "SEEDS"]

PROSE = "The river rose in the spring, and the town moved its market to the hill. See Figure 1 for the tide of 2019."
_MATH = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'


def plain() -> bytes:
    return f"Notes of 2019\n\n{PROSE}\n- Größe 4,217 m\n- 日本語\n".encode()


def markdown() -> bytes:
    picture = base64.b64encode(picture_bytes()).decode()
    return (
        f"---\ntitle: Tides\n---\n# Harbour\n\n{PROSE} Energy $E=mc^2$.\n\n$$\n\\frac{{a}}{{b}}\n$$ (eq1)\n\n"
        f"![Box](data:image/png;base64,{picture})\n\nFigure 1: A box.\n\n| Year | Tide |\n|---|---|\n| 2019 | 5.2 |\n\n"
        "> quoted\n\n1. one\n2. two\n\n```\ncode 1\n```\n<p>inline <b>html</b></p>\n"
    ).encode()


def html() -> bytes:
    picture = base64.b64encode(picture_bytes()).decode()
    return (
        "<!doctype html><html><head><meta charset=utf-8><title>Tides</title></head><body><h1>Harbour</h1>"
        f"<p>{PROSE}</p>"
        "<table><caption>Table 1</caption><tr><th>Year</th><th colspan=2>Tide</th></tr><tr><td rowspan=2>2019</td>"
        f"<td>5</td><td>6</td></tr></table><figure id=f1><img src='data:image/png;base64,{picture}' alt=box>"
        "<figcaption>Figure 1: A box.</figcaption></figure><p>As <math><mfrac><mi>a</mi><mn>2</mn></mfrac></math> and "
        "\\(x_1\\).</p>"
        "<svg viewBox='0 0 200 100' width='200'><text x='10' y='20'>Tide 5</text><rect width='50' height='20'/></svg>"
        "<ul><li>one<ul><li>two</li></ul></li></ul><pre>a\n b</pre></body></html>"
    ).encode()


def pdf() -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(400, 600), pageCompression=0, invariant=1)
    for number in (1, 2):
        canvas.setFont("Helvetica", 16)
        canvas.drawString(50, 560, f"Chapter {number}")
        canvas.setFont("Helvetica", 10)
        for index, line in enumerate((PROSE[:60], PROSE[60:], "Year  Tide", "2019  5.2")):
            canvas.drawString(50, 530 - 12 * index, line)
        for index, height in enumerate((40, 90, 60)):
            canvas.rect(60 + 40 * index, 200, 25, height, fill=1)
        canvas.drawString(50, 180, "Figure 1: The tide by year.")
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def word() -> bytes:
    document = docx.Document()
    document.core_properties.title = "Tides"
    document.add_heading("Harbour", level=1)
    paragraph = document.add_paragraph(PROSE)
    paragraph._p.append(
        parse_xml(
            f"<m:oMath {_MATH}><m:f><m:num><m:r><m:t>a</m:t></m:r></m:num>"
            "<m:den><m:r><m:t>2</m:t></m:r></m:den></m:f></m:oMath>"
        )
    )
    table = document.add_table(rows=2, cols=2)
    for index, cell in enumerate(cell for row in table.rows for cell in row.cells):
        cell.text = f"c{index}"
    document.add_picture(io.BytesIO(picture_bytes()))
    document.add_paragraph("Figure 1: A box.", style="Caption")
    buffer = io.BytesIO()
    document.save(buffer)
    return dateless(buffer.getvalue())


def epub() -> bytes:
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
        "<dc:title>Sea Book</dc:title><dc:creator>A. Holm</dc:creator><dc:language>en</dc:language>"
        "<dc:date>2019</dc:date>"
        '</metadata><manifest><item id="n" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
        '<item id="b" href="b.xhtml" media-type="application/xhtml+xml"/><item id="a" href="a.xhtml" '
        'media-type="application/xhtml+xml"/><item id="p" href="img/x.png" media-type="image/png"/></manifest>'
        '<spine><itemref idref="n"/><itemref idref="b"/><itemref idref="a"/></spine></package>'
    )
    page = '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body>{}</body></html>'
    figure = '<figure><img src="img/x.png" alt="A box"/><figcaption>Figure 1. Box.</figcaption></figure>'
    table = "<table><tr><th>Year</th></tr><tr><td>2019</td></tr></table>"
    return dateless_zip(
        {
            "mimetype": b"application/epub+zip",
            "META-INF/container.xml": (
                b'<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
                b'<rootfile full-path="OEBPS/c.opf"/></rootfiles></container>'
            ),
            "OEBPS/c.opf": package.encode(),
            "OEBPS/nav.xhtml": page.format("<nav><a href='a.xhtml'>Two</a></nav>").encode(),
            "OEBPS/a.xhtml": page.format(f"<h1>Two</h1><p>{PROSE}</p>{figure}").encode(),
            "OEBPS/b.xhtml": page.format(f"<h1>One</h1><p>First words.</p>{table}").encode(),
            "OEBPS/img/x.png": picture_bytes(),
        }
    )


def mail() -> bytes:
    message = EmailMessage()
    message["From"] = "Ann Holm <ann@tides.example>"
    message["To"] = "Bob <bob@tides.example>, Cy <cy@tides.example>"
    message["Date"] = "Mon, 01 Jan 2024 10:00:00 +0000"
    message["Subject"] = "Tide tables für Sark"
    message["Message-ID"] = "<1@tides.example>"
    message.set_content(f"Dear Bob,\n\n{PROSE}\n\n> What was the tide?\n")
    message.add_alternative(f"<p>{PROSE} <img src='cid:p1'></p><blockquote>What?</blockquote>", subtype="html")
    message.get_payload()[1].add_related(picture_bytes(), "image", "png", cid="<p1>")
    message.add_attachment(b"year,tide\n2019,5\n", maintype="text", subtype="plain", filename="tides.txt")
    for number, part in enumerate(part for part in message.walk() if part.is_multipart()):
        part.set_boundary(f"part-{number}")
    return bytes(message)


def mbox() -> bytes:
    return b"".join(b"From ann@tides.example Mon Jan  1 10:00:00 2024\n" + mail() + b"\n" for _ in range(2))


def notebook() -> bytes:
    picture = base64.b64encode(picture_bytes()).decode()
    table = "<table><tr><th>a</th></tr><tr><td>1</td></tr></table>"
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Tides\n", f"{PROSE} $E=mc^2$"]},
        {
            "cell_type": "code",
            "execution_count": 1,
            "source": "plot(tide)",
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": ["2019 5.2\n", "2020 5.4\n"]},
                {"output_type": "display_data", "data": {"image/png": picture, "text/plain": "<Figure>"}},
                {"output_type": "execute_result", "data": {"text/html": table, "text/plain": "a 1"}},
                {"output_type": "error", "ename": "KeyError", "evalue": "2021", "traceback": []},
            ],
        },
    ]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {"title": "Tides"}, "cells": cells}).encode()


def tex() -> bytes:
    return (
        r"\documentclass{article}\newcommand{\R}{\mathbb{R}}\newcommand{\pair}[2]{(#1, #2)}\title{Tides}"
        r"\author{A. Holm}"
        r"\begin{document}\maketitle\section{Harbour} % comment" + f"\n{PROSE} "
        r"See Figure~\ref{fig:tide} and \cite{holm}. In $x \in \R$ we have \pair{a}{b}." + "\n\n"
        r"\begin{equation}\label{eq:e} E = mc^2 \end{equation}\begin{align} a &= b \\ c &= d \end{align}\[ z = 1 \]"
        r"\begin{figure}\includegraphics[width=3cm]{tide}\caption{The tide.}\label{fig:tide}\end{figure}"
        r"\begin{table}\caption{Pairs}\begin{tabular}{lr}\hline Year & Pairs \\ 2019 & 1{,}184 \\ \end{tabular}"
        r"\end{table}"
        r"\begin{itemize}\item one \item[b] two \end{itemize}\begin{verbatim} x % y \end{verbatim}\input{other}"
        r"\end{document}"
    ).encode()


def svg() -> bytes:
    picture = base64.b64encode(picture_bytes()).decode()
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="400" height="200" '
        'viewBox="0 0 400 200"><title>Tides</title><desc>Height by year</desc><style>text { fill: #000 }</style>'
        '<defs><linearGradient id="g"><stop offset="0" stop-color="red"/></linearGradient></defs>'
        '<g transform="translate(10,150) scale(1.5)"><text x="0" y="0" font-size="12">2019</text>'
        '<text x="100">2020</text></g><rect x="10" y="20" width="50" height="120" fill="url(#g)"/>'
        '<use xlink:href="#r"/><path id="r" d="M0 0 L10 10"/>'
        f'<image xlink:href="data:image/png;base64,{picture}" width="64" height="48"/></svg>'
    ).encode()


def frames(kind: str) -> bytes:
    pages = [Image.open(io.BytesIO(picture_bytes(colour=colour))).convert("RGB") for colour in ("red", "blue", "white")]
    buffer = io.BytesIO()
    pages[0].save(buffer, format=kind, save_all=True, append_images=pages[1:])
    return buffer.getvalue()


def tar() -> bytes:
    return tar_bytes({"a/notes.txt": plain(), "b/page.html": html(), "c/inner.zip": packed()})


def packed() -> bytes:
    return dateless_zip({"a/notes.txt": plain(), "guide.md": markdown(), "box.png": picture_bytes()})


SEEDS: dict[str, Callable[[], bytes]] = {
    "txt": plain,
    "md": markdown,
    "html": html,
    "pdf": pdf,
    "docx": word,
    "png": picture_bytes,
    "jpg": lambda: picture_bytes(kind="JPEG"),
    "webp": lambda: picture_bytes(kind="WEBP"),
    "bmp": lambda: picture_bytes(kind="BMP"),
    "gif": lambda: frames("GIF"),
    "tiff": lambda: frames("TIFF"),
    "svg": svg,
    "epub": epub,
    "eml": mail,
    "mbox": mbox,
    "ipynb": notebook,
    "tex": tex,
    "zip": packed,
    "tar": tar,
    "tar.gz": lambda: gzip.compress(tar(), mtime=0),
    **DATA_SEEDS,
    **MORE_SEEDS,
}
"""Makers of one good file, by the end of its name; a format may have several."""

FORMATS: dict[str, tuple[str, ...]] = {
    suffix: tuple(name for name in SEEDS if name.rpartition(".")[2] == suffix)
    for suffix in dict.fromkeys(name.rpartition(".")[2] for name in SEEDS)
}
"""The good files of each format, by its suffix; ``http`` stands for what a server sends."""
