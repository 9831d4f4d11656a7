import base64
import io

import pytest

from kg.errors import ConfigError, CorruptFileError, EmptyFileError, LimitExceededError, UnsupportedFileError
from kg.limits import LoadLimits
from kg.loaders.builder import DocumentBuilder
from kg.loaders.deadline import Deadline
from kg.loaders.raw import raw_from_bytes
from kg.loaders.registry import LoaderRegistry, default_loaders
from kg.ports import Loader
from kg.types import Span


def headings(document):
    """Return (level, text) of each heading, having checked that it stands where its span says."""
    for heading in document.headings:
        assert document.text[heading.span.start : heading.span.end] == heading.text
    return [(heading.level, heading.text) for heading in document.headings]


def test_plain_text_keeps_its_lines_and_names_its_encoding(load):
    document = load("trip_notes.txt", "Erste Zeile\r\n  zweite:  Größe\n\n\n\nEnde \n".encode("latin-1"))

    assert document.text == "Erste Zeile\n  zweite:  Größe\n\nEnde"
    assert document.title == "trip notes"
    assert document.metadata == {"encoding": "cp1252"}
    assert [page.span for page in document.pages] == [Span(start=0, end=len(document.text))]
    assert not document.is_paged


def test_text_of_nothing_but_invisible_characters_is_empty(refusal):
    assert isinstance(refusal("a.txt", "\u200b\ufeff\u200b \u00ad".encode()), EmptyFileError)


def test_markdown_gives_words_headings_lists_and_tables_without_markup(load):
    document = load(
        "guide.md",
        b"---\ntitle: The Guide\n---\n# One *big* heading\n\nSome **bold** [link](http://x.y)\nand `code`.\n\n"
        b"- first\n- second\n\n1. third\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\nx  =  1\n```\n"
        b"## Two\n\\*not emphasis\\*\n",
    )

    assert document.title == "The Guide"
    assert headings(document) == [(1, "One big heading"), (2, "Two")]
    assert document.text == (
        "One big heading\n\nSome bold link and code.\n\n- first\n\n- second\n\n1. third\n\na | b\n1 | 2\n\nx  =  1\n\n"
        "Two\n\n*not emphasis*"
    )


def test_markdown_pictures_come_from_beside_the_page_and_from_data_uris_but_never_from_outside(load, tmp_path, picture):
    site = tmp_path / "site"
    (site / "img").mkdir(parents=True)
    (site / "docs").mkdir()
    (site / "img" / "a b.png").write_bytes(picture(colour="red"))
    (tmp_path / "secret.png").write_bytes(picture(colour="blue"))
    inline = base64.b64encode(picture(colour="green")).decode()
    text = (
        "Before the picture.\n\n![Red box](../img/a%20b.png)\n\nFigure 1: A red box.\n\n"
        f'![Green](data:image/png;base64,{inline} "Title")\n\n'
        "![x](../../secret.png) ![y](http://example.org/z.png) ![gone](none.png) ![f](file:///etc/passwd)\n"
    )

    document = load("p.md", text.encode(), source=str(site / "docs" / "p.md"), root=str(site))

    red, green = document.assets
    assert (red.alt_text, red.caption, red.media_type) == ("Red box", "Figure 1: A red box.", "image/png")
    assert (green.alt_text, green.caption) == ("Green", "Title")
    assert document.text[red.anchor :].startswith("Figure 1")
    assert red.surrounding_text == "Before the picture.\nFigure 1: A red box."
    assert document.metadata["pictures_left_out"] == "1 unreadable, 1 unsafe_path, 2 unsupported"


def test_page_without_a_root_reads_pictures_from_its_own_folder_only(load, tmp_path, picture):
    (tmp_path / "sub").mkdir()
    (tmp_path / "out.png").write_bytes(picture(colour="red"))
    (tmp_path / "sub" / "in.png").write_bytes(picture(colour="blue"))
    (tmp_path / "sub" / "link.png").symlink_to(tmp_path / "out.png")

    document = load("p.md", b"![a](in.png)![b](../out.png)![c](link.png)", source=str(tmp_path / "sub" / "p.md"))

    assert len(document.assets) == 1
    assert document.metadata["pictures_left_out"] == "2 unsafe_path"


