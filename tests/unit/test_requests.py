from llmd.completion.inflight import LatestWins


async def test_a_newer_request_ends_the_older_of_its_document() -> None:
    latest = LatestWins()
    older, newer = latest.take(1), latest.take(1)
    assert (older.is_superseded, newer.is_superseded) == (True, False)


async def test_documents_do_not_end_each_other() -> None:
    latest = LatestWins()
    one, _two = latest.take(1), latest.take(2)
    assert not one.is_superseded
