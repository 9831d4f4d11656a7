"""Tables on a page of a PDF: found by their rules or by columns that line up, and taken out of the lines of text.

Layer: ``kg``; the standard library only. Lengths are in points on the page as displayed, origin at the top left. The
boxes of words are asked for only where rules or gaps make a table likely, so pages of prose cost next to nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from statistics import median

from kg.loaders.pdf_graphics import Drawn
from kg.loaders.pdf_layout import Line, Rect, Word, overlap, union
from kg.loaders.pdf_tables_checks import is_aligned, is_bars, is_prose_row, passes_ruled, passes_unruled
from kg.loaders.pdf_tables_grid import Grid, read_rows
from kg.loaders.pdf_tables_lattice import read_lattice
from kg.loaders.pdf_tables_rows import TextRow, cells_of, find_separators, is_value, rows_of, size_of
from kg.loaders.pdf_tables_rules import Frame, Rule, clustered, frames_of, rules_of
from kg.loaders.tables import make_table
from kg.loaders.text_tools import is_caption

__all__ = ["PageTable", "TableFinder"]

_WIDE = 0.85  # of the frame's width: a level rule that goes across
_SPARSE = 0.66  # of the font size and more per character: a line with wide gaps; prose has about 0.5
_APART = 1.0  # of the font size between lines side by side
_NEXT_ROW = 2.4  # of the font size between the baselines of neighbouring rows of a table
_LONG_PIECE = 28  # characters: lines side by side that are longer on average are columns of prose
_MIN_ROWS = 3
_PROSE_SHARE = 0.6  # of the lines between two rules, for what they hold to be a page of text
_LETTERS = 0.85  # of the characters of a line of prose
_MAX_LINES = 2_000  # of a page
_SCORE = {"closed": 0.95, "ruled": 0.9, "aligned": 0.8}


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTable:
    """A table of a page: its cells as drawn, its place, and the line of the page before which it stands.

    ``before`` counts the lines that :meth:`TableFinder.take_out` leaves.
    """

    rows: list[list[str]]
    n_header_rows: int | None
    rect: Rect
    score: float
    before: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    grid: Grid
    n_header_rows: int | None
    score: float


class TableFinder:
    """Finds the tables of one page.

    :param lines: Its lines of text, in drawing order.
    :param drawn: What is drawn on it.
    :param words_of: Gives the words of a line with their boxes.
    :param is_bold: Tells whether a word is set in a bold font.
    """

    def __init__(
        self,
        lines: Sequence[Line],
        drawn: Sequence[Drawn],
        *,
        words_of: Callable[[Line], list[Word]],
        is_bold: Callable[[Word], bool],
    ) -> None:
        self._lines = lines if len(lines) <= _MAX_LINES else ()
        self._all_lines = lines
        self._drawn = drawn
        self._words_of = words_of
        self._is_bold = is_bold
        self._words: dict[int, list[Word]] = {}
        self._rules: tuple[list[Rule], list[Rule]] = ([], [])
        self._found: list[_Found] = []
        self._taken: set[int] = set()  # first characters of the words that stand in tables

    def find_ruled(self, figures: Sequence[Rect]) -> list[Rect]:
        """Find the tables that have rules.

        :param figures: What would be figures if nothing were a table. Rules inside a larger figure are part of it.
        :returns: The places of the tables.
        """
        self._rules = rules_of(self._drawn)
        for frame in frames_of(*self._rules) if self._lines else ():
            is_read = any(overlap(frame.rect, found.grid.rect) > 0 for found in self._found)
            if not is_read and not _is_part(frame.rect, figures):
                self._read_frame(frame)
        return [found.grid.rect for found in self._found]

    def find_aligned(self, figures: Sequence[Rect]) -> None:
        """Find the tables that only their columns show.

        :param figures: The places of pictures and charts, whose labels line up and are no tables.
        """
        rows = self._gappy_rows(figures)
        run: list[list[int]] = []
        for row in [*rows, []]:
            if run and (not row or not self._follows(run[-1], row)):
                if len(run) >= _MIN_ROWS:
                    self._read_run([number for lines in run for number in lines])
                run = []
            if row:
                run.append(row)

    def take_out(self) -> tuple[list[Line], list[PageTable]]:
        """Take the words of the tables out of the lines.

        :returns: The lines that remain, in their order, and the tables in the order of the page's text.
        """
        if not self._found:
            return list(self._all_lines), []
        rest: list[Line] = []
        first_line: dict[int, int] = {}
        owner = {word.start: index for index, found in enumerate(self._found) for word in found.grid.words}
        for number, line in enumerate(self._all_lines):
            words = self._words.get(number, [])
            inside = [owner[word.start] for word in words if word.start in owner]
            for index in inside:
                first_line.setdefault(index, len(rest))
            outside = [word for word in words if word.start not in owner]
            if not inside:
                rest.append(line)
            elif outside:
                text, rect = " ".join(word.text for word in outside), union(word.rect for word in outside)
                rest.append(Line(text=text, rect=(rect[0], line.rect[1], rect[2], line.rect[3])))
        tables = [
            PageTable(
                rows=found.grid.rows,
                n_header_rows=found.n_header_rows,
                rect=found.grid.rect,
                score=found.score,
                before=first_line.get(index, len(rest)),
            )
            for index, found in enumerate(self._found)
        ]
        return rest, sorted(tables, key=lambda table: table.before)

    def _line_words(self, number: int) -> list[Word]:
        if number not in self._words:
            self._words[number] = self._words_of(self._lines[number])
        return self._words[number]

    def _words_in(self, rect: Rect) -> list[Word]:
        words = []
        for number, line in enumerate(self._lines):
            if overlap(line.rect, rect) > 0:
                for word in self._line_words(number):
                    y = word.base - 2.0
                    inside = rect[0] - 2 <= word.middle <= rect[2] + 2 and rect[1] - 1 <= y <= rect[3] + 1
                    if inside and word.start not in self._taken:
                        words.append(word)
        return words

    def _read_frame(self, frame: Frame) -> None:
        if len(frame.levels) == 2 and not frame.uprights and self._is_prose(frame.rect):
            return
        words = self._words_in(frame.rect)
        if len(words) < 4:
            return
        size = size_of(words)
        if frame.uprights:
            grid = read_lattice(frame, words, size=size)
            if grid is not None and self._keep(grid, frame, kind="closed"):
                return
        for part in self._parts(frame, rows_of(words, size=size)):
            inside = [word for word in words if part.rect[1] - 1 <= word.base - 2.0 <= part.rect[3] + 1]
            grid = read_rows(part, inside, size=size) if len(inside) >= 4 else None
            if grid is not None:
                self._keep(grid, part, kind="ruled")

    def _is_prose(self, rect: Rect) -> bool:
        """Return whether nearly all lines in ``rect`` are prose: a page between the rules of its head and its foot."""
        lines = [line for line in self._lines if overlap(line.rect, rect) > 0]
        n_prose = sum(map(_is_prose_line, lines))
        return n_prose > _PROSE_SHARE * len(lines)

    def _parts(self, frame: Frame, rows: Sequence[TextRow]) -> list[Frame]:
        """Cut a frame where text that is no table stands between its rules: two tables, a rule under a page's head."""
        x0, _, x1, _ = frame.rect
        breaks = clustered(rule.at for rule in frame.levels if rule.length >= _WIDE * (x1 - x0))
        bands: list[list[TextRow]] = [[] for _ in range(len(breaks) + 1)]
        for row in rows:
            bands[bisect_right(breaks, row.base - 2.0)].append(row)
        parts, start, last = [], None, None
        for index in range(1, len(breaks)):
            kind = _band_kind(bands[index], width=x1 - x0)
            if kind == "table":
                start, last = (index - _has_head(bands, index, width=x1 - x0) if start is None else start), index
            elif kind == "text" and start is not None and last is not None:
                parts.append((start, last))
                start = last = None
        if start is not None and last is not None:
            parts.append((start, last))
        return [
            self._part(
                frame,
                _first_base(bands[first - 1], default=breaks[first - 1], width=x1 - x0) if first > 1 else breaks[0],
                _last_base(bands[end + 1], default=breaks[end], width=x1 - x0) if end + 2 < len(bands) else breaks[end],
            )
            for first, end in parts
        ]

    def _part(self, frame: Frame, top: float, bottom: float) -> Frame:
        """Return the part of a frame between two levels, with all rules of the page's that lie inside."""
        x0, _, x1, _ = frame.rect
        levels, uprights = self._rules
        inside = [r for r in levels if top - 2 <= r.at <= bottom + 2 and r.start >= x0 - 4 and r.end <= x1 + 4]
        upright = [r for r in uprights if x0 - 4 <= r.at <= x1 + 4 and r.start < bottom and r.end > top]
        return Frame(rect=(x0, top, x1, bottom), levels=tuple(inside), uprights=tuple(upright))

    def _keep(self, grid: Grid, frame: Frame, *, kind: str) -> bool:
        if kind != "aligned" and not passes_ruled(grid, n_levels=len(frame.levels)):
            return False
        if is_bars(self._drawn, union([grid.rect, frame.rect]), grid.words):
            return False
        n_header = grid.n_header_rows if grid.n_header_rows is not None else self._bold_head(grid)
        if make_table(grid.rows, source="drawn", n_header_rows=n_header) is None:
            return False
        self._found.append(_Found(grid=grid, n_header_rows=n_header, score=_SCORE[kind]))
        self._taken.update(word.start for word in grid.words)
        return True

    def _bold_head(self, grid: Grid) -> int | None:
        """Return 1 where the first row alone is set in bold, ``None`` where fonts say nothing."""
        first = set(" ".join(grid.rows[0]).split())
        top = [word for word in grid.words if word.text in first][: len(grid.rows[0]) * 3]
        size = size_of(grid.words)
        head_base = max((word.base for word in top[:1]), default=0.0)
        head = [word for word in top if word.base <= head_base + 0.5 * size]
        rest = [word for word in grid.words if word.base > head_base + 2.5 * size][:12]
        if not head or not rest or not all(map(self._is_bold, head)):
            return None
        return 1 if sum(map(self._is_bold, rest)) <= 0.3 * len(rest) else None

    def _gappy_rows(self, figures: Sequence[Rect]) -> list[list[int]]:
        """Return the numbers of the lines on each row of the page that has a wide gap, from top to bottom."""
        owned = {n for n, words in self._words.items() if any(word.start in self._taken for word in words)}
        free = [
            number
            for number, line in enumerate(self._lines)
            if number not in owned
            and not (len(line.text) > _LONG_PIECE and _is_prose_line(line))
            and not any(overlap(line.rect, figure) > 0 for figure in figures)
        ]
        rows: list[list[int]] = []
        for number in sorted(free, key=lambda number: self._lines[number].rect[3]):
            line = self._lines[number]
            if rows and line.rect[3] - self._lines[rows[-1][0]].rect[3] <= 0.35 * line.height:
                rows[-1].append(number)
            else:
                rows.append([number])
        return [row for row in rows if self._is_gappy(row)]

    def _is_gappy(self, row: Sequence[int]) -> bool:
        lines = sorted((self._lines[number] for number in row), key=lambda line: line.rect[0])
        n_chars = sum(len(line.text.strip()) for line in lines)
        if len(lines) == 1:
            return _is_sparse(lines[0]) or _ends_in_values(lines[0].text)
        apart = [right.rect[0] - left.rect[2] for left, right in zip(lines, lines[1:], strict=False)]
        return min(apart) >= 0 and max(apart) >= _APART * lines[0].height and n_chars <= _LONG_PIECE * len(lines)

    def _follows(self, above: Sequence[int], below: Sequence[int]) -> bool:
        first, second = self._lines[above[0]], self._lines[below[0]]
        return second.rect[3] - first.rect[3] <= _NEXT_ROW * max(first.height, second.height)

    def _read_run(self, numbers: Collection[int]) -> None:
        words = [word for number in numbers for word in self._line_words(number)]
        size = size_of(words)
        rows = rows_of(words, size=size)
        usual = round(median(len(row.phrases) for row in rows))
        core = [row for row in rows if len(row.phrases) == usual]
        if usual < 2 or len(core) < max(_MIN_ROWS, 0.7 * len(rows)) or sum(map(is_prose_row, rows)) > 0.3 * len(rows):
            return
        frame = Frame(rect=union(word.rect for word in words), levels=(), uprights=())
        grid = read_rows(frame, words, size=size)
        if grid is None or len(grid.rows[0]) != usual or not passes_unruled(grid, rows):
            return
        if self._is_aligned(core, size=size):
            self._keep(grid, frame, kind="aligned")

    def _is_aligned(self, rows: Sequence[TextRow], *, size: float) -> bool:
        separators = find_separators(rows, size=size)
        columns: list[list[tuple[float, float]]] = [[] for _ in range(len(separators) + 1)]
        for row in rows[1:]:  # a head may be set otherwise than what stands below it
            for first, last, words in cells_of(row, separators, size=size):
                if first == last:
                    columns[first].append((words[0].rect[0], words[-1].rect[2]))
        return is_aligned(columns)