def test_upload_has_no_folder_to_read_pictures_from(load):
    assert load("p.md", b"Words ![a](x.png)").metadata["pictures_left_out"] == "1 unreadable"


def test_html_gives_what_a_reader_sees(load):
    document = load(
        "page.html",
        b"<html><head><title>My  Page</title><style>p{}</style></head><body><nav>Home</nav><h1>Top</h1>"
        b"<p>First <b>bo</b>ld<br>line &amp; more</p><script>alert(1)</script><div hidden>secret</div>"
        b"<p style='color:red; DISPLAY : none'>unseen</p>"
        b"<h2>Data</h2><table><caption>Sales</caption><tr><th>Year</th><th>Units</th></tr><tr><td>2020</td><td>7</td></tr>"
        b"</table><ul><li>one</li><li><p>two</p></li></ul><pre>a\n  b</pre><!-- note --></body></html>",
    )

    assert document.title == "My Page"
    assert headings(document) == [(1, "Top"), (2, "Data")]
    assert document.text == (
        "Top\n\nFirst bold line & more\n\nData\n\nSales\n\nYear | Units\n2020 | 7\n\n- one\n\n- two\n\na\n  b"
    )


def test_list_or_table_in_a_cell_stays_in_its_row_of_a_table_with_headers(load):
    nested = "<table><tr><td>G. Holm</td><td>A. Reyes</td></tr></table>"
    page = (
        "<table><thead><tr><th>Wing</th><th>Rooms</th><th>Architect</th></tr></thead><tbody>"
        f"<tr><td>South</td><td><ul><li>herbs</li><li>moss</li></ul></td><td>{nested}</td></tr></tbody></table>"
    )

    assert load("p.html", page.encode()).text == "Wing | Rooms | Architect\nSouth | herbs moss | G. Holm A. Reyes"


def test_table_without_headers_around_lists_is_layout(load):
    page = b"<table><tr><td><ul><li>one</li><li>two</li></ul></td><td>three</td></tr></table>"

    assert load("p.html", page).text == "- one\n\n- two\n\nthree"


def test_html_pictures_carry_alt_text_figcaption_and_the_words_around_them(load, picture):
    uri = "data:image/png;base64," + base64.b64encode(picture()).decode()
    page = (
        f"<p>Rain fell.</p><figure><img src='{uri}' alt='Bars'><figcaption>Rain by month</figcaption></figure><p>End."
    )

    document = load("p.html", page.encode())

    (asset,) = document.assets
    assert (asset.alt_text, asset.caption) == ("Bars", "Rain by month")
    assert asset.surrounding_text == "Rain fell.\nRain by month\nEnd."
    assert (asset.width_px, asset.height_px) == (64, 48)


def test_tiny_and_repeated_pictures_are_left_out_and_counted(load, picture):
    def uri(**options):
        return "data:image/png;base64," + base64.b64encode(picture(**options)).decode()

    page = f"<p>x<img src='{uri()}'><img src='{uri()}'><img src='{uri(size=(31, 200))}'>"

    document = load("p.html", page.encode())

    assert len(document.assets) == 1
    assert document.metadata["pictures_left_out"] == "1 repeated, 1 tiny"


def test_picture_count_limit_keeps_the_first_and_says_so(load, picture):
    uris = ["data:image/png;base64," + base64.b64encode(picture(colour=c)).decode() for c in ("red", "green", "blue")]
    page = "".join(f"<img src='{uri}'>" for uri in uris)

    document = load("p.html", ("<p>x" + page).encode(), limits=LoadLimits(max_assets=2))

    assert [asset.ordinal for asset in document.assets] == [0, 1]
    assert document.metadata["pictures_left_out"] == "1 over the limit max_assets"


def test_html_declared_encoding_is_used(load):
    document = load("p.html", "<html><meta charset='iso-8859-2'><p>Zażółć gęślą".encode("iso8859-2"))

    assert document.text == "Zażółć gęślą"
    assert document.metadata["encoding"] == "iso8859-2"


