"""The documents of a folder: found, read and cited; and nothing that must not be."""

import asyncio
import multiprocessing
import os
import re
import sqlite3
import stat
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pypdf import PdfWriter

from state.context import User
from state.errors import DocumentError, StorageError, ToolError
from state.tool import ToolContext
from tools import library as library_module
from tools import names, query
from tools.documents import READ, SEARCH, ReadArguments, SearchArguments
from tools.library import Library, Refreshed
from tools.passages import LONGEST, SHORTEST, Section, cut, pieces
from tools.readers import sections
from tools.webpage import webpage

HANDBOOK = """# Handbook

Welcome to the shop.

## Refunds

Customers may return goods within 30 days. Opened software is not refunded.

## Shipping

We ship within two days.

## Refunds

A second section of the same name.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "handbook.md").write_text(HANDBOOK)
    return docs


def opened(folder: Path, database: Path | None = None) -> Library:
    return Library(folder, database or folder.parent / "index.db")


def indexed(folder: Path) -> tuple[Library, Refreshed]:
    library = opened(folder)
    return library, library.refresh()


def reasons(refreshed: Refreshed) -> dict[str, str]:
    return dict(refreshed.skipped)


def everything(library: Library) -> list[tuple[str, str, str, str, int]]:
    passages = [each for file in library.files() for each in library.read(file)]
    return [(each.file, each.section, each.heading, each.text, each.position) for each in passages]


def longer(path: Path, text: str) -> None:
    """Writes a file and sets it back in time, as if nobody had touched it for an hour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (time.time() - 3600, time.time() - 3600))


# Finding and citing


def test_a_question_finds_the_passage_that_answers_it(folder: Path) -> None:
    library, _ = indexed(folder)
    best = library.search("Can I return opened software for a refund?")[0]
    assert best.reference == "handbook.md#refunds"
    assert best.heading == "Handbook > Refunds"
    assert best.score > 0


def test_words_match_in_any_form_case_and_accent(folder: Path) -> None:
    (folder / "cafe.txt").write_text("The Café's returning customers")
    library, _ = indexed(folder)
    assert library.search("CAFE returned customer")[0].file == "cafe.txt"


def test_the_heading_and_the_file_name_count_too(folder: Path) -> None:
    (folder / "holiday-policy.txt").write_text("Everybody gets thirty days.")
    library, _ = indexed(folder)
    assert library.search("holiday policy")[0].reference == "holiday-policy.txt#part-1"


def test_every_section_has_an_anchor_of_its_own(folder: Path) -> None:
    library, _ = indexed(folder)
    assert [each.section for each in library.read("handbook.md")] == ["handbook", "refunds", "shipping", "refunds-2"]


def test_a_long_section_is_cut_and_read_back_whole(folder: Path) -> None:
    text = "\n\n".join(f"Paragraph {number} says something of its own at some length." * 3 for number in range(40))
    (folder / "long.md").write_text(f"# Long\n\n## One\n\n{text}\n\n## Two\n\nEnd.\n")
    library, _ = indexed(folder)
    parts = library.read("long.md", section="one-part-3")
    assert parts[0].section == "one"
    assert all(SHORTEST <= len(each.text) <= LONGEST for each in parts[:-1])
    assert "".join("".join(each.text for each in parts).split()) == "".join(text.split())


def test_neighbours_are_within_reach(folder: Path) -> None:
    library, _ = indexed(folder)
    middle = library.passage("[handbook.md#shipping]")
    assert middle is not None
    assert [each.section for each in library.around(middle)] == ["refunds", "shipping", "refunds-2"]


@pytest.mark.parametrize(
    "name", ["a b.md", "a[1].md", "a#b.md", "ünï — 文書.md", "50%.md", "a,b;c.md", "new\nline.md", "(x).md"]
)
def test_a_citation_survives_any_file_name(folder: Path, name: str) -> None:
    (folder / name).write_text("# Head\n\nsome quokka here\n")
    library, _ = indexed(folder)
    passage = library.search("quokka")[0]
    cited = re.findall(r"[^\s\[\],;#]+#[^\s\[\],;#]+", f"It says so [handbook.md#refunds, {passage.reference}].")
    assert cited[1] == passage.reference
    found = library.passage(f"[{cited[1]}]")
    assert found is not None
    assert (found.file, found.text) == (name, passage.text)


