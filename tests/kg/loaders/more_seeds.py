"""More good files of the formats in :mod:`tests.kg.loaders.seeds`: what one small file cannot show."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable
from datetime import date
from email.message import EmailMessage

import docx
import openpyxl
import pptx
from openpyxl.chart import BarChart, Reference
from openpyxl.comments import Comment
from openpyxl.drawing.image import Image as SheetImage
from PIL import Image
from pptx.chart.data import CategoryChartData, XyChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from tests.kg.loaders.conftest import picture_bytes
from tests.kg.loaders.packing import dateless, dateless_zip

__all__ = ["MORE_SEEDS"]

_WORDS = "The harbour of Sark was widened in 1889, and Ann Holm kept its tide tables for the Channel Pilots."


def _picture(mode: str, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image = Image.open(io.BytesIO(picture_bytes(size=(120, 90)))).convert(mode)
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def _turned_jpeg() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "Tide pole"
    return _picture("CMYK", "JPEG", exif=exif.tobytes(), progressive=True)


def _animation() -> bytes:
    frames = [Image.new("RGBA", (64, 48), colour) for colour in ("red", "blue", "white")]
    buffer = io.BytesIO()
    frames[0].save(buffer, format="WEBP", save_all=True, append_images=frames[1:], duration=100)
    return buffer.getvalue()


def ruled_pdf() -> bytes:
    """A table with rules, one without, a picture, a bookmark and a turned page, in compressed streams."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(400, 500), pageCompression=1, invariant=1)
    canvas.bookmarkPage("one")
    canvas.addOutlineEntry("Fleet", "one")
    canvas.setFont("Helvetica-Bold", 14)
    canvas.drawString(40, 470, "The fleet of Sark")
    canvas.setFont("Helvetica", 9)
    canvas.drawString(40, 450, _WORDS)
    canvas.drawString(40, 435, "Table 1: Ships and seats")
    canvas.grid([40, 140, 240, 340], [420, 400, 380, 360])
    rows = (("Ship", "Seats", "Year"), ("Kestrel", "180", "2019"), ("Petrel", "1,264", "2020"))
    for row, cells in enumerate(rows):
        for column, words in enumerate(cells):
            canvas.drawString(45 + 100 * column, 406 - 20 * row, words)
            canvas.drawString(45 + 90 * column, 320 - 14 * row, words)
    canvas.drawImage(ImageReader(io.BytesIO(picture_bytes(size=(160, 120)))), 60, 120, width=160, height=120)
    canvas.drawString(60, 105, "Figure 2: The red house.")
    canvas.linkURL("https://tides.example", (40, 40, 100, 60))
    canvas.showPage()
    canvas.setPageRotation(90)
    canvas.drawString(40, 400, _WORDS)
    canvas.saveState()
    canvas.translate(100, 100)
    canvas.rotate(30)
    canvas.drawString(0, 0, "Turned words")
    canvas.restoreState()
    canvas.linearGradient(0, 0, 100, 100, ("red", "blue"))
    canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def scanned_pdf() -> bytes:
    """Two pages that are pictures only."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(200, 150), pageCompression=1, invariant=1)
    for colour in ("white", "yellow"):
        page = ImageReader(io.BytesIO(picture_bytes(size=(200, 150), colour=colour)))
        canvas.drawImage(page, 0, 0, width=200, height=150)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def merged_word() -> bytes:
    """Merged cells, a table in a cell, lists, a header row, properties."""
    document = docx.Document()
    document.core_properties.author = "Ann Holm"
    document.add_heading("Fleet", level=0)
    for style in ("List Bullet", "List Number", "Intense Quote"):
        document.add_paragraph(_WORDS, style=style)
    document.add_paragraph("Table 1: Ships", style="Caption")
    table = document.add_table(rows=4, cols=3)
    for index, cell in enumerate(cell for row in table.rows for cell in row.cells):
        cell.text = f"c{index}"
    table.cell(0, 0).merge(table.cell(0, 2))
    table.cell(1, 0).merge(table.cell(3, 0))
    table.cell(2, 2).add_table(rows=2, cols=2).cell(0, 0).text = "inner"
    document.add_page_break()
    document.add_heading("Berths", level=2)
    document.add_paragraph("A\ttab and a\nline.")
    buffer = io.BytesIO()
    document.save(buffer)
    return dateless(buffer.getvalue())


def rich_workbook() -> bytes:
    """Two tables on one sheet, dates, merged cells, a comment, a picture, a chart, a second sheet."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Ships & tides"
    rows = (
        ["Ship", "Built", "Share", "Seats"],
        ["Kestrel", date(2019, 5, 1), 0.25, 1180],
        ["Petrel", None, -3.5, True],
    )
    for row in rows:
        sheet.append(row)
    for cell, number_format in (("B2", "yyyy-mm-dd"), ("C2", "0.0%"), ("C3", "#,##0.00;[Red]-0.0"), ("D2", "# ?/?")):
        sheet[cell].number_format = number_format
    sheet["A8"], sheet["B8"], sheet["A9"], sheet["B9"] = "Port", "Berths", "Aldis", "=SUM(D2:D3)"
    sheet.merge_cells("A11:C12")
    sheet["A11"] = "Merged words"
    sheet["A2"].comment = Comment("Sold in 2021", "Ann")
    sheet.add_image(SheetImage(io.BytesIO(picture_bytes())), "F2")
    chart = BarChart()
    chart.add_data(Reference(sheet, min_col=4, min_row=1, max_row=3), titles_from_data=True)
    sheet.add_chart(chart, "F10")
    other = book.create_sheet("Crew")
    other.append(["Name", "Ship"])
    other.append(["Ann Holm", "Kestrel"])
    buffer = io.BytesIO()
    book.save(buffer)
    return dateless(buffer.getvalue())