def test_xhtml_with_an_xml_declaration_is_read(load):
    assert load("p.xhtml", b"<?xml version='1.0' encoding='utf-8'?><html><body><p>Hi</p></body></html>").text == "Hi"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.txt", "x" * 100_000),
        ("spaces.txt", "a" + " " * 100_000 + "b"),
        ("brackets.md", "[" * 100_000),
        ("stars.md", "*a " * 50_000),
        ("quotes.md", "> " * 50_000 + "x"),
        ("bold.html", "<html>" + "<b>" * 20_000 + "x"),
        ("divs.html", "<div>" * 20_000 + "x"),
        ("line.html", "<p>" + "word " * 20_000),
    ],
)
@pytest.mark.timeout(30)
def test_lines_of_100000_characters_and_deep_nesting_are_read(load, name, text):
    assert load(name, text.encode()).text.strip()


def test_deeply_quoted_markdown_is_not_lost(load):
    assert "deep" in load("q.md", (b"> " * 40) + b"deep").text
    assert "deeper" in load("q.md", (b"> " * 500) + b"deeper").text


def test_large_text_is_refused_before_it_is_parsed(refusal):
    error = refusal("big.html", b"<p>" + b"x" * 100, limits=LoadLimits(max_text_bytes=50))

    assert isinstance(error, LimitExceededError)
    assert "103 bytes of text, more than the limit max_text_bytes = 50" in str(error)


def test_time_limit_stops_between_blocks():
    ticks = iter(range(100))
    deadline = Deadline(2.5, where="slow.md", clock=lambda: next(ticks))  # the first tick is the start

    deadline.check("block 1")
    deadline.check("block 2")
    with pytest.raises(LimitExceededError, match=r"slow\.md: not read within 2\.5 s; stopped before block 3"):
        deadline.check("block 3")


@pytest.mark.parametrize(("name", "data"), [("a.md", b"# x\n\ny"), ("a.html", b"<h1>x</h1>"), ("a.txt", b"hello")])
def test_every_text_loader_honours_the_time_limit(refusal, name, data):
    assert isinstance(refusal(name, data, limits=LoadLimits(timeout_s=1e-9)), LimitExceededError)