def test_an_unknown_citation_resolves_to_nothing(folder: Path) -> None:
    library, _ = indexed(folder)
    for reference in (
        "handbook.md#nothing",
        "../../etc/passwd#part-1",
        "handbook.md",
        "",
        "#",
        "[]",
        "a#b#c",
        "\ud800#\ud800",
        "\0#\0",
    ):
        assert library.passage(reference) is None


@given(st.text(), st.text(min_size=1))
def test_a_reference_gives_back_its_file_and_section(file: str, section: str) -> None:
    assert names.parts(f"[{names.reference(file, section)}]") == (file, section)


# What is asked is never syntax


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("docs")
    (folder / "handbook.md").write_text(HANDBOOK)
    library = Library(folder, tmp_path_factory.mktemp("home") / "index.db")
    library.refresh()
    return library


@given(st.text() | st.text(alphabet='"*^():-+ANDORNOTNEAR{}\\\0 a'))
@settings(deadline=None)
def test_no_text_breaks_the_search(searched: Library, text: str) -> None:
    assert isinstance(searched.search(text), list)


@pytest.mark.parametrize("text", ["", "   ", "?!", "\U0001f600", "what is the", '"""', "_ _"])
def test_a_query_without_a_word_of_meaning_finds_nothing(searched: Library, text: str) -> None:
    assert searched.search(text) == []


def test_a_pasted_page_is_still_a_query(searched: Library) -> None:
    assert searched.search("refund " + " ".join(f"word{number}" for number in range(50_000)))


def test_compounds_are_also_searched_as_phrases() -> None:
    assert query.terms("the read-only mode in 3.11?") == ["read", "only", "mode", "read only", "3 11"]


# A folder nobody prepared


def test_a_folder_that_cannot_be_used_is_named_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"no such folder: .*missing"):
        opened(tmp_path / "missing")
    (tmp_path / "file.md").write_text("x")
    with pytest.raises(DocumentError, match="is not a folder"):
        opened(tmp_path / "file.md")
    (tmp_path / "bare").mkdir()
    with pytest.raises(DocumentError, match=r"nothing readable in .*bare: it is empty"):
        indexed(tmp_path / "bare")
    (tmp_path / "bare" / "x.zip").write_bytes(b"PK")
    with pytest.raises(DocumentError, match=r"x\.zip \(not a kind of file"):
        indexed(tmp_path / "bare")


def test_what_cannot_be_read_is_skipped_with_the_reason(folder: Path) -> None:
    (folder / "empty.md").write_text(" \n")
    (folder / "binary.txt").write_bytes(b"abc\0def" * 100)
    (folder / "program.exe").write_bytes(b"MZ")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 and then nothing")
    (folder / ".env").write_text("SECRET=1")
    (folder / "pipe.txt").unlink(missing_ok=True)
    os.mkfifo(folder / "pipe.txt")
    locked = PdfWriter()
    locked.add_blank_page(100, 100)
    locked.encrypt("secret")
    locked.write(folder / "locked.pdf")
    _, refreshed = indexed(folder)
    assert refreshed.read == 1
    told = reasons(refreshed)
    assert told["empty.md"] == "empty"
    assert "NUL" in told["binary.txt"]
    assert "not a kind of file" in told["program.exe"]
    assert "broken PDF" in told["broken.pdf"]
    assert "encrypted" in told["locked.pdf"]
    assert told[".env"] == "hidden"
    assert told["pipe.txt"] == "not a regular file"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ("Größe über alles".encode("latin-1"), "größe"),
        ("Größe über alles".encode("utf-16"), "größe"),
        ("Größe über alles".encode("utf-8-sig"), "größe"),
        ("Größe über alles ".encode() * 9 + b"\xff\xfe broken", "größe"),
        (b"\x81\x8d only rubbish \xff", "rubbish"),
    ],
)
def test_any_encoding_is_read(folder: Path, data: bytes, found: str) -> None:
    (folder / "text.txt").write_bytes(data)
    library, _ = indexed(folder)
    assert library.search(found)[0].file == "text.txt"