def rich_slides() -> bytes:
    """A picture, a group, text in levels, a pie and a scatter chart, a hidden slide."""
    show = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[1])
    slide.shapes.title.text = "Fleet"
    slide.placeholders[1].text = "One\nTwo\nThree"
    slide.shapes.add_picture(io.BytesIO(picture_bytes()), Inches(1), Inches(1))
    group = slide.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = "In a group"
    slide = show.slides.add_slide(show.slide_layouts[6])
    slide.element.set("show", "0")
    pie = CategoryChartData()
    pie.categories = ["Kestrel", "Petrel"]
    pie.add_series("Seats", (180, None))
    slide.shapes.add_chart(XL_CHART_TYPE.PIE, 0, 0, Inches(3), Inches(3), pie)
    points = XyChartData()
    series = points.add_series("Tide")
    series.add_data_point(1.5, 5.25)
    series.add_data_point(2.5, -1)
    slide.shapes.add_chart(XL_CHART_TYPE.XY_SCATTER, 0, 0, Inches(3), Inches(3), points)
    buffer = io.BytesIO()
    show.save(buffer)
    return dateless(buffer.getvalue())


def old_epub() -> bytes:
    """EPUB 2: a table of contents in NCX, a scrambled font, a page that is a drawing."""
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        "<metadata><dc:title>Tides</dc:title></metadata><manifest>"
        '<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>'
        '<item id="a" href="text/a%20b.html" media-type="text/html"/>'
        '<item id="s" href="s.svg" media-type="image/svg+xml"/></manifest>'
        '<spine toc="ncx"><itemref idref="a"/><itemref idref="s"/></spine></package>'
    )
    font = (
        '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><EncryptedData '
        'xmlns="http://www.w3.org/2001/04/xmlenc#"><EncryptionMethod '
        'Algorithm="http://www.idpf.org/2008/embedding"/></EncryptedData></encryption>'
    )
    container = '<container><rootfiles><rootfile full-path="content.opf"/></rootfiles></container>'
    drawing = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 90 90"><text x="5" y="20">High water</text></svg>'
    return dateless_zip(
        {
            "mimetype": b"application/epub+zip",
            "META-INF/container.xml": container.encode(),
            "META-INF/encryption.xml": font.encode(),
            "content.opf": package.encode(),
            "toc.ncx": b"<ncx><navMap/></ncx>",
            "text/a b.html": f"<h2>One</h2><p>{_WORDS}</p><ol><li>a<li>b</ol>".encode("utf-16"),
            "s.svg": drawing.encode(),
        }
    )


def nested_html() -> bytes:
    """Mathematics for a script, tables in tables, a head of columns, hidden parts; in Latin-1."""
    return (
        "<html><head><meta http-equiv=Content-Type content='text/html; charset=iso-8859-1'>"
        "<script src=mathjax.js></script></head><body><h1>H\xf6he</h1><div style='display:none'>hidden</div>"
        f"<p>{_WORDS} Let $a_1$ be \\(b\\). $$\\frac{{a}}{{b}} \\tag{{1}}$$</p><script type='math/tex; mode=display'>"
        "x^2</script><math display=block><msup><mi>x</mi><mn>2</mn></msup><mtable><mtr><mtd><mi>y</mi></mtd></mtr>"
        "</mtable></math><table><thead><tr><th>Year<th>Tide</thead><tbody><tr><td rowspan=2>2019<td>5,2<tr><td>6"
        "</tbody></table><table><tr><td>a<table><tr><td>inner</table><td>b</table><dl><dt>t<dd>d</dl>"
        "<blockquote>quoted<blockquote>twice</blockquote></blockquote><img src=../x.png alt='a box'>"
    ).encode("latin-1")