def test_registry_refuses_a_type_that_nobody_reads_and_lists_what_is_read(refusal):
    error = refusal("old.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600)

    assert isinstance(error, UnsupportedFileError)
    assert "application/x-ole-storage" in str(error)
    assert "application/pdf" in str(error)


def test_registry_checks_size_before_any_loader_sees_the_file(refusal):
    assert isinstance(refusal("a.txt", b"x" * 11, limits=LoadLimits(max_bytes=10)), LimitExceededError)


def test_every_default_loader_satisfies_the_port():
    for loader in default_loaders(LoadLimits()):
        assert isinstance(loader, Loader)


def test_registry_refuses_two_loaders_of_one_type():
    limits = LoadLimits()
    with pytest.raises(ConfigError, match="both read"):
        LoaderRegistry((*default_loaders(limits), *default_loaders(limits)), limits)


def test_same_bytes_of_the_same_source_have_the_same_ids(load, picture):
    first, second = (load("a.png", picture()) for _ in range(2))

    assert first == second
    assert first.document_id != load("b.png", picture()).document_id


@pytest.mark.parametrize(("kind", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_picture_file_is_a_document_without_text_whose_asset_is_the_file(load, picture, kind, media_type):
    data = picture(kind=kind, size=(20, 10))

    document = load("my_cat-photo.txt", data)

    (asset,) = document.assets
    assert (document.text, document.title, document.media_type) == ("", "my cat photo", media_type)
    assert [page.span for page in document.pages] == [Span(start=0, end=0)]
    assert (asset.data, asset.media_type, asset.width_px, asset.height_px) == (data, media_type, 20, 10)


def test_other_picture_formats_become_png(load, picture):
    for kind in ("GIF", "BMP", "TIFF"):
        (asset,) = load("x.dat", picture(kind=kind)).assets
        assert (asset.media_type, asset.width_px, asset.height_px) == ("image/png", 64, 48)


def test_photo_taken_sideways_is_turned_upright(load):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    buffer = io.BytesIO()
    Image.new("RGB", (80, 40), "red").save(buffer, format="JPEG", exif=exif)

    (asset,) = load("photo.jpg", buffer.getvalue()).assets

    assert (asset.width_px, asset.height_px) == (40, 80)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_truncated_picture_is_corrupt(refusal, picture, kind):
    data = picture(kind=kind, size=(400, 300))

    assert isinstance(refusal("cut.png", data[: len(data) // 2]), CorruptFileError)


def test_decompression_bomb_picture_is_refused_from_its_header(refusal):
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, format="PNG", optimize=False)  # 400 megapixels in some 50 kB
    data = buffer.getvalue()

    error = refusal("bomb.png", data)

    assert len(data) < 100_000
    assert isinstance(error, LimitExceededError)
    assert "20000 x 20000 pixels" in str(error)


def test_caption_of_one_picture_is_not_given_to_the_next(picture):
    from kg.loaders.pictures import open_picture

    limits = LoadLimits()
    builder = DocumentBuilder(raw_from_bytes("a.txt", b"x"), limits=limits)
    builder.add_picture(open_picture(picture(colour="red"), limits=limits, where="a"))
    builder.add("Figure 1: red")
    builder.add_picture(open_picture(picture(colour="blue"), limits=limits, where="b"))
    builder.add("Words.")
    builder.add("Figure 2: green")
    builder.add_picture(open_picture(picture(colour="green"), limits=limits, where="c"))

    captions = [asset.caption for asset in builder.build(title="").assets]

    assert captions == ["Figure 1: red", "", "Figure 2: green"]


def test_html_table_keeps_its_cells_its_header_and_its_caption(load):
    page = """<p>Before.</p><table><caption>Table 2: Sheep</caption>
    <thead><tr><th rowspan=2>Island<th colspan=2>2023</tr><tr><th>Ewes<th>Rams</tr></thead>
    <tbody><tr><td rowspan=2>Aldis<td>80<td>3</tr><tr><td>82<td>4</tr></tbody></table><p>After.</p>"""

    document = load("a.html", page.encode())

    (table,) = document.tables
    assert (table.caption, table.label, table.n_header_rows) == ("Table 2: Sheep", "Table 2", 2)
    assert table.header == ("Island", "2023 / Ewes", "2023 / Rams")
    assert table.body == (("Aldis", "80", "3"), ("Aldis", "82", "4"))
    block = document.text[table.span.start : table.span.end]
    assert block == "Island | 2023\nEwes | Rams\nAldis | 80 | 3\n82 | 4"


def test_html_table_whose_rows_begin_with_their_names_has_no_header(load):
    page = b"<table><tr><th>Built<td>by Brune<tr><th>Height<td>31<tr><th>Steps<td>120</table>"

    (table,) = load("a.html", page).tables

    assert table.n_header_rows == 0
    assert table.text == "Built: by Brune\nHeight: 31\nSteps: 120"


def test_table_inside_a_layout_table_is_kept_and_the_layout_is_not(load):
    page = b"<table><tr><td>Menu<td><table><tr><th>Ship<th>Seats<tr><td>Kestrel<td>180</table></table>"

    (table,) = load("a.html", page).tables

    assert table.text == "Ship: Kestrel; Seats: 180"


def test_hostile_spans_of_an_html_table_do_not_exhaust_memory(load):
    page = "<table>" + "<tr><td colspan=999999 rowspan=65000>x<td>y" * 3_000 + "</table>"

    document = load("a.html", page.encode(), limits=LoadLimits(max_cells=10_000))

    assert sum(len(table.rows) * len(table.rows[0]) for table in document.tables) <= 4_000_000


def test_markdown_table_keeps_its_cells_and_takes_the_caption_over_it(load):
    text = "**Table 1: The fleet**\n\n| Ship | Seats |\n|---|---|\n| Kestrel | 180 |\n| Petrel | *64* |\n\nAfter."

    document = load("a.md", text.encode())

    (table,) = document.tables
    assert (table.caption, table.label, table.source) == ("Table 1: The fleet", "Table 1", "markup")
    assert table.text == "Table 1: The fleet\nShip: Kestrel; Seats: 180\nShip: Petrel; Seats: 64"
    assert document.text[table.span.start : table.span.end] == "Ship | Seats\nKestrel | 180\nPetrel | 64"