def test_nothing_outside_the_folder_is_ever_read(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.md"
    secret.write_text("the zanzibar secret")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "more.md").write_text("the zanzibar secret")
    (folder / "link.md").symlink_to(secret)
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "loop").symlink_to(folder)
    library, refreshed = indexed(folder)
    assert library.search("zanzibar") == []
    assert {file for file, reason in refreshed.skipped if "link" in reason} == {"link.md", "linked", "loop"}
    assert library.read("../secret.md") == []


def test_a_file_that_becomes_a_link_while_it_is_read_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret.md"
    secret.write_text("the zanzibar secret")
    real = library_module.scan

    def swapped(*arguments: object, **options: object) -> object:
        found = real(*arguments, **options)  # type: ignore[arg-type]
        (folder / "victim.md").unlink()
        (folder / "victim.md").symlink_to(secret)
        return found

    (folder / "victim.md").write_text("harmless")
    monkeypatch.setattr(library_module, "scan", swapped)
    library, refreshed = indexed(folder)
    assert library.search("zanzibar") == []
    assert "cannot be read" in reasons(refreshed)["victim.md"]


def test_a_file_that_may_not_be_read_is_skipped_and_forgotten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "other.md").write_text("the okapi")
    library, _ = indexed(folder)
    real = os.open

    def denied(path: object, *rest: object, **options: object) -> int:
        if str(path).endswith("other.md"):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", denied)
    refreshed = library.refresh()
    assert "Permission denied" in reasons(refreshed)["other.md"]
    assert library.search("okapi") == []


