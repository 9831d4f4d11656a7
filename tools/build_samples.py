"""Make the pictures, the PDF files and the Word file of the packaged samples.

Run it from the repository root after changing a sample: ``python tools/build_samples.py``. The text, Markdown, HTML
and CSV samples are written by hand. Everything here is our own invention: Velmara does not exist. Output is
deterministic but for the time stamps that reportlab is told to leave out.
"""

from __future__ import annotations

import io
from pathlib import Path

import docx
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas

CORPUS = Path(__file__).parent.parent / "api" / "samples" / "corpus"
PUFFINS = {"2019": 1463, "2020": 1391, "2021": 1278, "2022": 1209, "2023": 1184, "2024": 1327}

REPORT = [
    (
        "Seabirds of Velmara: report for 2024",
        [
            "The cliffs of Skerrin Point hold the largest seabird colony of the archipelago. The Velmara Bird Trust has "
            "counted the breeding birds there every June since 1978. The counts are led by the biologist Ylva Sandberg.",
            "Puffins nest in burrows on the grass slope above the lighthouse. Their number fell for four years in a row "
            "while sand eels were scarce in the sound, and it recovered in 2024. Figure 1 on the next page gives the "
            "counts.",
            "Kittiwakes nest on the sheer cliff to the north. A camera that was put up in 2020 by the Velmara Bird Trust "
            "showed that gulls took one egg in six.",
        ],
    ),
    (
        "Threats and what is done about them",
        [
            "Rats came to the island with the steamer Marigold in 1953. They were removed from Skerrin Point in 2018 by "
            "a programme that cost 410,000 crowns and was paid for by the Norrvind company.",
            "Visitors may walk on the marked path only. Between April and August the slope is closed, and the wardens of "
            "the Velmara Bird Trust lead two tours a day for at most twelve people each.",
            "The trust asks that boats, the MV Petrel among them, keep 150 metres from the cliffs in the breeding season.",
        ],
    ),
]

LETTER = [
    "Harbour Office, Port Aldis",
    "14 March 1931",
    "",
    "To the Island Council of Velmara",
    "",
    "Gentlemen,",
    "",
    "I have the honour to report that the new harbour bell was",
    "hung on the breakwater last Tuesday. The bell was cast in",
    "Osterby by the foundry of Lindqvist & Sons and weighs",
    "312 kilograms. It can be heard as far as Brun Hill when the",
    "wind is in the west.",
    "",
    "The old bell, which cracked in the frost of 1929, has been",
    "given to the school, where it calls the children to lessons.",
    "",
    "The cost of the new bell was 1,940 crowns, carriage included.",
    "",
    "Your obedient servant,",
    "Harald Winge, Harbour Master",
]


def font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_manager.findfont("DejaVu Serif"), size)


def chart_png() -> bytes:
    figure, axes = plt.subplots(figsize=(7.2, 4.0), dpi=150)
    years = list(PUFFINS)
    axes.barh(years, list(PUFFINS.values()), color="#36648b", height=0.62)
    for row, value in enumerate(PUFFINS.values()):
        axes.text(value + 15, row, f"{value:,}", va="center", fontsize=11)
    axes.set_title("Puffins at Skerrin Point: breeding pairs by year", fontsize=13)
    axes.set_xlim(0, 1650)
    axes.set_xticks([])
    axes.invert_yaxis()
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()


def wrapped(pdf: canvas.Canvas, text: str, *, x: float, y: float, width: float) -> float:
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if pdf.stringWidth(longer, "Helvetica", 11) > width:
            pdf.drawString(x, y, line)
            y, line = y - 15, word
        else:
            line = longer
    pdf.drawString(x, y, line)
    return y - 24


def report_pdf(path: Path) -> None:
    pdf = canvas.Canvas(str(path), pagesize=A4, invariant=1)
    pdf.setTitle(REPORT[0][0])
    pdf.setAuthor("Velmara Bird Trust")
    for number, (title, paragraphs) in enumerate(REPORT):
        pdf.setFont("Helvetica-Bold", 16)
        pdf.drawString(60, 780, title)
        pdf.setFont("Helvetica", 11)
        y = 745.0
        for paragraph in paragraphs:
            y = wrapped(pdf, paragraph, x=60, y=y, width=475)
        pdf.showPage()
        if number == 0:
            pdf.drawImage(ImageReader(io.BytesIO(chart_png())), 60, 480, width=470, height=261)
            pdf.setFont("Helvetica-Oblique", 10)
            pdf.drawString(60, 462, "Figure 1: The yearly count of puffins, made in the second week of June.")
            pdf.setFont("Helvetica", 11)
            wrapped(
                pdf,
                "Every burrow on the slope is checked by hand. A burrow counts as a breeding pair when a bird, an egg or "
                "a chick is found in it.",
                x=60,
                y=430,
                width=475,
            )
            pdf.showPage()
    pdf.save()