def _is_sparse(line: Line) -> bool:
    return line.rect[2] - line.rect[0] >= _SPARSE * line.height * max(4, len(line.text.strip()))


def _ends_in_values(text: str) -> bool:
    """Return whether the last two words of a line of three or more are numbers, as in a row of a table."""
    words = text.split()
    return len(words) >= 3 and all(map(is_value, words[-2:])) and any(map(str.isdigit, words[-1] + words[-2]))


def _is_prose_line(line: Line) -> bool:
    """Return whether a line has several words, hardly a digit, and no wide gap."""
    text = line.text.strip()
    n_letters = sum(character.isalpha() or character == " " for character in text)
    return text.count(" ") >= 3 and n_letters >= _LETTERS * len(text) and not _is_sparse(line)


def _is_part(rect: Rect, figures: Sequence[Rect]) -> bool:
    """Return whether a frame lies for the most part in one figure that is larger by half or more, or in several."""
    area = (rect[2] - rect[0]) * (rect[3] - rect[1])
    around = [figure for figure in figures if overlap(rect, figure) > 0.1 * area]
    is_larger = any((figure[2] - figure[0]) * (figure[3] - figure[1]) > 1.5 * area for figure in around)
    return sum(overlap(rect, figure) for figure in around) > 0.6 * area and (is_larger or len(around) > 1)