def test_twenty_megabytes_of_text_take_seconds(folder: Path) -> None:
    line = "Some words on one line about nothing much, and then a number.\n"
    (folder / "large.txt").write_text(line * (20_000_000 // len(line)) + "\nand the capybara at the end\n")
    (folder / "one-line.txt").write_text("x" * 5_000_000)
    began = time.monotonic()
    library, refreshed = indexed(folder)
    assert time.monotonic() - began < 60
    assert refreshed.read == 3
    assert library.search("capybara")[0].file == "large.txt"


def test_a_file_beyond_the_bound_is_skipped(folder: Path) -> None:
    with (folder / "huge.txt").open("wb") as stream:
        stream.truncate(100 * 2**20)
    _, refreshed = indexed(folder)
    assert "larger than 64 MB" in reasons(refreshed)["huge.txt"]


@pytest.mark.parametrize(
    "piece", ["<a ", "<!--", "<a '\"", "<![CDATA[", "<script>", "</", '<a "', "<nav>", "&", "<", "<title>", "<h1>"]
)
def test_markup_that_never_closes_takes_no_longer_than_any_other(piece: str) -> None:
    began = time.monotonic()
    list(pieces(webpage("<p>hello</p>" + piece * 200_000)))
    assert time.monotonic() - began < 10


def test_a_very_deep_folder_is_walked(folder: Path) -> None:
    deep = folder.joinpath(*["d"] * 300)
    deep.mkdir(parents=True)
    (deep / "deep.md").write_text("the narwhal")
    library, _ = indexed(folder)
    assert library.search("narwhal")


# Kinds of files


def test_a_web_page_is_read_without_its_scripts_and_menus(folder: Path) -> None:
    page = """
    <!doctype html><html><head><title>Shop</title><style>p {color: red}</style></head><body>
    <nav><ul><li>Home</li></ul></nav><h1>Terms<a href="#t">¶</a></h1><p>Pay &amp; go.</p>
    <script>if (a < b) alert("boo")</script><h2>Late</h2>
    <table><tr><td>One</td><td>Two</td></tr></table></body></html>"""
    (folder / "page.html").write_text(page)
    library, _ = indexed(folder)
    read = library.read("page.html")
    assert [(each.section, each.heading) for each in read] == [
        ("terms", "Shop > Terms"),
        ("late", "Shop > Terms > Late"),
    ]
    assert read[0].text.strip() == "Pay & go."
    assert "One | Two" in read[1].text


def test_headings_are_found_in_markdown_and_not_in_its_code() -> None:
    text = (
        "---\ntitle: T\n---\nIntro\n\nOne\n===\n\n```sh\n# no heading\n```\n\n### `Two` [x](y) ###\nmore\n\n- a\n---\n"
    )
    found = [(each.trail, each.anchor) for each in sections("a.md", text.encode())]
    assert found == [(("T",), ""), (("T", "One"), "One"), (("T", "One", "Two x"), "Two x")]


def test_headings_are_found_in_restructured_text() -> None:
    text = "=====\nTitle\n=====\n\nIntro.\n\nFirst\n-----\n\na\n\nSecond\n------\n\nb\n\n----------\n\nc\n"
    found = [(each.trail, each.text.split()) for each in sections("a.rst", text.encode())]
    assert found[0] == (("Title",), ["Intro."])
    assert found[2] == (("Title", "Second"), ["b", "----------", "c"])


def test_rows_of_a_table_are_cited_by_their_numbers(folder: Path) -> None:
    (folder / "prices.csv").write_text("i;p\n" + "".join(f"thing{n};{n}\n" for n in range(1, 121)))
    library, _ = indexed(folder)
    found = library.search("thing77")[0]
    assert found.section == "rows-51-100"
    assert "i: thing77; p: 77" in found.text


def test_pages_of_a_pdf_are_cited_by_their_numbers(folder: Path) -> None:
    import io

    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    with PdfPages(buffer) as pages:
        for word in ("aardvark", "pangolin"):
            figure = Figure()
            figure.text(0.1, 0.5, word)
            pages.savefig(figure)
    (folder / "paper.pdf").write_bytes(buffer.getvalue())
    library, _ = indexed(folder)
    assert library.search("pangolin")[0].reference == "paper.pdf#page-2"


# Keeping up


def test_a_second_refresh_opens_only_what_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longer(folder / "handbook.md", HANDBOOK)
    longer(folder / "other.md", "An okapi.")
    longer(folder / "third.bin.txt", "a\0b")
    library, _ = indexed(folder)
    longer(folder / "other.md", "A pangolin.")
    (folder / "new.md").write_text("A narwhal.")
    read: list[str] = []
    real = library_module.content
    monkeypatch.setattr(
        library_module, "content", lambda found, *, limit: read.append(found.file) or real(found, limit=limit)
    )
    refreshed = library.refresh()
    assert sorted(read) == ["new.md", "other.md"]
    assert (refreshed.read, refreshed.unchanged, refreshed.removed) == (2, 1, 0)
    assert "NUL" in reasons(refreshed)["third.bin.txt"]
    assert library.search("okapi") == []
    assert library.search("pangolin")


def test_a_change_within_one_tick_of_the_clock_is_seen(folder: Path) -> None:
    path = folder / "quick.md"
    path.write_text("aaaa okapi")
    stamp = path.stat()
    library, _ = indexed(folder)
    path.write_text("aaaa camel")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    library.refresh()
    assert library.search("camel")


def test_removed_files_are_forgotten(folder: Path) -> None:
    (folder / "other.md").write_text("An okapi.")
    library, _ = indexed(folder)
    (folder / "other.md").unlink()
    assert library.refresh().removed == 1
    assert library.search("okapi") == []


CONTENT = st.sampled_from(
    ["# A\n\nokapi here", "# A\n\npangolin\n\n# A\n\ntwice", "plain okapi", "", "a\0b", "x " * 1500]
)


@given(st.lists(st.tuples(st.sampled_from(["a.md", "b.txt", "c/d.md", "e.csv"]), CONTENT | st.none()), max_size=8))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_index_kept_up_to_date_equals_one_made_anew(edits: list[tuple[str, str | None]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "docs")
        folder.mkdir()
        (folder / "always.md").write_text("here all the time")
        kept = Library(folder, Path(place, "kept.db"))
        for file, text in edits:
            path = folder / file
            path.parent.mkdir(exist_ok=True)
            if text is None:
                path.unlink(missing_ok=True)
            else:
                path.write_text(text)
            kept.refresh()
        kept.refresh()
        anew = Library(folder, Path(place, "anew.db"))
        anew.refresh()
        assert everything(kept) == everything(anew)
        for asked in ("okapi", "pangolin twice", "x"):
            one, other = kept.search(asked, limit=100), anew.search(asked, limit=100)
            assert [(each.reference, each.score) for each in one] == [(each.reference, each.score) for each in other]
        kept.close()
        anew.close()


@given(
    st.lists(st.text(alphabet="# \nab=-~`|é", max_size=60), max_size=30),
    st.sampled_from(["f.md", "f.rst", "f.html", "f.csv"]),
)
@settings(max_examples=60, deadline=None)
def test_every_reference_resolves_to_its_passage(lines: list[str], file: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "docs")
        folder.mkdir()
        (folder / "always.md").write_text("here")
        (folder / file).write_text("\n".join(lines))
        library = Library(folder, Path(place, "index.db"))
        library.refresh()
        for name in library.files():
            for passage in library.read(name):
                assert library.passage(passage.reference) == passage
        library.close()


@given(st.text(alphabet=st.sampled_from("ab .\n\té"), max_size=6000))
def test_cutting_loses_nothing_but_white_space(text: str) -> None:
    parts = list(cut(text))
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(len(part) <= LONGEST for part in parts)


def test_anchors_of_repeated_headings_take_linear_time() -> None:
    began = time.monotonic()
    anchors = {piece.section for piece in pieces(Section(("A",), "text", "A") for _ in range(50_000))}
    assert len(anchors) == 50_000
    assert time.monotonic() - began < 10


def _refresh_in_process(folder: Path, database: Path) -> None:
    Library(folder, database).refresh()


def test_two_processes_may_refresh_at_once(folder: Path, tmp_path: Path) -> None:
    for number in range(200):
        (folder / f"{number}.md").write_text(f"# File {number}\n\n" + "words " * 300)
    database = tmp_path / "index.db"
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_refresh_in_process, args=(folder, database)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    library = opened(folder, database)
    assert library.refresh().read == 0
    anew = opened(folder, tmp_path / "anew.db")
    anew.refresh()
    assert everything(library) == everything(anew)


def test_the_database_is_its_owners_alone_and_never_a_document(folder: Path) -> None:
    database = folder / "index.txt"
    library = opened(folder, database)
    library.refresh()
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    assert library.refresh().skipped == []
    assert library.files() == ["handbook.md"]


def test_a_damaged_index_is_made_anew(folder: Path) -> None:
    database = folder.parent / "index.db"
    database.write_bytes(b"this is no database" * 1000)
    library, refreshed = indexed(folder)
    assert refreshed.read == 1
    assert library.search("shipping")


def test_an_index_of_another_version_is_made_anew(folder: Path) -> None:
    indexed(folder)[0].close()
    with sqlite3.connect(folder.parent / "index.db") as connection:
        connection.execute("PRAGMA user_version = 77")
    connection.close()
    assert indexed(folder)[1].read == 1


def test_an_index_that_cannot_be_written_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot open the index"):
        opened(folder, tmp_path / "file" / "index.db").refresh()


# Who may see what

RULES = '"hr/**" = ["hr", "board"]\n"salaries.md" = ["board"]\n"closed" = []\n'


@pytest.fixture
def guarded(folder: Path) -> Library:
    for file in ("hr/plan.md", "hr/salaries.md", "closed/x.md", "HR-notes.md"):
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(f"# Axolotl\n\nabout the axolotl in {file}")
    (folder / ".motet-access.toml").write_text(RULES)
    library, _ = indexed(folder)
    return library


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ((), {"HR-notes.md"}),
        (("hr",), {"HR-notes.md", "hr/plan.md"}),
        (("board",), {"HR-notes.md", "hr/plan.md", "hr/salaries.md"}),
    ],
)
def test_a_user_sees_what_the_rules_allow_and_nothing_else(
    guarded: Library, groups: tuple[str, ...], files: set[str]
) -> None:
    user = User(identity="u", groups=groups)
    assert {each.file for each in guarded.search("axolotl", user=user)} == files
    for file in ("hr/plan.md", "hr/salaries.md", "closed/x.md", "HR-notes.md"):
        assert bool(guarded.read(file, user=user)) == (file in files)
        assert bool(guarded.passage(f"{file}#axolotl", user=user)) == (file in files)
        assert bool(guarded.read(file, section="axolotl", user=user)) == (file in files)
    assert set(guarded.files(user=user)) == files | {"handbook.md"}


def test_hidden_passages_do_not_take_the_place_of_visible_ones(guarded: Library) -> None:
    assert [each.file for each in guarded.search("axolotl", limit=1)] == ["HR-notes.md"]


def test_a_new_rule_holds_from_the_next_refresh_for_files_that_did_not_change(guarded: Library) -> None:
    (guarded.folder / ".motet-access.toml").write_text(RULES + '"*.md" = ["board"]\n')
    guarded.refresh()
    assert guarded.search("axolotl", user=User(groups=("hr",))) == []


@pytest.mark.parametrize("rules", ["not toml", '"a" = "hr"', '"a" = [1]', "\udc80".encode("utf-8", "surrogatepass")])
def test_rules_that_cannot_be_read_close_the_folder(folder: Path, rules: str | bytes) -> None:
    data = rules if isinstance(rules, bytes) else rules.encode()
    (folder / ".motet-access.toml").write_bytes(data)
    with pytest.raises(DocumentError, match=r"motet-access\.toml"):
        indexed(folder)


# The tools


@pytest.fixture
def context(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToolContext:
    monkeypatch.setenv("MOTET_HOME", str(tmp_path / "home"))
    return ToolContext(docs=folder)


def test_the_search_tool_gives_references_that_the_read_tool_takes(context: ToolContext) -> None:
    async def both() -> tuple[dict, dict]:
        found = await SEARCH.run(SearchArguments(query="opened software", limit=3), context)
        reference = found["passages"][0]["reference"]
        return found, await READ.run(ReadArguments(reference=reference, passages=1), context)

    found, read = asyncio.run(both())
    assert found["total"] == len(found["passages"])
    assert read["passages"] == [{key: found["passages"][0][key] for key in ("reference", "heading", "text")}]
    assert read["next"] == "handbook.md#shipping"


def test_the_read_tool_starts_at_the_top_of_a_file(context: ToolContext) -> None:
    read = asyncio.run(READ.run(ReadArguments(reference="handbook.md"), context))
    assert read["passages"][0]["reference"] == "handbook.md#handbook"
    assert read["next"] is None


@pytest.mark.parametrize(
    ("reference", "hint"),
    [
        ("handbok.md", "handbook.md"),
        ("handbook.md#refund", "handbook.md#refunds"),
        ("../../etc/passwd", "try handbook.md"),
        ("/etc/passwd#part-1", "handbook.md"),
    ],
)
def test_a_wrong_reference_is_answered_with_the_nearest_right_one(
    context: ToolContext, reference: str, hint: str
) -> None:
    with pytest.raises(ToolError) as caught:
        asyncio.run(READ.run(ReadArguments(reference=reference), context))
    assert hint in caught.value.suggestion


def test_a_run_without_documents_is_told_what_to_do() -> None:
    with pytest.raises(ToolError, match="no folder of documents") as caught:
        asyncio.run(SEARCH.run(SearchArguments(query="x"), ToolContext()))
    assert "--docs" in caught.value.suggestion


def test_a_folder_that_is_gone_is_a_tool_error(context: ToolContext, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="no such folder"):
        asyncio.run(SEARCH.run(SearchArguments(query="x"), ToolContext(docs=tmp_path / "gone")))


def test_the_house_is_its_owners_alone(context: ToolContext, tmp_path: Path) -> None:
    asyncio.run(SEARCH.run(SearchArguments(query="x"), context))
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    assert [stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "home" / "index").glob("*.db")] == [0o600]


def test_many_searches_at_once_share_one_look_at_the_folder(
    context: ToolContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    real = Library.refresh
    monkeypatch.setattr(Library, "refresh", lambda self: looks.append(1) or real(self))

    async def many() -> list[dict]:
        return await asyncio.gather(*(SEARCH.run(SearchArguments(query="refund"), context) for _ in range(20)))

    found = asyncio.run(many())
    assert len(looks) == 1
    assert all(each == found[0] for each in found)