def scanned_letter_pdf(path: Path) -> None:
    rng = np.random.default_rng(1931)
    page = Image.new("L", (1240, 1754), 236)
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(LETTER):
        draw.text((150, 190 + 56 * number), line, font=font(33), fill=38)
    page = page.rotate(0.6, resample=Image.Resampling.BICUBIC, fillcolor=236).filter(ImageFilter.GaussianBlur(0.7))
    pixels = np.asarray(page, dtype=np.float32) + rng.normal(0.0, 7.0, size=(1754, 1240))
    scan = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    scan.save(buffer, format="JPEG", quality=62)
    pdf = canvas.Canvas(str(path), pagesize=A4, invariant=1)
    pdf.setTitle("Letter of the harbour master")
    pdf.drawImage(ImageReader(io.BytesIO(buffer.getvalue())), 0, 0, width=A4[0], height=A4[1])
    pdf.showPage()
    pdf.save()


def diagram_png(path: Path) -> None:
    figure, axes = plt.subplots(figsize=(10, 4.2), dpi=130)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 42)
    axes.axis("off")
    axes.text(50, 38, "Drinking water of Port Aldis", ha="center", fontsize=16, weight="bold")
    boxes = [
        ("Rain cistern", "420 cubic metres"),
        ("Sand filter", "changed every May"),
        ("Ultraviolet unit", "2 lamps"),
        ("Header tank", "65 cubic metres"),
        ("Village taps", "212 households"),
    ]
    for number, (name, detail) in enumerate(boxes):
        x = 1 + 20.2 * number
        axes.add_patch(FancyBboxPatch((x, 13), 16, 14, boxstyle="round,pad=0.6", fc="#e8f1f8", ec="#36648b", lw=1.5))
        axes.text(x + 8, 22, name, ha="center", va="center", fontsize=10, weight="bold")
        axes.text(x + 8, 17, detail, ha="center", va="center", fontsize=9)
        if number:
            arrow = FancyArrowPatch((x - 3.4, 20), (x - 0.6, 20), arrowstyle="-|>", mutation_scale=16, color="#36648b")
            axes.add_patch(arrow)
    axes.text(50, 5, "Checked by the island council on 3 February 2022", ha="center", fontsize=10, style="italic")
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def minutes_docx(path: Path) -> None:
    document = docx.Document()
    document.core_properties.title = "Minutes of the island council, 9 September 2024"
    document.core_properties.author = "Island Council of Velmara"
    document.add_heading("Minutes of the island council, 9 September 2024", level=1)
    document.add_paragraph(
        "Present: Sunniva Dahl, Maren Torvald, Ylva Sandberg, and the mayor, Edvin Lund, who chaired."
    )
    document.add_heading("The breakwater", level=2)
    document.add_paragraph(
        "The breakwater of Port Aldis needs repair. The council chose the offer of the Halden shipyard, which will begin "
        "the work in April 2025. The repair will cost 2.4 million crowns."
    )
    document.add_heading("The museum ship", level=2)
    document.add_paragraph(
        "The Velmara Museum asked for money to paint the steamer Marigold. The council agreed to pay for the paint. "
        "The Velmara Ferry Company will lend its dock for three weeks."
    )
    document.add_heading("Votes", level=2)
    table = document.add_table(rows=1, cols=3)
    for cell, text in zip(table.rows[0].cells, ("Motion", "For", "Against"), strict=True):
        cell.text = text
    for row in (("Repair of the breakwater", "6", "1"), ("Paint for the Marigold", "5", "2")):
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.text = text
    document.save(str(path))


def main() -> None:
    """Write every generated sample."""
    CORPUS.mkdir(parents=True, exist_ok=True)
    report_pdf(CORPUS / "seabird-report.pdf")
    scanned_letter_pdf(CORPUS / "harbour-letter.pdf")
    diagram_png(CORPUS / "water-diagram.png")
    minutes_docx(CORPUS / "council-minutes.docx")


if __name__ == "__main__":
    main()