def old_notebook() -> bytes:
    """Format 3: worksheets, headings, outputs under their old names."""
    picture = base64.b64encode(picture_bytes()).decode()
    drawing = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 90 90'><text x='5' y='20'>Tide</text></svg>"
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Tides"]},
        {"cell_type": "markdown", "source": "![b](attachment:b.png)", "attachments": {"b.png": {"image/png": picture}}},
        {
            "cell_type": "code",
            "input": ["print(1)\n"],
            "outputs": [
                {"output_type": "pyout", "png": picture, "text": ["<Figure>"]},
                {"output_type": "display_data", "svg": [drawing]},
                {"output_type": "pyout", "latex": ["$$x^2$$"]},
                {"output_type": "stream", "text": "10%\r20%\r\x1b[1mdone\x1b[0m\n"},
            ],
        },
        {"cell_type": "raw", "source": _WORDS},
    ]
    book = {"metadata": {"name": "Tides"}, "nbformat": 3, "worksheets": [{"cells": cells}]}
    return json.dumps(book).encode()


def forwarded_mail() -> bytes:
    """A message in a message, an archive and a calendar attached, headers in several encodings."""
    inner = EmailMessage()
    inner["From"] = "Bob <bob@tides.example>"
    inner["Subject"] = "=?iso-8859-1?q?H=F6he?="
    inner.set_content(_WORDS, charset="iso-8859-1", cte="quoted-printable")
    message = EmailMessage()
    message["From"] = "ann@tides.example"
    message["To"] = "undisclosed-recipients:;"
    message["Date"] = "Tue, 02 Jan 2024 10:00:00 +0100"
    message["Subject"] = "Fwd: Höhe 東京 " + "long " * 40
    message["MIME-Version"] = "1.0"
    message.set_content(_WORDS, cte="base64")
    message.add_attachment(inner)
    archive = dateless_zip({"a.txt": _WORDS.encode(), "b.csv": b"a,b\n1,2\n"})
    message.add_attachment(archive, maintype="application", subtype="zip", filename="täglich.zip")
    for number, part in enumerate(part for part in message.walk() if part.is_multipart()):
        if part.get_content_maintype() == "multipart":
            part.set_boundary(f"part-{number}")
    return bytes(message)


def answer() -> bytes:
    """What a server sends: a compressed page that names a picture on the same server."""
    page = f"<html><head><title>Tides</title></head><body><p>{_WORDS}</p><img src='/box.png'></body></html>".encode()
    body = gzip.compress(page, mtime=0)
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Encoding: gzip\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


_NESTED = {
    "type": "FeatureCollection",
    "features": [{"id": 1, "geometry": {"at": [2.5, [49.4]]}, "properties": {"name": "Sark", "notes": _WORDS * 3}}] * 2,
    "empty": {},
    "title": "Ports",
}
_TEXT = f"Größe\r\n\r\n{_WORDS}\r\n* one\r\n* two\r\n\x0cPage two\r\n"

MORE_SEEDS: dict[str, Callable[[], bytes]] = {
    "utf16.txt": lambda: _TEXT.encode("utf-16"),
    "latin.txt": lambda: _TEXT.encode("latin-1"),
    "txt.gz": lambda: gzip.compress(_TEXT.encode(), mtime=0),
    "txt.bz2": lambda: bz2.compress(_TEXT.encode()),
    "txt.xz": lambda: lzma.compress(_TEXT.encode()),
    "ruled.pdf": ruled_pdf,
    "scanned.pdf": scanned_pdf,
    "palette.png": lambda: _picture("P", "PNG", transparency=0),
    "deep.png": lambda: _picture("I;16", "PNG"),
    "turned.jpg": _turned_jpeg,
    "animated.webp": _animation,
    "alpha.webp": lambda: _picture("RGBA", "WEBP", lossless=True),
    "lzw.tiff": lambda: _picture("RGB", "TIFF", compression="tiff_lzw"),
    "jpeg.tiff": lambda: _picture("RGB", "TIFF", compression="jpeg"),
    "fax.tiff": lambda: _picture("1", "TIFF", compression="group4"),
    "merged.docx": merged_word,
    "rich.xlsx": rich_workbook,
    "rich.pptx": rich_slides,
    "old.epub": old_epub,
    "nested.html": nested_html,
    "old.ipynb": old_notebook,
    "forwarded.eml": forwarded_mail,
    "nested.json": lambda: json.dumps(_NESTED).encode(),
    "utf16.csv": lambda: 'sep=;\nShip;Größe\nKestrel;1,5\nPetrel;"a\nb"\n'.encode("utf-16"),
    "http": answer,
}
"""Makers of one good file, by the end of its name; ``http`` is a server's answer, which is fetched."""
