import io

import docx
import pytest
from docx.oxml import parse_xml

from kg.loaders.equations import find_tex_math, latex_of_mathml, latex_of_omml
from kg.loaders.html import parse_html

MATH = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'


def found(text, *, dollars=True):
    return [(item.source, item.label, item.is_display) for item in find_tex_math(text, dollars=dollars)]


def equations(document):
    """Return (source, label) of each equation, having checked that it stands where its span says."""
    for equation in document.equations:
        assert document.text[equation.span.start : equation.span.end] == equation.source
    return [(equation.source, equation.label) for equation in document.equations]


def test_mathematics_is_found_by_every_delimiter_with_its_label():
    text = (
        r"a $x^2$ b $$E=mc^2 \label{eq:e}$$ and \(y\) \[z \tag{3}\] "
        r"\begin{align*}a&=b\\c&=d\end{align*} and \begin{tabular} is none"
    )

    assert found(text) == [
        ("x^2", "", False),
        ("E=mc^2", "eq:e", True),
        ("y", "", False),
        (r"z \tag{3}", "3", True),
        (r"\begin{align*}a&=b\\c&=d\end{align*}", "", True),
    ]


@pytest.mark.parametrize("text", ["It costs $5 and $10.", r"\$a\$", "5$ or 6$", "open $x without end", "$$ a\n\nb $$"])
def test_prices_and_what_does_not_close_are_no_mathematics(text):
    assert found(text) == []


def test_single_dollars_count_only_where_that_is_asked_for():
    assert found("a $x$ b", dollars=False) == []


def test_openers_without_end_take_linear_time():
    assert found(r"\[ " * 200_000 + "$a " * 200_000) == []


@pytest.mark.parametrize(
    ("markup", "source"),
    [
        ("<mi>E</mi><mo>=</mo><mi>m</mi><msup><mi>c</mi><mn>2</mn></msup>", "E=mc^{2}"),
        ("<mfrac><mi>α</mi><mrow><mi>b</mi><mo>+</mo><mn>1</mn></mrow></mfrac>", r"\frac{\alpha}{b+1}"),
        ("<msqrt><mi>x</mi></msqrt><msubsup><mi>a</mi><mn>1</mn><mn>2</mn></msubsup>", r"\sqrt{x}a_{1}^{2}"),
        ("<munderover><mo>∑</mo><mn>0</mn><mi>n</mi></munderover><mi>i</mi>", r"\sum_{0}^{n}i"),
        ("<mi>sin</mi><mi>x</mi><mtext>if so</mtext>", r"\sin x\text{if so}"),
        (
            "<mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>0</mn></mtd></mtr></mtable>",
            r"\begin{matrix} 1 & 0 \end{matrix}",
        ),
        ('<mi>a</mi><annotation encoding="application/x-tex">a_{own}</annotation>', "a_{own}"),
    ],
)
def test_mathml_becomes_latex(markup, source):
    assert latex_of_mathml(parse_html(f"<math>{markup}</math>").find("math")) == source


def run(text):
    return f"<m:r><m:t>{text}</m:t></m:r>"


@pytest.mark.parametrize(
    ("markup", "source"),
    [
        (f"<m:f><m:fPr/><m:num>{run('a')}</m:num><m:den>{run('β')}</m:den></m:f>", r"\frac{a}{\beta}"),
        (f"<m:sSup><m:e>{run('x')}</m:e><m:sup>{run('2')}</m:sup></m:sSup>", "x^{2}"),
        (
            f'<m:nary><m:naryPr><m:chr m:val="∑"/></m:naryPr><m:sub>{run("0")}</m:sub><m:sup>{run("n")}</m:sup>'
            f"<m:e>{run('i')}</m:e></m:nary>",
            r"\sum_{0}^{n} i",
        ),
        (f"<m:rad><m:deg/><m:e>{run('x')}</m:e></m:rad>", r"\sqrt{x}"),
        (f"<m:d><m:e>{run('a+b')}</m:e></m:d>", "(a+b)"),
    ],
)
def test_office_mathematics_becomes_latex(markup, source):
    assert latex_of_omml(parse_xml(f"<m:oMath {MATH}>{markup}</m:oMath>")) == source


@pytest.mark.parametrize("convert", ["mathml", "omml"])
def test_nesting_deeper_than_the_limit_keeps_the_words(convert):
    if convert == "mathml":
        source = latex_of_mathml(parse_html("<math>" + "<mrow>" * 150 + "<mi>x</mi>" + "</mrow>" * 150).find("math"))
    else:
        source = latex_of_omml(parse_xml(f"<m:oMath {MATH}>{'<m:e>' * 150}{run('x')}{'</m:e>' * 150}</m:oMath>"))

    assert source == "x"


def test_page_keeps_its_equations_at_their_place(load):
    page = (
        "<script src=MathJax.js></script><p>Energy $E=mc^2$ and <math><mi>a</mi></math>.</p>"
        "<p>Then \\[x=1 \\label{eq:x}\\]"
        " follows.</p><script type='math/tex; mode=display'>\\frac{a}{b}</script>"
    )

    document = load("p.html", page.encode())

    assert document.text == "Energy $E=mc^2$ and $a$.\n\nThen\n\nx=1\n\nfollows.\n\n\\frac{a}{b}"
    assert equations(document) == [("E=mc^2", ""), ("a", ""), ("x=1", "eq:x"), ("\\frac{a}{b}", "")]


def test_markdown_keeps_its_equations_at_their_place(load):
    text = (
        "It costs $5 and $10. Energy $E=mc^2$, \\(a_b\\).\n\n$$\n\\frac{a}{b} \\label{eq:f}\n$$\n\n"
        "$$ a = b $$ (eq1)\n\n"
        "> \\[ z = 1 \\]\n\n`$code$`\n\n$$ never closed\n"
    )

    document = load("p.md", text.encode())

    assert equations(document) == [
        ("E=mc^2", ""),
        ("a_b", ""),
        ("\\frac{a}{b}", "eq:f"),
        ("a = b", "eq1"),
        ("z = 1", ""),
    ]
    assert document.text.startswith("It costs $5 and $10.")
    assert document.text.endswith("$code$\n\n$$ never closed")


def test_word_file_keeps_its_equations_at_their_place(load):
    document = docx.Document()
    paragraph = document.add_paragraph("Where ")
    paragraph._p.append(parse_xml(f"<m:oMath {MATH}>{run('x')}</m:oMath>"))
    paragraph.add_run(" is small.")
    shown = document.add_paragraph()
    shown._p.append(parse_xml(f"<m:oMathPara {MATH}><m:oMath>{run('y=1')}</m:oMath></m:oMathPara>"))
    shown.add_run("(4)")
    buffer = io.BytesIO()
    document.save(buffer)

    loaded = load("a.docx", buffer.getvalue())

    assert loaded.text == "Where $x$ is small.\n\ny=1"
    assert equations(loaded) == [("x", ""), ("y=1", "(4)")]