def _last_base(rows: Sequence[TextRow], *, default: float, width: float) -> float:
    """Return where a table ends that goes on in a band with notes below: under the last of its first rows of cells."""
    for row in rows:
        if not _is_cells(row, width=width):
            break
        if len(row.phrases) >= 2:
            default = row.base + 3.0
    return default


def _first_base(rows: Sequence[TextRow], *, default: float, width: float) -> float:
    """Return where a table begins that starts in a band below a title: over the first of its last rows of cells."""
    for row in reversed(rows):
        if not _is_cells(row, width=width):
            break
        if len(row.phrases) >= 2:
            default = min(word.rect[1] for word in row.words) - 1.0
    return default


def _is_cells(row: TextRow, *, width: float) -> bool:
    """Return whether a row may be one of a table: several pieces, one of them a value, or a short one."""
    if len(row.phrases) >= 2:
        return any(is_value(" ".join(word.text for word in phrase.words)) for phrase in row.phrases)
    x0, _, x1, _ = row.phrases[0].rect
    return x1 - x0 < width / 3


def _is_sentence(row: TextRow, *, width: float) -> bool:
    """Return whether a row is one piece of many words that goes across."""
    x0, _, x1, _ = row.phrases[0].rect
    return len(row.phrases) == 1 and len(row.words) >= 6 and x1 - x0 > 0.8 * width


def _has_head(bands: Sequence[Sequence[TextRow]], index: int, *, width: float) -> bool:
    """Return whether the band above a table's first is a line or two that may be its head, in narrow columns."""
    return index > 1 and bool(bands[index - 1]) and _band_kind(bands[index - 1], width=width) == "either"


def _band_kind(rows: Sequence[TextRow], *, width: float) -> str:
    """Return whether the rows between two rules are ``table``, ``text``, or too few to tell (``either``)."""
    if not rows:
        return "either"
    first = " ".join(word.text for word in rows[0].words)
    n_parted = sum(len(row.phrases) >= 2 for row in rows)
    n_prose = sum(map(is_prose_row, rows))
    if is_caption(first) or (len(rows) >= 4 and n_prose >= 0.6 * len(rows)):
        return "text"
    if n_parted >= 0.4 * len(rows):
        return "table"
    if any(_is_sentence(row, width=width) for row in rows):
        return "text"
    return "either" if len(rows) <= 2 else "text"
