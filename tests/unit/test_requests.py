from llmd.requests import LatestWins


def test_a_newer_request_ends_the_older_of_its_document() -> None:
    latest, ended = LatestWins(), []
    older = latest.take(1)
    older.end_with(lambda: ended.append("older"))
    newer = latest.take(1)
    assert (older.is_superseded, newer.is_superseded, ended) == (True, False, ["older"])


def test_documents_do_not_end_each_other() -> None:
    latest = LatestWins()
    one, _two = latest.take(1), latest.take(2)
    assert not one.is_superseded


def test_a_request_superseded_before_it_asked_the_engine_ends_at_once() -> None:
    latest, ended = LatestWins(), []
    older = latest.take(1)
    _newer = latest.take(1)
    older.end_with(lambda: ended.append("older"))
    assert ended == ["older"]
