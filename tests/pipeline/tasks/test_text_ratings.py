"""Rated texts: the archive is opened only as its author released it, and a table's mistakes are one line."""

import tarfile
from pathlib import Path

import pytest

from pipeline.errors import MissingExtraError, TaskError
from pipeline.tasks.text_ratings import ARCHIVE, Rated, rated_tweets, read_ratings


def table(folder: Path, name: str, content: str) -> Path:
    (folder / name).write_text(content, encoding="utf-8")
    return folder / name


def test_the_archive_holds_the_ratings_that_its_authors_describe() -> None:
    tweets = rated_tweets()

    assert len(tweets) == 4200
    assert tweets[3] == Rated("LMAO, AMAZING!", 2.857142857)
    assert max(abs(each.rating) for each in tweets) <= 4
    assert not any("&amp;" in each.text for each in tweets)


def test_a_missing_archive_says_how_to_fetch_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path))

    with pytest.raises(MissingExtraError) as caught:
        rated_tweets()

    assert f"pip download --no-binary :all: --no-deps --dest '{tmp_path}/data' vaderSentiment==3.3.2" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)


def test_another_archive_of_the_same_name_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path))
    (tmp_path / "data").mkdir()
    with tarfile.open(tmp_path / "data" / ARCHIVE, "w:gz") as archive:
        archive.add(table(tmp_path, "x.txt", "x"), "vaderSentiment-3.3.2/../../x")

    with pytest.raises(TaskError, match="isn't the archive that its author released"):
        rated_tweets()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "id\trating\ttext\n1\t2.5\tGood &amp; cheap\n2\t-1\tso  bad\n"),
        ("a.tsv", "2.5\tGood & cheap\r\n\r\n-1\tso bad\r\n"),
        ("a.csv", 'rating,text\n2.5,"Good & cheap"\n-1,so bad\n'),
        ("a.txt", "\ufeff7\t2.5\tGood & cheap\n8\t-1\tso bad\n"),
    ],
)
def test_a_table_is_read_with_and_without_header_and_number(tmp_path: Path, name: str, content: str) -> None:
    assert read_ratings(table(tmp_path, name, content)) == [Rated("Good & cheap", 2.5), Rated("so bad", -1.0)]


def test_a_folder_is_the_sum_of_its_tables(tmp_path: Path) -> None:
    table(tmp_path, "b.csv", "-1,bad\n")
    table(tmp_path, "a.tsv", "1\tgood\n")
    table(tmp_path, "notes.md", "nothing\n")

    assert [each.text for each in read_ratings(tmp_path)] == ["good", "bad"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "1\tgood\nnot a rating\n", "line 2: 'not a rating' is no row of a number and a text"),
        ("a.tsv", "1\tgood\nnan\tbad\n", "line 2"),
        ("a.tsv", "1\tgood\n1\t \n", "line 2"),
        ("a.tsv", "", "holds 0 rated texts"),
        ("a.csv", '1,"' + "x" * 200_000 + '"\n', "a.csv: field larger than field limit"),
    ],
)
def test_a_mistake_in_a_table_is_one_line_with_its_place(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(TaskError) as caught:
        read_ratings(table(tmp_path, name, content))

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"1\tgood\n2\t\xff\xfe\n")

    with pytest.raises(TaskError, match="give a table in UTF-8"):
        read_ratings(tmp_path / "a.tsv")


@pytest.mark.parametrize("name", ["missing.tsv", "model.onnx"])
def test_what_is_no_table_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TaskError, match=r"give a file, or a folder of files, that end in \.tsv, \.txt, \.csv"):
        read_ratings(tmp_path / name)
